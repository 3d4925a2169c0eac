"""What an access review must ask: for somebody, about a resource or else about a URL."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value


def question_causes(spec: Mapping[str, Any]) -> list[Cause]:
    """Exactly one of the two kinds of attributes."""
    about_resource, about_url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about_resource is not None and about_url is not None:
        text = "cannot be specified in combination with resourceAttributes"
        return [invalid_value("spec.nonResourceAttributes", about_url, text)]
    if about_resource is None and about_url is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid_value("spec.resourceAttributes", about_url, text)]
    return []


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
