"""Hints: whether a change may help a pod that found no node, by what refused it. When in doubt it may. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#queueinghint
"""

from collections.abc import Callable
from dataclasses import dataclass

from sampan.scheduling import ranking
from sampan.scheduling.plugins import (
    inter_pod_affinity,
    node_ports,
    node_resources_fit,
    node_volume_limits,
    topology_spread,
    volume_restrictions,
)
from sampan.scheduling.profile import Profile
from sampan.scheduling.verdict import Demand, Snapshot

OF_USED_VOLUMES = frozenset((volume_restrictions.NAME, node_volume_limits.NAME))
OF_NEIGHBOURS = frozenset((topology_spread.NAME, inter_pod_affinity.NAME))

Helps = Callable[[Demand, frozenset[str]], bool]


@dataclass(frozen=True, slots=True)
class Came:
    """A pod was placed, or its labels changed."""

    pod: Demand
    snapshot: Snapshot

    def helps(self, waiting: Demand, refusers: frozenset[str]) -> bool:
        """It may be one that was wanted near, or even out what was uneven."""
        if topology_spread.NAME in refusers and _is_spread_with(waiting, self.pod, self.snapshot):
            return True
        namespaces = self.snapshot.tallies.namespaces
        return inter_pod_affinity.NAME in refusers and any(
            term.means(self.pod.namespace, self.pod.labels, namespaces) for term in waiting.terms.near
        )


@dataclass(frozen=True, slots=True)
class Went:
    """A placed pod is gone, or has ended."""

    pod: Demand
    snapshot: Snapshot

    def helps(self, waiting: Demand, refusers: frozenset[str]) -> bool:
        """It leaves room, a port, or a neighbourhood."""
        if node_resources_fit.NAME in refusers or refusers & OF_USED_VOLUMES:
            return True
        if node_ports.NAME in refusers and any(
            one[0] == other[0] and one[2] == other[2] for one in waiting.ports for other in self.pod.ports
        ):
            return True
        if topology_spread.NAME in refusers and _is_spread_with(waiting, self.pod, self.snapshot):
            return True
        return inter_pod_affinity.NAME in refusers and self._shuns(waiting)

    def _shuns(self, waiting: Demand) -> bool:
        """Whether one of them does not want the other near."""
        namespaces = self.snapshot.tallies.namespaces
        return any(
            term.means(other.namespace, other.labels, namespaces)
            for one, other in ((waiting, self.pod), (self.pod, waiting))
            for term in one.terms.far
        )


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node is new, or is other than it was; "" for one that is gone."""

    name: str
    snapshot: Snapshot
    profiles: dict[str, Profile]

    def helps(self, waiting: Demand, refusers: frozenset[str]) -> bool:
        """The pod might be on it, or count its neighbours otherwise."""
        if refusers & OF_NEIGHBOURS:
            return True
        at = self.snapshot.index.get(self.name)
        if at is None:
            return False
        verdict = ranking.verdicts(waiting, (at,), self.snapshot, self.profiles[waiting.scheduler]).get(at)
        return verdict is None or not verdict.is_final


def of_plugin(name: str) -> Helps:
    """Something that only this plugin knows of has changed."""
    return lambda waiting, refusers: name in refusers


def _is_spread_with(waiting: Demand, other: Demand, snapshot: Snapshot) -> bool:
    if not waiting.terms.is_spread:
        return True  # by the profile's defaults
    namespaces = snapshot.tallies.namespaces
    return any(c.term.means(other.namespace, other.labels, namespaces) for c in waiting.terms.hard)
