"""Storage: what the plugins for volumes are told of claims, volumes and classes. Pure.

What was decided for other pods and is not written yet counts already: a volume may be taken, a claim may have its node.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sampan.kinds.parts import pod_claims
from sampan.scheduling.verdict import Demand

Object = dict[str, Any]


class Storage(Protocol):
    """Objects as they were last seen; never mutate them."""

    def claim(self, namespace: str, name: str) -> Object | None:
        """A PersistentVolumeClaim."""

    def volume(self, name: str) -> Object | None:
        """A PersistentVolume."""

    def storage_class(self, name: str) -> Object | None:
        """A StorageClass."""

    def volumes(self, storage_class: str) -> Iterable[Object]:
        """All PersistentVolumes of a class."""

    def node_of(self, claim: Object) -> str:
        """The name of the node that a volume for the claim is to be made for; "" while that is open."""

    def taken(self, claim: Object) -> Collection[str]:
        """The names of the volumes that were chosen for other claims."""

    def limits(self, node: str) -> Mapping[str, int]:
        """How many volumes of each CSI driver a node can have, where that is told."""

    def is_measured(self, provisioner: str) -> bool:
        """Whether a provisioner is a CSI driver that tells how much storage there is."""

    def capacities(self, storage_class: str) -> Iterable[Object]:
        """The CSIStorageCapacities of a class."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be done for a pod's claims on a node: bind them to volumes, or have volumes made."""

    bindings: tuple[tuple[Object, Object], ...] = ()
    provisions: tuple[Object, ...] = ()


def claims(pod: Demand, storage: Storage) -> Iterator[tuple[Mapping[str, Any], str, Object | None]]:
    """The pod's volumes with claims: the volume, the claim's name, and the claim if it is there."""
    for volume, name in pod_claims.of(pod.pod):
        yield volume, name, storage.claim(pod.namespace, name)


def volumes(pod: Demand, storage: Storage) -> Iterator[Object]:
    """The volumes that the pod's claims are bound to, those that are there."""
    for _, _, claim in claims(pod, storage):
        name = claim["spec"].get("volumeName") if claim is not None else None
        found = storage.volume(name) if name else None
        if found is not None:
            yield found
