"""What an access review must ask: for somebody, about a resource or else about a URL."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required


def question_causes(spec: Mapping[str, Any]) -> list[Cause]:
    """Exactly one of the two kinds of attributes."""
    about_resource, about_url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about_resource is not None and about_url is not None:
        text = "cannot be specified in combination with resourceAttributes"
        return [invalid_value("spec.nonResourceAttributes", about_url, text)]
    if about_resource is None and about_url is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid_value("spec.resourceAttributes", about_url, text)]
    path = "spec.resourceAttributes"
    found: list[Cause] = []
    for name in ("fieldSelector", "labelSelector"):
        selector = (about_resource or {}).get(name)
        if selector is not None:
            found += _selector_causes(selector, f"{path}.{name}")
    return found


def _selector_causes(selector: Mapping[str, Any], path: str) -> list[Cause]:
    """Either the text of a query, or requirements; not both."""
    raw, requirements = selector.get("rawSelector"), selector.get("requirements") or ()
    if raw and requirements:
        return [invalid_value(f"{path}.rawSelector", raw, "may not specified at the same time as requirements")]
    if not raw and not requirements:
        text = f"when {path} is specified, requirements or rawSelector is required"
        return [required(f"{path}.requirements", text)]
    found: list[Cause] = []
    for index, requirement in enumerate(requirements):
        found += _requirement_causes(requirement, f"{path}.requirements[{index}]")
    return found


def _requirement_causes(requirement: Mapping[str, Any], where: str) -> list[Cause]:
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    found = [] if requirement.get("key") else [required(f"{where}.key", "must be specified")]
    if operator not in _OPERATORS:
        found.append(not_supported(f"{where}.operator", operator, _OPERATORS))
    elif operator in ("In", "NotIn") and not values:
        found.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist") and values:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        found.append(forbidden_field(f"{where}.values", text))
    return found


_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def subject_causes(spec: Mapping[str, Any]) -> list[Cause]:
    """One question, about somebody."""
    found = question_causes(spec)
    if not spec.get("user") and not spec.get("groups"):
        found.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    return found


def local_causes(review: Object) -> list[Cause]:
    """A question about the review's own namespace."""
    spec = review.get("spec") or {}
    found = subject_causes(spec)
    attributes = spec.get("resourceAttributes")
    if attributes is not None and attributes.get("namespace", "") != objects.namespace(review):
        text = "must match metadata.namespace"
        found.append(invalid_value("spec.resourceAttributes.namespace", attributes.get("namespace", ""), text))
    if spec.get("nonResourceAttributes") is not None:
        text = "disallowed on this kind of request"
        found.append(invalid_value("spec.nonResourceAttributes", spec["nonResourceAttributes"], text))
    return found
