"""Which NodeSelectors are refused: in a pod's affinity, on a volume, on a slice of devices."""

from collections.abc import Mapping
from typing import Any

from sampan.meta import names
from sampan.meta.status import Cause, forbidden_field, invalid_value, required

_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")


def causes(selector: Mapping[str, Any], path: str) -> list[Cause]:
    """At least one term, and what is wrong with each."""
    terms = selector.get("nodeSelectorTerms") or ()
    where = f"{path}.nodeSelectorTerms"
    if not terms:
        return [required(where, "must have at least one node selector term")]
    return [c for index, term in enumerate(terms) for c in term_causes(term, f"{where}[{index}]", values=True)]


def term_causes(term: Mapping[str, Any], path: str, *, values: bool = False) -> list[Cause]:
    """Expressions over labels and fields. With `values`, these must be label values too."""
    found: list[Cause] = []
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        found += _label_causes(expression, f"{path}.matchExpressions[{index}]", values=values)
    for index, expression in enumerate(term.get("matchFields") or ()):
        found += _field_causes(expression, f"{path}.matchFields[{index}]")
    return found


def _label_causes(expression: Mapping[str, Any], path: str, *, values: bool) -> list[Cause]:
    found: list[Cause] = []
    operator, given = expression.get("operator") or "", expression.get("values") or ()
    if operator in {"In", "NotIn"} and not given:
        found.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"} and given:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        found.append(forbidden_field(f"{path}.values", text))
    elif operator in {"Gt", "Lt"} and len(given) != 1:
        found.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    elif operator not in _OPERATORS:
        found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    found += [invalid_value(f"{path}.key", key, text) for text in names.qualified_name(key)]
    for index, value in enumerate(given if values else ()):
        found += [invalid_value(f"{path}.values[{index}]", value, text) for text in names.label_value(value)]
    return found


def _field_causes(expression: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    operator, values = expression.get("operator") or "", expression.get("values") or ()
    if operator not in {"In", "NotIn"}:
        found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        found.append(required(f"{path}.values", text))
    key = expression.get("key") or ""
    if key != "metadata.name":
        return [*found, invalid_value(f"{path}.key", key, "not a valid field selector key")]
    for index, value in enumerate(values):
        found += [invalid_value(f"{path}.values[{index}]", value, text) for text in names.dns1123_subdomain(value)]
    return found
