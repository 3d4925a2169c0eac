"""Ranking: nodes in the order in which pods of one sort would take them, kept up to date change by change. Pure.

Nodes that look alike to every plugin whose word depends on other nodes form a group, so that such plugins
speak once for each group. In a group only the score of the node itself decides.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from sampan.scheduling.framework import Judge
from sampan.scheduling.profile import Profile
from sampan.scheduling.steps import Steps
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

Kind = tuple[Hashable, ...]

CHUNK = 500
"""Of so many nodes at a time is asked, where much is to be asked."""


class Survey:
    """What local plugins say of each node for pods of one shape."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._layout, self._seen = -1, 0
        self.verdicts: list[Verdict | None] = []
        self.own: list[int] = []
        self.kinds: list[Kind] = []

    def update(self, pod: Demand, snapshot: Snapshot) -> Steps[None]:
        """Asks again about what has changed."""
        nodes: Nodes = ()
        if self._layout != snapshot.layout:
            self._layout = -1  # until all is asked
            self.verdicts, self.own, self.kinds = [], [], []
            nodes = range(len(snapshot))
        elif self._seen < len(snapshot.touched):
            nodes = sorted(set(snapshot.touched[self._seen :]))
        if len(nodes) <= CHUNK:
            self._ask(pod, nodes, snapshot)
        else:
            for start in range(0, len(nodes), CHUNK):
                self._ask(pod, nodes[start : start + CHUNK], snapshot)
                yield
        self._layout, self._seen = snapshot.layout, len(snapshot.touched)

    def is_behind(self, snapshot: Snapshot) -> bool:
        """Whether anything has changed."""
        return self._layout != snapshot.layout or self._seen < len(snapshot.touched)

    def _ask(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> None:
        if not nodes:
            return
        missing = len(snapshot) - len(self.verdicts)
        if missing:
            self.verdicts += [None] * missing
            self.own += [0] * missing
            self.kinds += [()] * missing
        refused = verdicts(pod, nodes, snapshot, self.profile)
        for n in nodes:
            self.verdicts[n] = refused.get(n)
        left = [n for n in nodes if n not in refused] if refused else nodes
        for n, own in zip(left, self._own(pod, left, snapshot), strict=True):
            self.own[n] = own
        for n, kind in zip(left, self._kinds(pod, left, snapshot), strict=True):
            self.kinds[n] = kind

    def _own(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> Iterable[int]:
        total = [0] * len(nodes)
        for score, weight in self.profile.scores:
            total = [t + weight * s for t, s in zip(total, score(pod, nodes, snapshot), strict=True)]
        return total

    def _kinds(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> Iterable[Kind]:
        signs = [sign(pod, nodes, snapshot) for sign, _, _ in self.profile.signs]
        return zip(*signs, strict=True) if signs else [()] * len(nodes)


def verdicts(pod: Demand, nodes: Nodes, snapshot: Snapshot, profile: Profile) -> dict[int, Verdict]:
    """The first refusal of each node that is refused. Each filter sees only the nodes that are still in."""
    found: dict[int, Verdict] = {}
    left = list(nodes)
    for each in profile.filters:
        answers = each(pod, left, snapshot)
        if not any(answers):
            continue
        found.update((n, verdict) for n, verdict in zip(left, answers, strict=True) if verdict is not None)
        left = [n for n, verdict in zip(left, answers, strict=True) if verdict is None]
    return found


class Group:
    """Nodes that differ only in what they are by themselves: by score, the indexes in order."""

    __slots__ = ("best", "buckets", "key", "size")

    def __init__(self, key: Kind) -> None:
        self.key = key
        self.buckets: dict[int, list[int]] = {}
        self.best = 0
        self.size = 0

    def add(self, n: int, own: int) -> None:
        """One more node."""
        bucket = self.buckets.get(own)
        if bucket is None:
            self.buckets[own] = [n]
            self.best = own if not self.size else max(self.best, own)
        elif bucket[-1] < n:
            bucket.append(n)
        else:
            insort(bucket, n)
        self.size += 1

    def remove(self, n: int, own: int) -> None:
        """One node less."""
        bucket = self.buckets[own]
        del bucket[bisect_left(bucket, n)]
        self.size -= 1
        if not bucket:
            del self.buckets[own]
            if own == self.best and self.size:
                self.best = max(self.buckets)

    def nodes(self) -> Iterable[int]:
        """All of them."""
        return (n for bucket in self.buckets.values() for n in bucket)

    def without(self, refused: Mapping[int, Any]) -> "Group":
        """The same less some nodes."""
        if not any(n in refused for n in self.nodes()):
            return self
        made = Group(self.key)
        for own, bucket in self.buckets.items():
            for n in bucket:
                if n not in refused:
                    made.add(n, own)
        return made

    def next(self, last: int) -> int:
        """The best node; of equals the one whose turn it is after the last."""
        bucket = self.buckets[self.best]
        at = bisect_right(bucket, last)
        return bucket[at] if at < len(bucket) else bucket[0]


class Ranking:
    """The feasible nodes in groups, for pods of one shape about which the judges say the same."""

    def __init__(self, survey: Survey, judges: Sequence[tuple[Judge, int]]) -> None:
        self.survey = survey
        self.judges = judges
        self.facets = [facet for judge, _ in judges for facet in judge.facets]
        self.groups: dict[Kind, Group] = {}
        self.failure: tuple[Any, Any] | None = None  # the cycle's: under which circumstances, with what result
        self._layout, self._seen = -1, 0
        self._where: list[tuple[Group, int] | None] = []

    def update(self, pod: Demand, snapshot: Snapshot) -> Steps[None]:
        """Takes note of what has changed."""
        if self.survey.is_behind(snapshot):
            yield from self.survey.update(pod, snapshot)
        touched = set(snapshot.touched[self._seen :]) if self._layout == snapshot.layout else range(len(snapshot))
        if self._layout != snapshot.layout or len(touched) > max(CHUNK, len(snapshot) // 2):
            self._layout = -1  # until all is filled
            yield from self._fill(snapshot)
        elif touched:
            self._renew(sorted(touched), snapshot)
        self._layout, self._seen = snapshot.layout, len(snapshot.touched)

    def is_behind(self, snapshot: Snapshot) -> bool:
        """Whether anything has changed."""
        return self._layout != snapshot.layout or self._seen < len(snapshot.touched)

    def _fill(self, snapshot: Snapshot) -> Steps[None]:
        is_long = len(snapshot) > CHUNK
        self.groups = {}
        self._where = [None] * len(snapshot)
        survey = self.survey
        keys: Sequence[Kind] = survey.kinds
        if self.facets:
            for facet in self.facets:
                facet.fill(snapshot)
                if is_long:
                    yield
            columns = [facet.values() for facet in self.facets]
            keys = [(*kind, *shown) for kind, shown in zip(keys, zip(*columns, strict=True), strict=True)]
        for n, verdict in enumerate(survey.verdicts):
            if verdict is None:
                self._put(n, keys[n])
        if is_long:
            yield

    def _renew(self, nodes: list[int], snapshot: Snapshot) -> None:
        self._where += [None] * (len(snapshot) - len(self._where))
        moved = set(nodes)
        for facet in self.facets:
            for n in nodes:
                moved |= facet.refresh(n, snapshot)
        for n in sorted(moved) if self.facets else nodes:
            place = self._where[n]
            if place is not None:
                group, own = place
                group.remove(n, own)
                if not group.size:
                    del self.groups[group.key]
                self._where[n] = None
            self._enter(n)

    def _enter(self, n: int) -> None:
        survey = self.survey
        if survey.verdicts[n] is not None:
            return
        key = survey.kinds[n]
        if self.facets:
            key = (*key, *[facet.value(n) for facet in self.facets])
        self._put(n, key)

    def _put(self, n: int, key: Kind) -> None:
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(key)
        own = self.survey.own[n]
        group.add(n, own)
        self._where[n] = (group, own)
