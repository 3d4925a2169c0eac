"""What may change in a stored pod: images, tolerations (more), a deadline (sooner), scheduling gates (fewer)."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta.status import Cause, forbidden_field, invalid_value, required

_FORBIDDEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_LOOSE = frozenset(("containers", "initContainers", "activeDeadlineSeconds", "tolerations", "schedulingGates"))


def causes(new: Object, old: Object) -> list[Cause]:
    """What an update of a pod changes that it may not."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return []
    found = _container_causes(spec, before)
    if found is None:
        return [forbidden_field("spec.containers", "pod updates may not add or remove containers")]
    found += _deadline_causes(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    tolerations, had = spec.get("tolerations") or [], before.get("tolerations") or []
    lost = [t for t in had if not any(_covers(given, t) for given in tolerations)]
    if lost:
        text = "existing toleration can not be modified except its tolerationSeconds"
        found.append(forbidden_field("spec.tolerations", text))
    gates, had_gates = spec.get("schedulingGates") or [], before.get("schedulingGates") or []
    if [g for g in gates if g not in had_gates]:
        found.append(forbidden_field("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate"))
    if found or _rest(spec, gated=bool(had_gates)) == _rest(before, gated=bool(had_gates)):
        return found
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        before = {**before, "terminationGracePeriodSeconds": 1}
        if _rest(spec, gated=bool(had_gates)) == _rest(before, gated=bool(had_gates)):
            return []
    return [forbidden_field("spec", f"{_FORBIDDEN}\n{_difference(before, spec)}")]


def _container_causes(spec: Mapping[str, Any], before: Mapping[str, Any]) -> list[Cause] | None:
    """None when their number changed."""
    found = []
    for group in ("containers", "initContainers"):
        containers, had = spec.get(group) or (), before.get(group) or ()
        if len(containers) != len(had):
            return None
        for index, container in enumerate(containers):
            image = container.get("image") or ""
            path = f"spec.{group}[{index}].image"
            if not image:
                found.append(required(path))
            elif image != image.strip():
                found.append(invalid_value(path, image, "must not have leading or trailing whitespace"))
    return found


def _deadline_causes(value: int | None, before: int | None) -> list[Cause]:
    path = "spec.activeDeadlineSeconds"
    if value == before:
        return []
    if value is None:
        return [invalid_value(path, None, "must not update from a positive integer to nil value")]
    if value < 0:
        return [invalid_value(path, value, "must be between 0 and 2147483647, inclusive")]
    if before is not None and value > before:
        text = f"must be less than or equal to previous value {before}"
        return [invalid_value(path, value, text)]
    return []


def _covers(given: Mapping[str, Any], had: Mapping[str, Any]) -> bool:
    return {k: v for k, v in given.items() if k != "tolerationSeconds"} == {
        k: v for k, v in had.items() if k != "tolerationSeconds"
    }


def _rest(spec: Mapping[str, Any], *, gated: bool) -> dict[str, Any]:
    """What must not change: all but the loose fields and the images; a gated pod may still narrow its nodes."""
    loose = _LOOSE | {"nodeSelector", "affinity"} if gated else _LOOSE
    kept = {k: v for k, v in spec.items() if k not in loose}
    for group in ("containers", "initContainers"):
        kept[group] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(group) or ()]
    return kept


def _difference(before: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """The changed top-level fields, old and new, one a line."""
    old, new = _rest(before, gated=False), _rest(spec, gated=False)
    lines = ["@@ spec @@"]
    for field in sorted(old.keys() | new.keys()):
        if old.get(field) != new.get(field):
            lines += [f"- {field}: {old.get(field)}", f"+ {field}: {new.get(field)}"]
    return "\n".join(lines)
