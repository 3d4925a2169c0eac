"""A volume that is labelled with a zone or region wants its pod there.

https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone
"""

from collections.abc import Mapping

from sampan.meta import objects
from sampan.scheduling import storage
from sampan.scheduling.storage import Storage
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "VolumeZone"
ELSEWHERE = Verdict(NAME, ("node(s) had no available volume zone",))
_NAMES = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_KEYS = (*_NAMES, *_NAMES.values())
SEVERAL = "__"


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot, known: Storage) -> list[Verdict | None]:
    """A node that is in no zone at all is in nobody's way."""
    wanted = [
        (key, set(labels[key].split(SEVERAL)))
        for volume in storage.volumes(pod, known)
        for labels in (objects.labels(volume),)
        for key in _KEYS
        if key in labels
    ]
    return [None if _is_within(wanted, snapshot.labels[n]) else ELSEWHERE for n in nodes]


def _is_within(wanted: list[tuple[str, set[str]]], labels: Mapping[str, str]) -> bool:
    if not any(key in labels for key in _KEYS):
        return True
    return all((labels.get(key) or labels.get(_NAMES.get(key, ""))) in values for key, values in wanted)
