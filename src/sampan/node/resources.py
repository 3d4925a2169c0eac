"""Requests and limits of a container: as the downward API prints them, and as cgroup numbers."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sampan.kinds.parts import pod_resources
from sampan.kinds.parts.resource_names import HUGE_PAGES
from sampan.meta import quantity
from sampan.node.runtime.protocol import Resources

Object = dict[str, Any]

CPU_PERIOD = 100_000
MIN_SHARES = 2
MIN_QUOTA = 1000
_UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


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


def cgroup(container: Object, spec: Object) -> Resources:
    """The container's cgroup numbers; what it has no limit of is limited as its whole pod is."""
    resources = container.get("resources") or {}
    requests = resources.get("requests") or {}
    limits = {**((spec.get("resources") or {}).get("limits") or {}), **(resources.get("limits") or {})}
    return replace(_numbers(requests, limits), huge_pages=tuple(_huge_pages(limits)))


def _huge_pages(limits: Object) -> Iterator[tuple[str, int]]:
    """Bytes by the size of the pages, as a runtime names it: 2MB."""
    for name in sorted(limits):
        if name.startswith(HUGE_PAGES):
            size = quantity.to_int(name.removeprefix(HUGE_PAGES))
            unit = next((u for u in _UNITS if size >= u[0]), (1, "B"))
            yield f"{size // unit[0]}{unit[1]}", quantity.to_int(limits[name])


def pod_cgroup(spec: Object, pids_limit: int = 0) -> Resources:
    """The numbers of the pod's own cgroup; a limit that is neither the pod's nor every container's is none."""
    holders = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    whole, limits = (spec.get("resources") or {}).get("limits") or {}, pod_resources.limits(spec)
    limited: Object = {
        name: str(limits[name])
        for name in ("cpu", "memory")
        if name in limits and (name in whole or all(_has(holder, name) for holder in holders))
    }
    requests = {name: str(amount) for name, amount in pod_resources.requests(spec).items()}
    return replace(_numbers({"cpu": "0", **requests}, limited), pids_limit=max(pids_limit, 0))


def _has(container: Object, name: str) -> bool:
    limit = ((container.get("resources") or {}).get("limits") or {}).get(name)
    return limit is not None and bool(quantity.parse(limit))


def _numbers(requests: Object, limits: Object) -> Resources:
    cpu_request = quantity.to_milli(requests.get("cpu", limits.get("cpu", "0")))
    cpu_limit = quantity.to_milli(limits.get("cpu", "0"))
    return Resources(
        cpu_shares=max(MIN_SHARES, cpu_request * 1024 // 1000),
        cpu_quota=max(MIN_QUOTA, cpu_limit * CPU_PERIOD // 1000) if cpu_limit else 0,
        cpu_period=CPU_PERIOD,
        memory_limit=quantity.to_int(limits.get("memory", "0")),
    )


def oom_score_adj(container: Object, pod: Object, capacity_bytes: int) -> int:
    """How readily the kernel kills it when memory is short: guaranteed pods last, best-effort pods first.

    Memory that the pod as a whole asks for beyond its containers' requests counts for each of them in equal parts.
    """
    qos = (pod.get("status") or {}).get("qosClass") or "BestEffort"
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort":
        return 1000
    requested = _memory_request(container) + _spare_memory(pod["spec"])
    return min(max(3, 1000 - 1000 * requested // max(capacity_bytes, 1)), 999)


def _memory_request(holder: Object) -> int:
    requests = (holder.get("resources") or {}).get("requests") or {}
    return quantity.to_int(requests.get("memory", "0"))


def _spare_memory(spec: Object) -> int:
    """Each container's part of what only the pod as a whole asks for."""
    whole = _memory_request(spec)
    if not whole:
        return 0
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    asked = pod_resources.requests({**spec, "resources": {}, "overhead": {}}).get("memory")
    spare = whole - (quantity.to_int(str(asked)) if asked is not None else 0)
    return max(spare, 0) // (len(spec["containers"]) + len(sidecars))
