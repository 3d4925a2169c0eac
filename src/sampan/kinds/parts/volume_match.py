"""Volume match: which persistent volume fulfils a claim, and what stands against one that was asked for by name. Pure.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from sampan.kinds.parts import node_match, storage_rules
from sampan.meta import objects, quantity, selectors

Tree = Mapping[str, Any]
Volume = dict[str, Any]

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


def is_for(volume: Tree, claim: Tree) -> bool:
    """Whether the volume is bound to the claim, or kept for one of its name."""
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    if (reference.get("namespace"), reference.get("name")) != objects.key(claim):
        return False
    return reference.get("uid") in (None, "", objects.uid(claim))


def is_bound(claim: Tree) -> bool:
    """Whether the claim is bound for good, as both of its marks say."""
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in objects.annotations(claim)


def storage_class(claim_or_volume: Tree) -> str:
    """The name of its class, "" for none."""
    return storage_rules.class_text(dict(claim_or_volume))


def is_delayed(storage_class: Tree | None) -> bool:
    """Whether claims of the class wait for a pod that needs them."""
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def obstacle(volume: Tree, claim: Tree) -> str:
    """Why a volume that the claim names is not for it, "" for nothing."""
    if objects.is_deleting(volume):
        return f'the volume is marked for deletion "{objects.name(volume)}"'
    if _capacity(volume) < _wanted(claim):
        return "requested PV is too small"
    if storage_class(volume) != storage_class(claim):
        return "storageClassName does not match"
    if _attributes(volume) != _attributes(claim):
        return "volumeAttributesClassName does not match"
    if is_other_mode(volume, claim):
        return "incompatible volumeMode"
    return "" if _has_modes(volume, claim) else "incompatible accessMode"


def is_other_mode(volume: Tree, claim: Tree) -> bool:
    """Whether one is a block device and the other a file system."""
    wanted = claim["spec"].get("volumeMode") or "Filesystem"
    return (volume["spec"].get("volumeMode") or "Filesystem") != wanted


def best(claim: Tree, volumes: Iterable[Volume], *, is_delayed: bool) -> Volume | None:
    """Of all volumes the one to bind to: that which is kept for the claim; or else that with the fewest access modes,
    and then the smallest. A delayed claim gets only one that is kept for it.
    """
    usable = [v for v in volumes if _may_serve(v, claim) and _has_modes(v, claim)]
    kept = [v for v in usable if is_for(v, claim)]
    found = kept or ([] if is_delayed else [v for v in usable if _is_free(v, claim)])
    return min(found, key=lambda v: (_number_of_modes(v), _capacity(v), objects.name(v)), default=None)


def candidates(claim: Tree, volumes: Iterable[Volume]) -> list[Volume]:
    """Those that the scheduler may bind the claim to, the best first, wherever they are."""
    usable = [v for v in volumes if _may_serve(v, claim) and _has_modes(v, claim)]
    kept = [v for v in usable if is_for(v, claim)]
    found = kept or [v for v in usable if _is_free(v, claim)]
    return sorted(found, key=lambda v: (_capacity(v), objects.name(v)))


def first_on(found: Iterable[Volume], taken: Collection[str], reaches: Callable[[Volume], bool]) -> Volume | None:
    """The first of the candidates that nobody has taken and that can be reached."""
    return next((v for v in found if objects.name(v) not in taken and reaches(v)), None)


def reaches(volume: Tree, name: str, labels: Mapping[str, str]) -> bool:
    """Whether the volume can be had on a node of this name with these labels."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or any(term.matches(name, labels) for term in node_match.terms(required))


def size(claim: Tree) -> int:
    """The storage that the claim asks for, in bytes."""
    return quantity.to_int(_wanted_text(claim))


def _may_serve(volume: Tree, claim: Tree) -> bool:
    """Whether it is big enough, of the right sort, and not meant for somebody else."""
    if volume["spec"].get("claimRef") and not is_for(volume, claim):
        return False
    if objects.is_deleting(volume) or is_other_mode(volume, claim) or _attributes(volume) != _attributes(claim):
        return False
    return _capacity(volume) >= _wanted(claim)


def _is_free(volume: Tree, claim: Tree) -> bool:
    """Whether it is there for anybody with such a claim."""
    if (volume.get("status") or {}).get("phase") != "Available" or storage_class(volume) != storage_class(claim):
        return False
    wanted = claim["spec"].get("selector")
    if wanted is None:
        return True
    return selectors.from_label_selector(wanted).matches(objects.labels(volume))


def _has_modes(volume: Tree, claim: Tree) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def _number_of_modes(volume: Tree) -> int:
    return len(volume["spec"].get("accessModes") or ())


def _attributes(obj: Tree) -> str:
    return str(obj["spec"].get("volumeAttributesClassName") or "")


def _capacity(volume: Tree) -> int:
    return quantity.parse((volume["spec"].get("capacity") or {}).get("storage") or "0").nanos


def _wanted(claim: Tree) -> int:
    return quantity.parse(_wanted_text(claim)).nanos


def _wanted_text(claim: Tree) -> str:
    return str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0")
