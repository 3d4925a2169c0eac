"""Tallies: on which nodes placed pods are that somebody's term means, or that bear a term themselves. Pure.

A tally is counted once from the placed pods when it is first asked for, and kept up to date change by change
after that: a pod finds the tallies that it concerns by its namespace and labels.
"""

from collections.abc import Iterable, Mapping

from sampan.scheduling.demand import Demand
from sampan.scheduling.terms import Labels, Term

FAR, NEAR, LIKED = "far", "near", "liked"

Borne = tuple[str, int, Term]  # which list of the pod's terms, weight, term
Label = tuple[str, str, str]  # namespace, key, value
Place = tuple[str, Demand]


class Tally:
    """How many pods of one sort each node has; nodes without one are absent."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def means(self, demand: Demand) -> bool:
        """Whether a pod would be counted."""
        raise NotImplementedError

    def times(self, demand: Demand) -> int:
        """How often a pod would be counted."""
        return int(self.means(demand))

    def add(self, node: str, number: int) -> None:
        """So many more pods there."""
        total = self.counts.get(node, 0) + number
        if total:
            self.counts[node] = total
        else:
            self.counts.pop(node, None)


class Selecting(Tally):
    """Pods that every one of the terms means; those that are being deleted count unless only `living` ones do."""

    def __init__(self, terms: tuple[Term, ...], living: bool, namespaces: Mapping[str, Labels]) -> None:
        super().__init__()
        self.terms, self.living, self._namespaces = terms, living, namespaces

    def means(self, demand: Demand) -> bool:
        """Whether a pod would be counted."""
        if self.living and demand.is_leaving:
            return False
        return self.covers(demand.namespace, demand.labels)

    def covers(self, namespace: str, labels: Labels) -> bool:
        """Whether all terms mean a pod with these labels."""
        return all(term.means(namespace, labels, self._namespaces) for term in self.terms)

    @property
    def labels(self) -> list[Label]:
        """One label, in each of the namespaces, that every such pod has; empty when there is none."""
        first = self.terms[0]
        equal = next(iter(first.selector.equalities().items()), None)
        if equal is None or first.namespace_selector is not None:
            return []
        return [(namespace, *equal) for namespace in sorted(first.namespaces)]


class Owned(Tally):
    """Pods of one controller that are not being deleted."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner

    def means(self, demand: Demand) -> bool:
        """Whether a pod would be counted."""
        return demand.owner == self.owner and not demand.is_leaving


class Bearing(Tally):
    """Pods that say the same about others."""

    def __init__(self, borne: Borne) -> None:
        super().__init__()
        self.borne = borne

    def means(self, demand: Demand) -> bool:
        """Whether a pod would be counted."""
        return self.times(demand) > 0

    def times(self, demand: Demand) -> int:
        """As often as it says the same."""
        return sum(borne == self.borne for borne in borne_by(demand)) if demand.has_terms else 0


def borne_by(demand: Demand) -> Iterable[Borne]:
    """What the pod says about others that counts for those others too."""
    found = demand.terms
    yield from ((FAR, 1, term) for term in found.far)
    yield from ((NEAR, 1, term) for term in found.near)
    yield from ((LIKED, weight, term) for term, weight in found.liked)


class Tallies:
    """All tallies over the placed pods. `version` changes when a term that was not borne before is."""

    def __init__(self) -> None:
        self.version = 0
        self.namespaces: dict[str, Labels] = {}
        self.bearing: dict[Borne, Bearing] = {}
        self._selecting: dict[tuple[tuple[Term, ...], bool], Selecting] = {}
        self._owned: dict[str, Owned] = {}
        self._by_label: dict[Label, list[Selecting]] = {}
        self._general: list[Selecting] = []
        self._placed: dict[str, Place] = {}  # by uid
        self._with_label: dict[Label, dict[str, Place]] = {}

    def selecting(self, terms: tuple[Term, ...], *, living: bool) -> Selecting:
        """Pods that all these terms mean."""
        key = (terms, living)
        found = self._selecting.get(key)
        if found is None:
            found = self._selecting[key] = Selecting(terms, living, self.namespaces)
            for label in found.labels:
                self._by_label.setdefault(label, []).append(found)
            if not found.labels:
                self._general.append(found)
            self._count(found)
        return found

    def owned(self, owner: str) -> Owned:
        """Pods of a controller. These are counted in any case."""
        found = self._owned.get(owner)
        if found is None:
            found = self._owned[owner] = Owned(owner)
        return found

    def bear(self, demand: Demand) -> None:
        """The pod's terms count from now on, wherever it will be."""
        for borne in borne_by(demand):
            if borne not in self.bearing:
                self.bearing[borne] = Bearing(borne)
                self.version += 1

    def place(self, demand: Demand, node: str) -> None:
        """The pod is on the node."""
        place = self._placed[demand.uid] = (node, demand)
        for label in _labels(demand):
            self._with_label.setdefault(label, {})[demand.uid] = place
        if demand.has_terms:
            self.bear(demand)
        self._add(demand, node, 1)

    def displace(self, demand: Demand, node: str) -> None:
        """The pod is no longer there."""
        del self._placed[demand.uid]
        for label in _labels(demand):
            bucket = self._with_label[label]
            del bucket[demand.uid]
            if not bucket:
                del self._with_label[label]
        self._add(demand, node, -1)

    def set_namespace(self, name: str, labels: Labels | None) -> bool:
        """The labels of a namespace, or that it is gone; says whether that changes whom terms mean."""
        if self.namespaces.get(name) == labels:
            return False
        if labels is None:
            self.namespaces.pop(name, None)
        else:
            self.namespaces[name] = labels
        chosen = [t for t in self._general if any(term.namespace_selector is not None for term in t.terms)]
        borne = any(term.namespace_selector is not None for _, _, term in self.bearing)
        for tally in chosen:
            tally.counts.clear()
            self._count(tally)
        self.version += 1
        return bool(chosen) or borne

    def prune(self, used: set[Tally]) -> None:
        """Forgets what nobody asks for any more."""
        kept = [t for t in self._selecting.values() if t in used]
        self._selecting = {(t.terms, t.living): t for t in kept}
        self._owned = {owner: t for owner, t in self._owned.items() if t.counts or t in used}
        self.bearing = {borne: t for borne, t in self.bearing.items() if t.counts or t in used}
        self._by_label, self._general = {}, [t for t in kept if not t.labels]
        for tally in kept:
            for label in tally.labels:
                self._by_label.setdefault(label, []).append(tally)

    def __len__(self) -> int:
        return len(self._selecting) + len(self._owned) + len(self.bearing)

    def _add(self, demand: Demand, node: str, number: int) -> None:
        if self._by_label:
            for label in _labels(demand):
                for tally in self._by_label.get(label, ()):
                    if tally.means(demand):
                        tally.add(node, number)
        for tally in self._general:
            if tally.means(demand):
                tally.add(node, number)
        if demand.owner and not demand.is_leaving:
            self.owned(demand.owner).add(node, number)
        if demand.has_terms:
            for borne in borne_by(demand):
                self.bearing[borne].add(node, number)

    def _count(self, tally: Selecting) -> None:
        """From all that are placed."""
        if tally.labels:
            candidates = [place for label in tally.labels for place in self._with_label.get(label, {}).values()]
        else:
            candidates = list(self._placed.values())
        for node, demand in candidates:
            if tally.means(demand):
                tally.add(node, 1)


def _labels(demand: Demand) -> list[Label]:
    return [(demand.namespace, key, value) for key, value in demand.labels.items()]
