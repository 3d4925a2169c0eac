"""Requests and limits of a container: as the downward API prints them, and as cgroup numbers."""

import base64
from collections.abc import Mapping
from typing import Any

from sampan.meta import quantity
from sampan.node.runtime.protocol import Resources

Object = dict[str, Any]

CPU_PERIOD = 100_000
MIN_SHARES = 2
MIN_QUOTA = 1000


def decode_secret(secret: Object) -> dict[str, str]:
    """A Secret's data as text; bytes that are no UTF-8 are kept by surrogates."""
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode("utf-8", "surrogateescape") for key, value in data.items()}


def field(container: Object, resource: str, divisor: Any, allocatable: Mapping[str, str]) -> str:
    """limits.cpu and so on, in units of the divisor, rounded up. A limit that isn't set is the node's allocatable."""
    section, _, name = resource.partition(".")
    asked = (container.get("resources") or {}).get(section) or {}
    value = asked.get(name)
    if value is None:
        value = allocatable.get(name, "0") if section == "limits" else "0"
    unit = quantity.parse(divisor or "1")
    nanos = unit.nanos or quantity.parse("1").nanos
    return str(-(-quantity.parse(value).nanos // nanos))


def cgroup(container: Object) -> Resources:
    """The container's cgroup numbers."""
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu_request = quantity.to_milli(requests.get("cpu", limits.get("cpu", "0")))
    cpu_limit = quantity.to_milli(limits.get("cpu", "0"))
    return Resources(
        cpu_shares=max(MIN_SHARES, cpu_request * 1024 // 1000),
        cpu_quota=max(MIN_QUOTA, cpu_limit * CPU_PERIOD // 1000) if cpu_limit else 0,
        cpu_period=CPU_PERIOD,
        memory_limit=quantity.to_int(limits.get("memory", "0")),
    )


def oom_score_adj(container: Object, qos: str, capacity_bytes: int) -> int:
    """How readily the kernel kills it when memory is short: guaranteed pods last, best-effort pods first."""
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort":
        return 1000
    requests = (container.get("resources") or {}).get("requests") or {}
    requested = quantity.to_int(requests.get("memory", "0"))
    return min(max(3, 1000 - 1000 * requested // max(capacity_bytes, 1)), 999)
