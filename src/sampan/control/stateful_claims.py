"""Stateful claims: the PersistentVolumeClaims of a StatefulSet's pods, and whose end is theirs.

By persistentVolumeClaimRetentionPolicy a claim goes with its set (whenDeleted: Delete, the set owns it) or with a
pod that is scaled away (whenScaled: Delete, the pod owns it). Owners that are somebody else's are left alone.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
"""

from collections.abc import Iterable
from typing import Any

from sampan.control import stateful_pods
from sampan.control.view import View
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects

Reference = dict[str, Any]


def names(stateful_set: Object, number: int) -> list[str]:
    """Those of an ordinal's claims."""
    return [stateful_pods.claim_name(stateful_set, claim, number) for claim in _templates(stateful_set)]


def existing(view: View, stateful_set: Object, number: int) -> list[Object]:
    """Those of an ordinal's claims that are there."""
    if not _templates(stateful_set):
        return []
    namespace = objects.namespace(stateful_set)
    found = (view.get(PERSISTENTVOLUMECLAIM, (namespace, name)) for name in names(stateful_set, number))
    return [claim for claim in found if claim is not None]


def missing(view: View, stateful_set: Object, number: int) -> list[Object]:
    """Those of an ordinal's claims that are not there, as they are to be created."""
    there = set(map(objects.name, existing(view, stateful_set, number)))
    made = (_new(stateful_set, claim, number) for claim in _templates(stateful_set))
    return [claim for claim in made if objects.name(claim) not in there]


def is_stale(view: View, stateful_set: Object, number: int) -> bool:
    """Whether a claim belongs to an earlier pod of this name, with which it will go."""
    if _policy(stateful_set)[1] == "Retain":
        return False
    name = f"{objects.name(stateful_set)}-{number}"
    found = existing(view, stateful_set, number)
    return any(_is_named(r, POD, name) for claim in found for r in objects.owner_references(claim))


def wrong(view: View, stateful_set: Object, p: Object) -> list[Object]:
    """Those of the pod's claims that have other owners than the policy wants, as they should be."""
    found = existing(view, stateful_set, stateful_pods.ordinal(p))
    pairs = ((claim, owners(stateful_set, p, claim)) for claim in found)
    return [_owned(claim, wanted) for claim, wanted in pairs if wanted != objects.owner_references(claim)]


def conflicting(view: View, stateful_set: Object, p: Object) -> list[str]:
    """Names of the pod's claims that another controller manages, against the policy."""
    found = existing(view, stateful_set, stateful_pods.ordinal(p))
    return [objects.name(claim) for claim in found if _is_managed_elsewhere(stateful_set, p, claim)]


def owners(stateful_set: Object, p: Object, claim: Object) -> list[Reference]:
    """The owner references that a claim should have; those that it has where they need no change."""
    present = objects.owner_references(claim)
    ours, name = objects.name(stateful_set), objects.name(p)
    if any(_is_stale(r, STATEFULSET, ours, stateful_set) or _is_stale(r, POD, name, p) for r in present):
        return present  # what came before us, and will be collected
    others = [r for r in present if not _is_named(r, STATEFULSET, ours) and not _is_named(r, POD, name)]
    if _is_managed_elsewhere(stateful_set, p, claim):
        return others
    wanted = _wanted_owner(stateful_set, p)
    have = [r for r in present if r not in others]
    if [r["uid"] for r in have] == [w["uid"] for w in wanted] and all(r.get("controller") for r in have):
        return present
    return [*others, *wanted]


def _wanted_owner(stateful_set: Object, p: Object) -> list[Reference]:
    when_deleted, when_scaled = _policy(stateful_set)
    if when_scaled == "Delete" and not stateful_pods.is_wanted(stateful_set, p):
        return [_reference(POD, p)]
    return [_reference(STATEFULSET, stateful_set)] if when_deleted == "Delete" else []


def _is_managed_elsewhere(stateful_set: Object, p: Object, claim: Object) -> bool:
    if _policy(stateful_set) == ("Retain", "Retain"):
        return False
    ours = {objects.uid(stateful_set), objects.uid(p)}
    return any(r.get("controller") and r.get("uid") not in ours for r in objects.owner_references(claim))


def _policy(stateful_set: Object) -> tuple[str, str]:
    """(whenDeleted, whenScaled)."""
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") or "Retain", policy.get("whenScaled") or "Retain"


def _new(stateful_set: Object, template: Object, number: int) -> Object:
    made: Object = objects.copy(template)
    labels = {**objects.labels(template), **(stateful_set["spec"]["selector"].get("matchLabels") or {})}
    name = stateful_pods.claim_name(stateful_set, template, number)
    made["metadata"] |= {"name": name, "namespace": objects.namespace(stateful_set)}
    if labels:
        made["metadata"]["labels"] = labels
    if _policy(stateful_set)[0] == "Delete":
        made["metadata"]["ownerReferences"] = [_reference(STATEFULSET, stateful_set)]
    kind = {"apiVersion": PERSISTENTVOLUMECLAIM.api_version, "kind": PERSISTENTVOLUMECLAIM.name}
    return made | kind


def _owned(claim: Object, wanted: Iterable[Reference]) -> Object:
    metadata = {name: value for name, value in claim["metadata"].items() if name != "ownerReferences"}
    references = list(wanted)
    return {**claim, "metadata": {**metadata, **({"ownerReferences": references} if references else {})}}


def _reference(kind: Kind, owner: Object) -> Reference:
    return objects.owner_reference({"apiVersion": kind.api_version, "kind": kind.name, **owner})


def _is_named(reference: Reference, kind: Kind, name: str) -> bool:
    named = (reference.get("apiVersion"), reference.get("kind"), reference.get("name"))
    return named == (kind.api_version, kind.name, name)


def _is_stale(reference: Reference, kind: Kind, name: str, owner: Object) -> bool:
    return _is_named(reference, kind, name) and reference.get("uid") != objects.uid(owner)


def _templates(stateful_set: Object) -> list[Object]:
    return list(stateful_set["spec"].get("volumeClaimTemplates") or ())
