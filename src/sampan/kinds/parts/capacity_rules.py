"""Which capacities of a device are refused: an amount, and what of it one claim may take.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#consumable-capacity
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import device_rules
from sampan.meta import quantity
from sampan.meta.quantity import Quantity
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, required, too_many

Tree = Mapping[str, Any]

_MAX_VALUES = 10


def causes(capacity: Tree, path: str, *, shared: bool) -> list[Cause]:
    """All that is wrong with one capacity. Only a `shared` device has a policy of what may be requested."""
    found = device_rules.amount_causes(capacity.get("value") or "0", f"{path}.value")
    policy, where = capacity.get("requestPolicy"), f"{path}.requestPolicy"
    if policy is None or found:
        return found
    if not shared:
        return [forbidden_field(where, "allowMultipleAllocations must be true")]
    for field in ("default",):
        if policy.get(field) is not None:
            found += device_rules.amount_causes(policy[field], f"{where}.{field}")
    return found or _policy_causes(policy, quantity.parse(capacity.get("value") or "0"), where)


def _policy_causes(policy: Tree, most: Quantity, path: str) -> list[Cause]:
    values, span, usual = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if values and span is not None:
        text = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [forbidden_field(path, text)]
    field = "validValues" if values else "validRange"
    if not values and span is None:
        return []
    if usual is None:
        return [required(f"{path}.default", f"required when {field} is defined")]
    if values:
        return _values_causes(values, quantity.parse(usual), most, f"{path}.validValues")
    return _range_causes(span or {}, quantity.parse(usual), most, f"{path}.validRange")


def _values_causes(values: Sequence[Any], usual: Quantity, most: Quantity, path: str) -> list[Cause]:
    wrong = [c for index, value in enumerate(values) for c in device_rules.amount_causes(value, f"{path}[{index}]")]
    if wrong:
        return wrong
    amounts = [quantity.parse(value) for value in values]
    found = [
        invalid_value(f"{path}[{index}]", str(amount), "values must be sorted in ascending order")
        for index, amount in enumerate(amounts)
        if index and amount.nanos < amounts[index - 1].nanos
    ]
    if len(amounts) > _MAX_VALUES:
        return [*found, too_many(path, len(amounts), _MAX_VALUES)]
    for index, amount in enumerate(amounts):
        if amount.nanos > most.nanos:
            found.append(
                invalid_value(f"{path}[{index}]", str(amount), f"option is larger than capacity value: {most}")
            )
        if any(amount.nanos == other.nanos for other in amounts[:index]):
            found.append(duplicate(f"{path}[{index}]", str(amount)))
    if all(amount.nanos != usual.nanos for amount in amounts):
        text = "default value is not valid according to the requestPolicy"
        found.append(invalid_value(path, str(usual), text))
    return found


def _range_causes(span: Tree, usual: Quantity, most: Quantity, path: str) -> list[Cause]:
    if span.get("min") is None:
        return [required(f"{path}.min", "required when validRange is defined")]
    wrong = [
        c for f in ("min", "max", "step") if span.get(f) for c in device_rules.amount_causes(span[f], f"{path}.{f}")
    ]
    if wrong:
        return wrong
    least = quantity.parse(span["min"])
    found: list[Cause] = []
    if least.nanos > most.nanos:
        found.append(invalid_value(f"{path}.min", str(least), f"min is larger than capacity value: {most}"))
    if usual.nanos < least.nanos:
        found.append(invalid_value(f"{path}.min", str(usual), f"default is less than min: {least}"))
    top = quantity.parse(span["max"]) if span.get("max") is not None else None
    if top is not None:
        for is_wrong, value, text in (
            (least.nanos > top.nanos, least, f"min is larger than max: {top}"),
            (top.nanos > most.nanos, top, f"max is larger than capacity value: {most}"),
            (usual.nanos > top.nanos, usual, f"default is more than max: {top}"),
        ):
            found += [invalid_value(f"{path}.max", str(value), text)] if is_wrong else []
    if span.get("step") is not None:
        marks = [usual] if top is None else [usual, top]
        found += _step_causes(quantity.parse(span["step"]), least, most, marks, f"{path}.step")
    return found


def _step_causes(step: Quantity, least: Quantity, most: Quantity, marks: list[Quantity], path: str) -> list[Cause]:
    if step.nanos <= 0:
        return [invalid_value(path, str(step), "must be greater than zero")]
    found: list[Cause] = []
    if (least + step).nanos > most.nanos:
        text = f"one step {least + step} is larger than capacity value: {most}"
        found.append(invalid_value(path, str(step), text))
    text = f"value is not a multiple of a given step ({step}) from ({least})"
    return found + [invalid_value(path, str(m), text) for m in marks if (m.nanos - least.nanos) % step.nanos]
