"""Names of resources in limits and quotas: which are standard, extended, whole numbers.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from typing import Any

from sampan.meta import names, quantity
from sampan.meta.status import Cause, invalid_value

HUGE_PAGES = "hugepages-"
REQUESTS, LIMITS = "requests.", "limits."
COMPUTE = ("cpu", "memory", "ephemeral-storage")
COUNTED = (
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
QUOTA = frozenset(
    (*COMPUTE, *(REQUESTS + n for n in COMPUTE), *(LIMITS + n for n in COMPUTE), "requests.storage", *COUNTED)
)
_STANDARD = QUOTA | {"storage"}
_NOT_NEGATIVE = "must be greater than or equal to 0"


def causes(name: str, path: str) -> list[Cause]:
    """What is wrong with the name of a resource."""
    found = [invalid_value(path, name, text) for text in names.qualified_name(name)]
    if not found and "/" not in name and name not in _STANDARD and not _is_huge(name):
        found.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
    return found


def container_causes(name: str, path: str) -> list[Cause]:
    """What is wrong with the name of something that a container asks for."""
    found = causes(name, path)
    if "/" not in name:
        if name not in COMPUTE and not name.startswith(HUGE_PAGES):
            found.append(invalid_value(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        found.append(invalid_value(path, name, "doesn't follow extended resource name standard"))
    return found


def quota_causes(name: str, path: str) -> list[Cause]:
    """What is wrong with the name of something that a quota limits."""
    found = causes(name, path)
    if "/" not in name and not is_standard_quota(name):
        found.append(invalid_value(path, name, "must be a standard resource for quota"))
    return found


def amount_causes(name: str, value: Any, path: str) -> list[Cause]:
    """What is wrong with an amount: no quantity, negative, or a part of something that comes in whole pieces."""
    complaint = quantity.validate(value)
    if complaint:
        return [invalid_value(path, str(value), complaint)]
    parsed = quantity.parse(value)
    found = [invalid_value(path, str(parsed), _NOT_NEGATIVE)] if parsed.nanos < 0 else []
    if (name in COUNTED or is_extended(name)) and parsed.to_milli % 1000:
        found.append(invalid_value(path, str(parsed), "must be an integer"))
    return found


def is_standard_quota(name: str) -> bool:
    """Whether a quota knows the name without a slash."""
    return name in QUOTA or _is_huge(name)


def is_native(name: str) -> bool:
    """Whether the resource is Kubernetes' own: cpu, or something under kubernetes.io."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether a node may offer it under a vendor's name: example.com/gpu."""
    if is_native(name) or name.startswith(REQUESTS):
        return False
    return not names.qualified_name(REQUESTS + name)


def may_overcommit(name: str) -> bool:
    """Whether limits may be above requests."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def _is_huge(name: str) -> bool:
    return name.removeprefix(REQUESTS).startswith(HUGE_PAGES)
