"""A node takes no more volumes of a CSI driver than its CSINode says.

https://kubernetes.io/docs/concepts/storage/storage-limits/
"""

from sampan.kinds.parts import volume_match
from sampan.meta import objects
from sampan.scheduling import storage
from sampan.scheduling.storage import Storage
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodeVolumeLimits"
FULL = Verdict(NAME, ("node(s) exceed max volume count",), is_final=False)

Attached = set[tuple[str, str]]  # driver, volume


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot, known: Storage) -> list[Verdict | None]:
    """With the pod's own volumes, none of which counts twice."""
    wanted = _attached(pod, known)
    return [FULL if wanted and _is_full(n, wanted, snapshot, known) else None for n in nodes]


def _is_full(node: int, wanted: Attached, snapshot: Snapshot, known: Storage) -> bool:
    limits = known.limits(snapshot.names[node])
    if not any(driver in limits for driver, _ in wanted):
        return False
    there: Attached = set()
    for other in snapshot.usage[node].pods.values():
        there |= _attached(other, known)
    new = {driver for driver, _ in wanted - there}
    every = wanted | there
    return any(sum(each == driver for each, _ in every) > limit for driver, limit in limits.items() if driver in new)


def _attached(pod: Demand, known: Storage) -> Attached:
    """The CSI volumes that the pod brings; one that is not there yet counts by its claim."""
    found: Attached = set()
    for _, name, claim in storage.claims(pod, known):
        if claim is None:
            continue
        bound = known.volume(claim["spec"].get("volumeName") or "")
        if bound is None:
            made_by = (known.storage_class(volume_match.storage_class(claim)) or {}).get("provisioner")
            if made_by:
                found.add((made_by, f"{objects.namespace(claim)}/{name}"))
        elif bound["spec"].get("csi"):
            found.add((bound["spec"]["csi"]["driver"], bound["spec"]["csi"]["volumeHandle"]))
    return found
