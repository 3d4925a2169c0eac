"""What one object takes from a quota: a piece of its kind, and what it requests.

The server charges it when the object is created; the controller counts it again and again.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import pod_resources, quota_devices, quota_scopes, resource_names
from sampan.meta import objects, quantity, timestamps
from sampan.meta.quantity import Quantity

Amounts = dict[str, Quantity]

ONE = quantity.of_int(1)
PODS, SERVICES, CLAIMS = "pods", "services", "persistentvolumeclaims"
CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
# Objects that nobody counts: they pass, or go by themselves.
IGNORED = frozenset(("events", "events.events.k8s.io", "bindings", "componentstatuses"))
_ALIASES = frozenset(("configmaps", "resourcequotas", "replicationcontrollers", "secrets"))
_CONSTRAINED = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


def usage(kind: Kind, obj: Object, now: float) -> Amounts:
    """What the object takes, by the names that quotas use."""
    counted = {f"count/{kind.resource}": ONE}
    if kind.resource == PODS:
        return counted | (pod_amounts(obj) if is_counted_pod(obj, now) else {})
    if kind.resource == SERVICES:
        return counted | _service(obj)
    if kind.resource == CLAIMS:
        return counted | _claim(obj)
    if kind.resource == quota_devices.RESOURCE:
        return counted | quota_devices.amounts(obj)
    return counted | ({kind.plural: ONE} if kind.resource in _ALIASES else {})


def limited(kind: Kind, hard: Iterable[str]) -> list[str]:
    """Those of a quota's names that objects of the kind take from, sorted."""
    names = {f"count/{kind.resource}"}
    is_one: Callable[[str], bool] = names.__contains__
    if kind.resource == PODS:
        is_one = lambda n: n in names or _is_of_pods(n)  # noqa: E731 (one of five rules for a name)
    elif kind.resource == SERVICES:
        is_one = lambda n: n in names or n.partition(".")[0] == SERVICES  # noqa: E731
    elif kind.resource == CLAIMS:
        is_one = lambda n: n in names or n in (CLAIMS, "requests.storage") or CLASS_SUFFIX in n  # noqa: E731
    elif kind.resource == quota_devices.RESOURCE:
        is_one = lambda n: n in names or n.endswith(quota_devices.SUFFIX)  # noqa: E731
    elif kind.resource in _ALIASES:
        names.add(kind.plural)
    return sorted(name for name in hard if is_one(name))


def is_of(kind: Kind, name: str) -> bool:
    """Whether a quota's name is about objects of the kind."""
    return bool(limited(kind, (name,)))


def selects(kind: Kind, spec: Mapping[str, Any], obj: Object) -> bool:
    """Whether a quota's scopes include the object."""
    if kind.resource == PODS:
        return quota_scopes.select_pod(spec, obj)
    if kind.resource == CLAIMS:
        return quota_scopes.select_claim(spec, obj) if quota_scopes.terms(spec) else True
    return quota_scopes.select_other(spec, obj)


def lacking(pod: Object, names: Iterable[str]) -> str:
    """What a pod's containers must say because a quota limits it: "limits.cpu for: a,b; ..."; "" for nothing."""
    spec = pod.get("spec") or {}
    if (spec.get("resources") or {}).get("requests") or (spec.get("resources") or {}).get("limits"):
        return ""
    missing: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        said = _said(container.get("resources") or {})
        for name in names:
            if name in _CONSTRAINED and name not in said:
                missing.setdefault(name, set()).add(container.get("name") or "")
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def add(one: Mapping[str, Quantity], other: Mapping[str, Quantity]) -> Amounts:
    """The sum, name by name."""
    total = dict(one)
    for name, value in other.items():
        total[name] = total[name] + value if name in total else value
    return total


def parse(amounts: Mapping[str, Any] | None) -> Amounts:
    """Amounts as an object holds them."""
    return {name: quantity.parse(value) for name, value in (amounts or {}).items()}


def show(amounts: Mapping[str, Quantity]) -> str:
    """As messages have them: cpu=1,pods=2."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))


def is_counted_pod(pod: Object, now: float) -> bool:
    """A pod that ended, or whose time to end is over, takes nothing but its place among all objects."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    metadata = objects.metadata(pod)
    going = metadata.get("deletionTimestamp")
    return not going or now <= timestamps.parse(going)


def release_seconds(pod: Object, now: float) -> float | None:
    """In how many seconds a pod that is going away takes nothing any more; None when it stays."""
    going = objects.metadata(pod).get("deletionTimestamp")
    if not going or not is_counted_pod(pod, now):
        return None
    return max(timestamps.parse(going) - now, 0.0) + 1.0


def _is_of_pods(name: str) -> bool:
    plain = name.removeprefix(resource_names.REQUESTS).removeprefix(resource_names.LIMITS)
    if name == PODS or plain in resource_names.COMPUTE or plain.startswith(resource_names.HUGE_PAGES):
        return True
    return name.startswith(resource_names.REQUESTS) and resource_names.is_extended(plain)


def pod_amounts(pod: Object) -> Amounts:
    """What a running pod takes: itself, its requests and its limits."""
    spec = pod.get("spec") or {}
    found: Amounts = {PODS: ONE}
    for name, value in pod_resources.requests(spec).items():
        if name in resource_names.COMPUTE or name.startswith(resource_names.HUGE_PAGES):
            found[name] = found[resource_names.REQUESTS + name] = value
        elif resource_names.is_extended(name):
            found[resource_names.REQUESTS + name] = value
    limits = pod_resources.requests(_limits_as_requests(spec))
    return found | {resource_names.LIMITS + n: v for n, v in limits.items() if n in resource_names.COMPUTE}


def _limits_as_requests(spec: Mapping[str, Any]) -> Object:
    """The pod spec with limits in the place of requests, so that one sum serves both."""

    def turned(holder: Mapping[str, Any]) -> Object:
        limits = (holder.get("resources") or {}).get("limits") or {}
        return {**holder, "resources": {"requests": limits}}

    made = turned(spec)
    for name in ("containers", "initContainers"):
        made[name] = [turned(c) for c in spec.get(name) or ()]
    named = {n for c in (*made["containers"], *made["initContainers"], made) for n in c["resources"]["requests"]}
    made["overhead"] = {n: v for n, v in (spec.get("overhead") or {}).items() if n in named}
    return made


def _said(resources: Mapping[str, Any]) -> set[str]:
    asked, limits = resources.get("requests") or {}, resources.get("limits") or {}
    return {*asked, *(resource_names.REQUESTS + n for n in asked), *(resource_names.LIMITS + n for n in limits)}


def _service(service: Object) -> Amounts:
    spec = service.get("spec") or {}
    ports = spec.get("ports") or ()
    node_ports = len(ports)
    found = {SERVICES: ONE, "services.nodeports": quantity.ZERO, "services.loadbalancers": quantity.ZERO}
    if spec.get("type") == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is False:
            node_ports = sum(1 for port in ports if port.get("nodePort"))
        found["services.loadbalancers"] = ONE
        found["services.nodeports"] = quantity.of_int(node_ports)
    elif spec.get("type") == "NodePort":
        found["services.nodeports"] = quantity.of_int(node_ports)
    return found


def _claim(claim: Object) -> Amounts:
    spec = claim.get("spec") or {}
    found: Amounts = {CLAIMS: ONE}
    storage = _storage(claim)
    if storage is not None:
        found["requests.storage"] = storage
    class_name = objects.annotations(claim).get(CLASS_ANNOTATION) or spec.get("storageClassName")
    if class_name:
        found[f"{class_name}{CLASS_SUFFIX}{CLAIMS}"] = ONE
        if storage is not None:
            found[f"{class_name}{CLASS_SUFFIX}requests.storage"] = storage
    return found


def _storage(claim: Object) -> Quantity | None:
    """What is asked for, or more where the volume has grown further already; whole bytes."""
    asked = (objects.get_path(claim, "spec.resources.requests") or {}).get("storage")
    if asked is None:
        return None
    given = (objects.get_path(claim, "status.allocatedResources") or {}).get("storage")
    most = max((quantity.parse(amount) for amount in (asked, given) if amount is not None), key=lambda q: q.nanos)
    return Quantity(most.to_int * 10**9, most.style)
