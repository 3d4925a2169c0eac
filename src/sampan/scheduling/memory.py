"""Memory: what is known about pods of one sort from those before, within bounds. Pure."""

from typing import Any

from sampan.scheduling.framework import Judge
from sampan.scheduling.profile import Profile
from sampan.scheduling.ranking import Ranking, Survey
from sampan.scheduling.steps import Steps
from sampan.scheduling.tallies import Tally, borne_by
from sampan.scheduling.verdict import Demand, Snapshot

MAX_ENTRIES = 2_000_000  # one for each node in each ranking
FEWEST, MOST = 16, 512
MAX_KNOWN = 1024
MAX_TALLIES = 32
"""So many are not looked through for what nobody needs any more; then twice as many as were needed the last time."""


class Memory:
    """Surveys by shape, rankings by shape and judges. Rankings that look for pods of which there are none go first, as
    when their controller is gone; then those that were not used for longest.
    """

    def __init__(self) -> None:
        self._surveys: dict[Any, Survey] = {}
        self._rankings: dict[Any, Ranking] = {}
        self._keys: dict[Ranking, Any] = {}
        """The same the other way round, the last used last."""
        self._known: dict[Any, tuple[tuple[int, int], Ranking]] = {}
        self._most_tallies = MAX_TALLIES

    def ranking(self, pod: Demand, snapshot: Snapshot, profile: Profile) -> Steps[Ranking]:
        """The pod's, up to date."""
        known = (profile, pod.shape, pod.neighbours, pod.owner)
        versions = (snapshot.tallies.version, snapshot.services_version)
        found = self._known.get(known)
        if found is None or found[0] != versions:
            made = self._ranking(pod, snapshot, profile)
            _bound(self._known, MAX_KNOWN)
            found = self._known[known] = ((snapshot.tallies.version, snapshot.services_version), made)
        ranking = found[1]
        self._keys[ranking] = self._keys.pop(ranking)
        if ranking.is_behind(snapshot):
            yield from ranking.update(pod, snapshot)
        return ranking

    def _ranking(self, pod: Demand, snapshot: Snapshot, profile: Profile) -> Ranking:
        if len(snapshot.tallies) > self._most_tallies:
            self._prune(snapshot)
        judges = judges_of(pod, snapshot, profile)
        key = (profile, pod.shape, tuple(judge for judge, _ in judges))
        found = self._rankings.get(key)
        if found is None:
            most = min(max(MAX_ENTRIES // (len(snapshot) + 1), FEWEST), MOST)
            self._make_room(most)
            found = self._rankings[key] = Ranking(self._survey(pod, profile, most), judges)
            self._keys[found] = key
        return found

    def _make_room(self, most: int) -> None:
        """For one more ranking."""
        while len(self._rankings) >= most:
            self._forget({next(iter(self._keys))})

    def _forget(self, gone: set[Ranking]) -> None:
        """What is forgotten is not held by those who know it."""
        for ranking in gone:
            del self._rankings[self._keys.pop(ranking)]
        self._known = {known: found for known, found in self._known.items() if found[1] not in gone}

    def _survey(self, pod: Demand, profile: Profile, most: int) -> Survey:
        key = (profile, pod.shape)
        found = self._surveys.get(key)
        if found is None:
            _bound(self._surveys, most)
            found = self._surveys[key] = Survey(profile)
        return found

    def _prune(self, snapshot: Snapshot) -> None:
        """Rankings whose tallies are all empty are forgotten, then surveys and tallies that no ranking looks at."""
        self._forget(
            {ranking for ranking in self._keys if ranking.facets and not any(t.counts for t in _seen(ranking))}
        )
        surveys = {ranking.survey for ranking in self._keys}
        self._surveys = {key: survey for key, survey in self._surveys.items() if survey in surveys}
        tallies, waiting = snapshot.tallies, [pod for pods in snapshot.nominated.values() for pod in pods.values()]
        borne = {each for pod in waiting if pod.has_terms for each in borne_by(pod)}
        needed = {tally for each, tally in tallies.bearing.items() if each in borne}
        tallies.prune(needed.union(*map(_seen, self._keys)))
        self._most_tallies = max(MAX_TALLIES, 2 * len(tallies))


def _seen(ranking: Ranking) -> set[Tally]:
    return {tally for facet in ranking.facets for tally, _ in facet.parts}


def judges_of(pod: Demand, snapshot: Snapshot, profile: Profile) -> list[tuple[Judge, int]]:
    """Those that have anything to say about the pod, with their weights."""
    found = ((plugin(pod, snapshot), weight) for plugin, weight in profile.fields)
    return [(judge, weight) for judge, weight in found if judge is not None]


def of(snapshot: Snapshot) -> Memory:
    """The one that goes with the snapshot."""
    found: Memory | None = snapshot.memo.get(Memory)
    if found is None:
        found = snapshot.memo[Memory] = Memory()
    return found


def _bound(kept: dict[Any, Any], most: int) -> None:
    while len(kept) >= most:
        del kept[next(iter(kept))]
