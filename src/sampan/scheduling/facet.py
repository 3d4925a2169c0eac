"""Facet: one way to look at all nodes: how many placed pods of some sort each topology domain has. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

from sampan.scheduling.demand import Demand
from sampan.scheduling.snapshot import Snapshot
from sampan.scheduling.tallies import Tally

Show = Literal["domain", "count", "own"]
Extent = Literal["", "fewest", "total"]
Parts = tuple[tuple[Tally, int], ...]
Counted = Callable[[int, Snapshot], bool]


class Facet:
    """Tallies with their weights, added up over the domains of a topology key.

    Nodes look alike when they show the same: the `domain` they are in; for keys with about as many domains as
    nodes, the domain's `count`; or only what is on the node itself (`own`). Pods count only on nodes that are
    `counted`. The `extent` is what one needs to know of all domains: the fewest that one has (0 when there are
    less than `min_domains`), or the total.
    """

    def __init__(self, key: str, parts: Parts, show: Show, extent: Extent = "", min_domains: int = 1) -> None:
        self.key, self.parts, self.show = key, parts, show
        self.counted: Counted | None = None
        self._extent, self._min_domains = extent, min_domains
        self._empty()

    @property
    def identity(self) -> Hashable:
        """The same for facets that show the same, apart from what is counted."""
        return (self.key, self.parts, self.show, self._extent, self._min_domains)

    def _empty(self) -> None:
        self._labels: list[str | None] = []
        self._domains: list[str | None] = []  # where the node's pods count
        self._own: list[int] = []
        self._sums: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._spread = Counter[int]()  # how many domains have that many
        self._members: dict[str, set[int]] = {}

    def fill(self, snapshot: Snapshot) -> None:
        """Looks at all nodes anew: what `refresh` does for each of them, in one go."""
        self._empty()
        found: dict[str, int] = {}
        for tally, weight in self.parts:
            for name, count in tally.counts.items():
                found[name] = found.get(name, 0) + weight * count
        key, counted = self.key, self.counted
        self._labels = [labels.get(key) for labels in snapshot.labels]
        self._own = [found.get(name, 0) for name in snapshot.names] if found else [0] * len(snapshot)
        self._domains = list(self._labels)
        if counted is not None:
            self._domains = [d if d is not None and counted(n, snapshot) else None for n, d in enumerate(self._labels)]
        sums, sizes = self._sums, self._sizes
        for domain, own in zip(self._domains, self._own, strict=True):
            if domain is not None:
                sums[domain] = sums.get(domain, 0) + own
                sizes[domain] = sizes.get(domain, 0) + 1
        self._spread = Counter(sums.values())
        if self.show == "count":
            for n, label in enumerate(self._labels):
                if label is not None:
                    self._members.setdefault(label, set()).add(n)

    def values(self) -> Sequence[Hashable]:
        """What each node shows."""
        if self.show == "domain":
            return self._labels
        if self.show == "own":
            return [None if label is None else own for label, own in zip(self._labels, self._own, strict=True)]
        return [None if label is None else self._sums.get(label, 0) for label in self._labels]

    def refresh(self, n: int, snapshot: Snapshot) -> set[int]:
        """Looks at a node again; returns the other nodes that show something else now."""
        while len(self._labels) <= n:
            self._labels.append(None)
            self._domains.append(None)
            self._own.append(0)
        name, label = snapshot.names[n], snapshot.labels[n].get(self.key)
        domain = label if label is not None and (self.counted is None or self.counted(n, snapshot)) else None
        own = sum(weight * tally.counts.get(name, 0) for tally, weight in self.parts)
        was, before = self._labels[n], self._domains[n]
        if (was, before, self._own[n]) == (label, domain, own):
            return set()
        self._withdraw(before, self._own[n])
        self._labels[n], self._domains[n], self._own[n] = label, domain, own
        self._enter(domain, own)
        if self.show != "count":
            return set()
        return self._moved(n, was, label)

    def value(self, n: int) -> Hashable:
        """What the node shows."""
        label = self._labels[n]
        if label is None or self.show == "domain":
            return label
        return self._own[n] if self.show == "own" else self._sums.get(label, 0)

    def count(self, value: Hashable) -> int | None:
        """How many there are where nodes show this; None where the label is missing."""
        if self.show == "domain":
            return None if value is None else self._sums.get(value, 0)  # type: ignore[call-overload]
        return value  # type: ignore[return-value]

    def extent(self) -> int:
        """Of all domains."""
        if self._extent == "total":
            return sum(self._sums.values())
        if self._extent != "fewest" or len(self._sums) < self._min_domains:
            return 0
        return min(self._spread, default=0)

    def tried(self, n: int, delta: int) -> tuple[int | None, int]:
        """The count and the extent that a node would see if its own count were other by so much."""
        label, domain = self._labels[n], self._domains[n]
        if label is None:
            return None, self.extent()
        if self.show == "own":
            return self._own[n] + delta, 0
        before = self._sums.get(label, 0)
        if domain is None or not delta:
            return before, self.extent()
        if self._extent == "fewest":
            self._change(domain, before + delta)
            extent = self.extent()
            self._change(domain, before)
            return before + delta, extent
        return before + delta, self.extent() + delta

    def delta(self, demand: Demand) -> int:
        """How much a pod adds to the count of its node."""
        return sum(weight * tally.times(demand) for tally, weight in self.parts)

    def _withdraw(self, domain: str | None, own: int) -> None:
        if domain is None:
            return
        self._sizes[domain] -= 1
        self._change(domain, self._sums[domain] - own)
        if not self._sizes[domain]:
            self._spread[self._sums[domain]] -= 1
            self._tidy(self._sums.pop(domain))
            del self._sizes[domain]

    def _enter(self, domain: str | None, own: int) -> None:
        if domain is None:
            return
        if domain not in self._sizes:
            self._sizes[domain] = self._sums[domain] = 0
            self._spread[0] += 1
        self._sizes[domain] += 1
        self._change(domain, self._sums[domain] + own)

    def _change(self, domain: str, count: int) -> None:
        before = self._sums[domain]
        if before == count:
            return
        self._sums[domain] = count
        self._spread[before] -= 1
        self._tidy(before)
        self._spread[count] += 1

    def _tidy(self, count: int) -> None:
        if not self._spread[count]:
            del self._spread[count]

    def _moved(self, n: int, was: str | None, label: str | None) -> set[int]:
        """The neighbours in the domains of before and of now."""
        if was is not None and was != label:
            self._members[was].discard(n)
        if label is not None:
            self._members.setdefault(label, set()).add(n)
        found = set(self._members.get(was or "", ())) | set(self._members.get(label or "", ()))
        found.discard(n)
        return found
