"""A job's own rules about failure and success: which are refused.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.meta import names
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required, too_long, too_many

Tree = Mapping[str, Any]

_MAX_RULES = 20
_MAX_CODES = 255
_MAX_INDEXES = 64 * 1024
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")


def failure_causes(spec: Tree, path: str) -> list[Cause]:
    """What is wrong with spec.podFailurePolicy."""
    rules = spec["podFailurePolicy"].get("rules") or ()
    where = f"{path}.rules"
    found = [too_many(where, len(rules), _MAX_RULES)] if len(rules) > _MAX_RULES else []
    pod = (spec.get("template") or {}).get("spec") or {}
    known = {c.get("name") for group in ("containers", "initContainers") for c in pod.get(group) or ()}
    for index, rule in enumerate(rules):
        found += _rule_causes(rule, f"{where}[{index}]", spec)
        if rule.get("onExitCodes") is not None:
            found += _exit_causes(rule["onExitCodes"], f"{where}[{index}].onExitCodes", known)
        if rule.get("onPodConditions"):
            found += _condition_causes(rule["onPodConditions"], f"{where}[{index}].onPodConditions")
        found += _source_causes(rule, f"{where}[{index}]")
    return found


def _rule_causes(rule: Tree, path: str, spec: Tree) -> list[Cause]:
    action = rule.get("action") or ""
    if not action:
        return [required(f"{path}.action", _valid(_ACTIONS))]
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        return [invalid_value(f"{path}.action", action, "requires the backoffLimitPerIndex to be set")]
    return [] if action in _ACTIONS else [not_supported(f"{path}.action", action, _ACTIONS)]


def _valid(values: Sequence[str]) -> str:
    listed = " ".join(f'"{value}"' for value in values)
    return f"valid values: [{listed}]"


def _source_causes(rule: Tree, path: str) -> list[Cause]:
    has_codes, has_conditions = rule.get("onExitCodes") is not None, bool(rule.get("onPodConditions"))
    if has_codes != has_conditions:
        return []
    text = "specifying one of OnExitCodes and OnPodConditions is required"
    if has_codes:
        text = "specifying both OnExitCodes and OnPodConditions is not supported"
    return [Cause(path, "FieldValueInvalid", f"Invalid value: {text}")]


def _exit_causes(given: Tree, path: str, known: set[Any]) -> list[Cause]:
    found: list[Cause] = []
    operator, values = given.get("operator") or "", given.get("values") or []
    if not operator:
        found.append(required(f"{path}.operator", _valid(_OPERATORS)))
    elif operator not in _OPERATORS:
        found.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    name = given.get("containerName")
    if name is not None and name not in known:
        text = "must be one of the container or initContainer names in the pod template"
        found.append(invalid_value(f"{path}.containerName", name, text))
    where = f"{path}.values"
    if not values:
        found.append(invalid_value(where, values, "at least one value is required"))
    elif len(values) > _MAX_CODES:
        found.append(too_many(where, len(values), _MAX_CODES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            found.append(invalid_value(f"{where}[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(duplicate(f"{where}[{index}]", value))
        seen.add(value)
    if list(values) != sorted(values):
        found.append(invalid_value(where, values, "must be ordered"))
    return found


def _condition_causes(patterns: Sequence[Tree], path: str) -> list[Cause]:
    found = [too_many(path, len(patterns), _MAX_RULES)] if len(patterns) > _MAX_RULES else []
    for index, pattern in enumerate(patterns):
        where = f"{path}[{index}]"
        kind, status = pattern.get("type") or "", pattern.get("status") or ""
        found += [invalid_value(f"{where}.type", kind, text) for text in names.qualified_name(kind)]
        if not status:
            found.append(required(f"{where}.status", _valid(_STATUSES)))
        elif status not in _STATUSES:
            found.append(not_supported(f"{where}.status", status, _STATUSES))
    return found


def success_causes(spec: Tree, path: str) -> list[Cause]:
    """What is wrong with spec.successPolicy of an indexed job."""
    rules = spec["successPolicy"].get("rules") or ()
    where = f"{path}.rules"
    found: list[Cause] = []
    if not rules:
        found.append(required(where, "at least one rules must be specified when the successPolicy is specified"))
    if len(rules) > _MAX_RULES:
        found.append(too_many(where, len(rules), _MAX_RULES))
    for index, rule in enumerate(rules):
        found += _success_rule_causes(rule, f"{where}[{index}]", spec.get("completions") or 0)
    return found


def _success_rule_causes(rule: Tree, path: str, completions: int) -> list[Cause]:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        text = "at least one of succeededCount or succeededIndexes must be specified"
        return [required(path, text)]
    found = []
    total = 0
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        if len(indexes) > _MAX_INDEXES:
            found.append(too_long(where, _MAX_INDEXES))
        try:
            total = count_indexes(indexes, completions)
        except ValueError as error:
            found.append(invalid_value(where, indexes, f"error parsing succeededIndexes: {error}"))
    if count is not None:
        found += _count_causes(count, f"{path}.succeededCount", (completions, None if indexes is None else total))
    return found


def _count_causes(count: int, path: str, limits: tuple[int, int | None]) -> list[Cause]:
    completions, total = limits
    found = []
    if count < 0:
        found.append(invalid_value(path, count, "must be greater than or equal to 0"))
    if count > completions:
        text = f"must be less than or equal to {completions} (the number of specified completions)"
        found.append(invalid_value(path, count, text))
    if total is not None and count > total:
        source = "the number of indexes in the specified succeededIndexes field"
        found.append(invalid_value(path, count, f"must be less than or equal to {total} ({source})"))
    return found


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a text such as 0,2-4 names. ValueError in upstream's words."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            rule = "violates the requirement that an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{part}" {rule}')
        first = _index(ends[0], completions)
        if first <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        last = first
        if len(ends) == 2:
            last = _index(ends[1], completions)
            if last <= first:
                raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
        total += last - first + 1
    return total


def _index(text: str, completions: int) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)
