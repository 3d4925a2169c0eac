"""Backends: which pods stand behind a Service, under which addresses and ports, and since when.

https://kubernetes.io/docs/concepts/services-networking/service/
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from sampan.control.plan import Key
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kit.texts import Texts
from sampan.meta import conditions, objects, selectors

HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LEADER = "control-plane.alpha.kubernetes.io/leader"

Ports = tuple[tuple[str, int, str, str], ...]
"""(name, number, protocol, application protocol or "")."""
Shown = Mapping[str, bool]
"""A pod's uid -> whether it is shown as ready."""


def is_looked_after(service: Object) -> bool:
    """Whether its endpoints are found by its selector; others' are made by somebody else."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def members(view: View, service: Object, *, with_terminating: bool) -> list[Object]:
    """Pods that the selector matches, have not ended and have an address."""
    found = view.selected(POD, objects.namespace(service), selectors.from_map(service["spec"]["selector"]))
    return [p for p in found if _has_address(p) and (pod.is_active(p) or (with_terminating and not pod.is_terminal(p)))]


def _has_address(p: Object) -> bool:
    status = p.get("status") or {}
    return bool(status.get("podIP") or status.get("podIPs"))


def addresses(p: Object, family: str) -> list[str]:
    """Those of one address family, in canonical form."""
    status = p.get("status") or {}
    listed = [a.get("ip", "") for a in status.get("podIPs") or ()] or [status.get("podIP", "")]
    version = 6 if family == "IPv6" else 4
    return [ip for found, ip in map(_PARSED.__getitem__, filter(None, listed)) if found == version]


def _parsed(text: str) -> tuple[int, str]:
    """(version, canonical form): each address is looked at again whenever a pod of its service changes."""
    ip = ipaddress.ip_address(text)
    canonical = str(ip)
    return ip.version, text if text == canonical else canonical


_PARSED = Texts(_parsed, 8192)


def ports(service: Object, p: Object) -> Ports:
    """The service's ports as numbers of this pod; a name that the pod lacks is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        number = _number(port.get("targetPort") or port["port"], protocol, p)
        if number:
            found.append((port.get("name", ""), number, protocol, port.get("appProtocol", "")))
    return tuple(found)


def _number(target: int | str, protocol: str, p: Object) -> int:
    if isinstance(target, int):
        return target
    sidecars = [c for c in p["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*p["spec"].get("containers", ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return 0


def with_headless_label(service: Object) -> Object:
    """The service with the label that its endpoints have if it has no address of its own, and else have not."""
    labels = {name: value for name, value in objects.labels(service).items() if name != HEADLESS}
    if service["spec"].get("clusterIP", "") in ("None", ""):
        labels[HEADLESS] = ""
    return {**service, "metadata": {**service["metadata"], "labels": labels}}


def hostname(service: Object, p: Object) -> str:
    """The name under which DNS knows the pod in this service, "" for none."""
    spec = p["spec"]
    return str(spec.get("hostname") or "") if spec.get("subdomain") == objects.name(service) else ""


def reference(p: Object) -> Object:
    """What an endpoint says of its pod."""
    return {"kind": "Pod", "namespace": objects.namespace(p), "name": objects.name(p), "uid": objects.uid(p)}


def trigger_time(service: Object, pods: Sequence[Object], shown: Shown, before: Shown | None) -> str:
    """Since when what is written now was due: the first change of a pod that is shown in another way than before.

    At first the service's own making; "" where no pod has changed.
    """
    if before is None:
        return service["metadata"].get("creationTimestamp") or ""
    changed = [p for p in pods if objects.uid(p) in shown and shown[objects.uid(p)] != before.get(objects.uid(p))]
    stamps = [(conditions.get(p, "Ready") or {}).get("lastTransitionTime") for p in changed]
    return min((stamp for stamp in stamps if stamp), default="")


def stamped(annotations: Mapping[str, str], stamp: str) -> dict[str, str]:
    """Annotations with the time of the change, or without an old one."""
    kept = {name: value for name, value in annotations.items() if name != TRIGGER_TIME}
    return {**kept, TRIGGER_TIME: stamp} if stamp else kept


def pod_keys(view: View, p: Object) -> Iterable[Key]:
    """A pod -> the services whose selector matches it."""
    services = view.list(SERVICE, objects.namespace(p))
    labels = objects.labels(p) if services else {}
    for service in services:
        selector = service["spec"].get("selector")
        if selector and selector.items() <= labels.items():
            yield objects.key(service)


def matters(old: Object | None, new: Object | None) -> bool:
    """Whether a pod's change is one for its services."""
    return old is None or new is None or _facts(old) != _facts(new)


def _facts(p: Object) -> tuple[object, ...]:
    status, spec = p.get("status") or {}, p["spec"]
    addresses = (status.get("podIP"), status.get("podIPs"))
    named = (spec.get("nodeName"), spec.get("hostname"), spec.get("subdomain"))
    is_as = (pod.is_ready(p), pod.is_terminal(p), objects.is_deleting(p))
    return objects.uid(p), objects.labels(p), addresses, named, is_as
