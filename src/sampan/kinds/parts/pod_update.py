"""What may change in a stored pod: images, tolerations (more), a deadline (sooner), scheduling gates (fewer)."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import difference, pod_rules
from sampan.meta.status import Cause, forbidden_field, invalid_value, required

Spec = Mapping[str, Any]

_FORBIDDEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_LOOSE = frozenset(("containers", "initContainers", "activeDeadlineSeconds", "tolerations", "schedulingGates"))
_SELECTOR_TEXT = "only additions are allowed (no deletions or mutations)"
_TERMS = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


def causes(new: Object, old: Object) -> list[Cause]:
    """What an update of a pod changes that it may not."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return []
    found = pod_rules.spec_causes(spec, "spec", pod=new)
    for group in ("containers", "initContainers"):
        if len(spec.get(group) or ()) != len(before.get(group) or ()):
            return [*found, forbidden_field(f"spec.{group}", "pod updates may not add or remove containers")]
        found += _image_causes(spec.get(group) or (), f"spec.{group}", found)
    found += _deadline_causes(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    tolerations, had = spec.get("tolerations") or [], before.get("tolerations") or []
    if not {_lasting(t) for t in had} <= {_lasting(t) for t in tolerations}:
        text = "existing toleration can not be modified except its tolerationSeconds"
        found.append(forbidden_field("spec.tolerations", text))
    found += _gate_causes(spec.get("schedulingGates") or (), before.get("schedulingGates") or ())
    is_gated = bool(before.get("schedulingGates"))
    if is_gated:
        found += _narrowing_causes(spec, before)
    rest, had_rest = _rest(spec, gated=is_gated), _rest(before, gated=is_gated)
    if had_rest.get("terminationGracePeriodSeconds", 0) < 0 and rest.get("terminationGracePeriodSeconds") == 1:
        rest["terminationGracePeriodSeconds"] = had_rest["terminationGracePeriodSeconds"]
    if rest != had_rest:
        found.append(forbidden_field("spec", f"{_FORBIDDEN}\n{difference.text(had_rest, rest)}"))
    return found


def _image_causes(containers: Sequence[Spec], path: str, known: Sequence[Cause]) -> list[Cause]:
    """A template's container may be without an image, a pod's never. `known` was said already."""
    said = {cause.field for cause in known}
    return [
        required(f"{path}[{index}].image")
        for index, container in enumerate(containers)
        if not container.get("image") and f"{path}[{index}].image" not in said
    ]


def _deadline_causes(value: int | None, before: int | None) -> list[Cause]:
    path = "spec.activeDeadlineSeconds"
    if value == before:
        return []
    if value is None:
        return [invalid_value(path, None, "must not update from a positive integer to nil value")]
    if value < 0:
        return [invalid_value(path, value, "must be between 0 and 2147483647, inclusive")]
    if before is not None and value > before:
        return [invalid_value(path, value, "must be less than or equal to previous value")]
    return []


def _lasting(toleration: Spec) -> frozenset[tuple[str, Any]]:
    """What may not change about a toleration."""
    return frozenset((name, value) for name, value in toleration.items() if name != "tolerationSeconds")


def _gate_causes(gates: Sequence[Spec], before: Sequence[Spec]) -> list[Cause]:
    known = {gate.get("name") for gate in before}
    return [
        forbidden_field(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for index, gate in enumerate(gates)
        if gate.get("name") not in known
    ]


def _narrowing_causes(spec: Spec, before: Spec) -> list[Cause]:
    """A gated pod may still be bound to fewer nodes, never to more."""
    found: list[Cause] = []
    labels, had = spec.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if not had.items() <= labels.items():
        found.append(invalid_value("spec.nodeSelector", labels, _SELECTOR_TEXT))
    terms, had_terms = _required_terms(spec), _required_terms(before)
    if not had_terms:
        return found
    if len(terms) != len(had_terms):
        return [
            *found,
            invalid_value(_TERMS, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"),
        ]
    for index, (term, kept) in enumerate(zip(terms, had_terms, strict=True)):
        lists = ("matchExpressions", "matchFields")
        if (not any(kept.get(f) for f in lists) and term != kept) or any(
            expression not in (term.get(field) or ()) for field in lists for expression in kept.get(field) or ()
        ):
            found.append(invalid_value(f"{_TERMS}[{index}]", term, _SELECTOR_TEXT))
    return found


def _required_terms(spec: Spec) -> list[Spec]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return list((affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ())


def _rest(spec: Spec, *, gated: bool) -> dict[str, Any]:
    """What must not change: all but the loose fields and the images; a gated pod may still narrow its nodes."""
    loose = _LOOSE | {"nodeSelector"} if gated else _LOOSE
    kept = {k: v for k, v in spec.items() if k not in loose}
    if gated and kept.get("affinity"):
        kept["affinity"] = {k: v for k, v in kept["affinity"].items() if k != "nodeAffinity"}
    if gated and not kept.get("affinity"):
        kept.pop("affinity", None)
    for group in ("containers", "initContainers"):
        kept[group] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(group) or ()]
    return kept
