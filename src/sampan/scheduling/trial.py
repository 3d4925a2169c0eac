"""Trial: one node as it would be with other pods on it: would the pod fit then? Pure."""

from collections.abc import Iterable, Sequence

from sampan.scheduling.framework import Extra, Judge
from sampan.scheduling.profile import Profile
from sampan.scheduling.verdict import Demand, Snapshot, Verdict


class Trial:
    """Pods come and go here without the snapshot noticing. What does not depend on pods is not asked again."""

    def __init__(
        self, pod: Demand, node: int, snapshot: Snapshot, judges: Sequence[Judge], extras: Sequence[Extra] = ()
    ) -> None:
        self._pod, self._node, self._snapshot = pod, node, snapshot
        self._extras = extras
        self._judges = [judge for judge in judges if judge.filters]
        self._deltas = [[0] * len(judge.facets) for judge in self._judges]
        self._usage = snapshot.usage[node].copy()

    @property
    def pods(self) -> Iterable[Demand]:
        """Those that are there now."""
        return list(self._usage.pods.values())

    def add(self, other: Demand) -> None:
        """One more pod."""
        self._usage.add(other)
        self._count(other, 1)

    def remove(self, other: Demand) -> None:
        """One pod less."""
        self._usage.remove(other)
        self._count(other, -1)

    def verdict(self, profile: Profile) -> Verdict | None:
        """Why the pod would not fit; None when it would."""
        usage, node = self._snapshot.usage, self._node
        real, usage[node] = usage[node], self._usage
        try:
            for each in profile.pod_filters:
                if (found := each(self._pod, (node,), self._snapshot)[0]) is not None:
                    return found
            for extra in self._extras:
                if (found := extra.filter(self._pod, (node,), self._snapshot)[0]) is not None:
                    return found
        finally:
            usage[node] = real
        self._extras = [extra for extra in self._extras if extra.reads_pods]
        for judge, deltas in zip(self._judges, self._deltas, strict=True):
            tried = [facet.tried(node, delta) for facet, delta in zip(judge.facets, deltas, strict=True)]
            if (found := judge.filter([count for count, _ in tried], [extent for _, extent in tried])) is not None:
                return found
        return None

    def _count(self, other: Demand, sign: int) -> None:
        for judge, deltas in zip(self._judges, self._deltas, strict=True):
            for at, facet in enumerate(judge.facets):
                deltas[at] += sign * facet.delta(other)
