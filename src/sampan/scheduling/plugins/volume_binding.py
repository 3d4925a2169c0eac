"""A pod goes where its volumes are, or where they can be had; where is written down before it is bound.

https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.parts import volume_match
from sampan.meta import objects, quantity, selectors
from sampan.scheduling import storage
from sampan.scheduling.storage import Choice, Storage
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "VolumeBinding"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
BIND_CONFLICT = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim that waits for a node: the volumes it could be bound to, the best first, and its class.

    `regions` are the parts of the cluster where there is enough storage to make a volume; None for no need to know.
    """

    claim: Object
    candidates: Sequence[Object]
    storage_class: Object
    node: str
    taken: frozenset[str]
    regions: Sequence[selectors.Selector] | None


def refuse(pod: Demand, known: Storage) -> Verdict | None:
    """Why the claims keep the pod from every node."""
    is_open = False
    for volume, name, claim in storage.claims(pod, known):
        why = _fault(pod, volume, name, claim)
        if why:
            return Verdict(NAME, (why,))
        if claim is not None and not volume_match.is_bound(claim):
            found = known.storage_class(volume_match.storage_class(claim))
            is_open = is_open or bool(claim["spec"].get("volumeName")) or not volume_match.is_delayed(found)
    return Verdict(NAME, (UNBOUND,)) if is_open else None


def _fault(pod: Demand, volume: Mapping[str, Any], name: str, claim: Object | None) -> str:
    is_own = volume.get("ephemeral") is not None
    if claim is None:
        if is_own:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        lost = claim["spec"].get("volumeName") or ""
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{lost}"'
    if objects.is_deleting(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    if is_own and not objects.is_controlled_by(claim, pod.pod):
        whole = f"{pod.namespace}/{name}"
        return f"PVC {whole} was not created for pod {pod.namespace}/{objects.name(pod.pod)} (pod is not owner)"
    return ""


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot, known: Storage) -> list[Verdict | None]:
    """What is bound must be reachable, and what is not must be to be had."""
    bound, wanted = _needs(pod, known)
    if bound is None:
        return [Verdict(NAME, (NO_VOLUME,))] * len(nodes)
    return [_verdict(snapshot.names[n], snapshot.labels[n], bound, wanted) for n in nodes]


def choose(pod: Demand, name: str, labels: Mapping[str, str], known: Storage) -> Choice:
    """What is to be done for the pod on this node, which was found good."""
    found = _choice(name, labels, _needs(pod, known)[1])
    return Choice() if isinstance(found, str) else found


def _needs(pod: Demand, known: Storage) -> tuple[list[Object] | None, list[Wanted]]:
    """The volumes that are bound, None when one is not there; and the claims that wait."""
    bound: list[Object] = []
    wanted: dict[str, Wanted] = {}
    for _, name, claim in storage.claims(pod, known):
        if claim is None:
            continue
        if volume_match.is_bound(claim):
            volume = known.volume(claim["spec"]["volumeName"])
            if volume is None:
                return None, []
            bound.append(volume)
            continue
        named = volume_match.storage_class(claim)
        found = volume_match.candidates(claim, known.volumes(named))
        taken, owner = frozenset(known.taken(claim)), known.storage_class(named) or {}
        wanted[name] = Wanted(claim, found, owner, known.node_of(claim), taken, _regions(claim, owner, known))
    return bound, sorted(wanted.values(), key=lambda each: volume_match.size(each.claim))


def _regions(claim: Object, storage_class: Mapping[str, Any], known: Storage) -> list[selectors.Selector] | None:
    if "storage" not in ((claim["spec"].get("resources") or {}).get("requests") or {}):
        return None
    if not known.is_measured(str(storage_class.get("provisioner") or "")):
        return None
    size = volume_match.size(claim)
    found = [each for each in known.capacities(objects.name(storage_class)) if _largest(each) >= size]
    return [selectors.from_label_selector(each["nodeTopology"]) for each in found if each.get("nodeTopology")]


def _largest(capacity: Mapping[str, Any]) -> int:
    """The largest volume that can be made there, in bytes."""
    limit = capacity.get("maximumVolumeSize")
    if limit is None:
        limit = capacity.get("capacity")
    return -1 if limit is None else quantity.to_int(limit)


def _verdict(name: str, labels: Mapping[str, str], bound: Iterable[Object], wanted: Sequence[Wanted]) -> Verdict | None:
    reasons = []
    if not all(volume_match.reaches(volume, name, labels) for volume in bound):
        reasons.append(NODE_CONFLICT)
    if wanted and isinstance(found := _choice(name, labels, wanted), str):
        reasons.append(found)
    return Verdict(NAME, tuple(reasons)) if reasons else None


def _choice(name: str, labels: Mapping[str, str], wanted: Sequence[Wanted]) -> Choice | str:
    """The smallest claim first; what no volume there fulfils, the class's provisioner may make. Or why not."""
    bindings: list[tuple[Object, Object]] = []
    provisions: list[Wanted] = []
    used: set[str] = set()
    for each in wanted:
        if each.node:
            if each.node != name:
                return BIND_CONFLICT
            volume = None
        else:
            volume = volume_match.first_on(
                each.candidates, each.taken | used, lambda v: volume_match.reaches(v, name, labels)
            )
        if volume is not None:
            used.add(objects.name(volume))
            bindings.append((each.claim, volume))
        else:
            provisions.append(each)
    for each in provisions:
        if not _can_provide(each.storage_class, labels):
            return BIND_CONFLICT
        if each.regions is not None and not any(region.matches(labels) for region in each.regions):
            return NO_SPACE
    return Choice(tuple(bindings), tuple(each.claim for each in provisions))


def _can_provide(storage_class: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if storage_class.get("provisioner") in (None, "", volume_match.NO_PROVISIONER):
        return False
    topologies = storage_class.get("allowedTopologies") or ()
    return not topologies or any(_is_within(term, labels) for term in topologies)


def _is_within(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    expressions = term.get("matchLabelExpressions") or ()
    return all(labels.get(each["key"]) in (each.get("values") or ()) for each in expressions)
