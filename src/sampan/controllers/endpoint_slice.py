"""A Service's EndpointSlices: the addresses of the pods that its selector matches, with their readiness.

Named ports may mean different numbers in different pods, so each set of port numbers has its own slices,
of at most 100 endpoints. Slices are changed as little as possible, since every node reads them.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

import ipaddress
from collections.abc import Iterable, Sequence

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Create, Delete, Key, Plan, Update, Write, plan, warning
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, selectors

LARGEST = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ZONE = "topology.kubernetes.io/zone"

Ports = tuple[tuple[str, int, str, str], ...]


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Changes, creates and deletes slices until they say what the pods are."""
    service = view.get(SERVICE, key)
    if service is None or objects.is_deleting(service):
        return Plan()
    spec = service["spec"]
    if not spec.get("selector") or spec.get("type") == "ExternalName":
        return Plan()
    pods = [p for p in view.selected(POD, key[0], selectors.from_map(spec["selector"])) if not pod.is_terminal(p)]
    own = view.selected(ENDPOINTSLICE, key[0], selectors.from_map({SERVICE_NAME: key[1], MANAGED_BY: MANAGER}))
    own = [s for s in own if not objects.is_deleting(s)]
    writes: list[Write] = []
    for family in spec.get("ipFamilies") or ["IPv4"]:
        present = [s for s in own if s.get("addressType") == family]
        writes += _family(service, family, present, _groups(view, service, pods, family), _trigger_time(service, pods))
    return plan(writes)


def _family(
    service: Object, family: str, present: Sequence[Object], groups: dict[Ports, list[Object]], stamp: str
) -> list[Write]:
    """The writes for one address family."""
    writes: list[Write] = []
    left = list(present)
    for ports, endpoints in groups.items():
        same = [s for s in left if _ports_of(s) == ports]
        left = [s for s in left if s not in same]
        for old, content in _packed(same, endpoints):
            writes += _write(service, old, _slice(service, family, ports, content, stamp))
    return writes + [Delete(ENDPOINTSLICE, objects.key(s), objects.uid(s)) for s in left]


def _groups(view: View, service: Object, pods: Sequence[Object], family: str) -> dict[Ports, list[Object]]:
    """Endpoints by the port numbers that their pods give; one empty slice stands for none at all."""
    groups: dict[Ports, list[Object]] = {}
    for p in pods:
        address = _address(p, family)
        if address:
            groups.setdefault(_ports(service, p), []).append(_endpoint(view, service, p, address))
    return groups or {(): []}


def _packed(present: Sequence[Object], endpoints: Sequence[Object]) -> list[tuple[Object | None, list[Object]]]:
    """Slices and their new contents: endpoints stay where they are, new ones fill up, the rest gets new slices."""
    wanted = {_identity(e): e for e in endpoints}
    packed: list[tuple[Object | None, list[Object]]] = []
    for old in present:
        stay = [wanted.pop(_identity(e)) for e in old.get("endpoints") or () if _identity(e) in wanted]
        packed.append((old, stay[:LARGEST]))
        wanted.update({_identity(e): e for e in stay[LARGEST:]})
    new = list(wanted.values())
    for _, content in packed:
        taken, new = new[: LARGEST - len(content)], new[LARGEST - len(content) :]
        content.extend(taken)
    packed += [(None, new[start : start + LARGEST]) for start in range(0, len(new), LARGEST)]
    filled = [entry for entry in packed if entry[1]]
    if not filled:
        return [(present[0] if present else None, []), *((old, []) for old in present[1:])]
    return filled + [(old, []) for old, content in packed if not content and old is not None]


def _write(service: Object, old: Object | None, new: Object) -> Iterable[Write]:
    if old is None:
        failed = warning("FailedToCreateEndpointSlice", _failure("create", service))
        yield Create(ENDPOINTSLICE, new, refused=failed)
        return
    metadata = {**old["metadata"], "labels": new["metadata"]["labels"]}
    fields = ("endpoints", "ports")
    if metadata == old["metadata"] and all((old.get(f) or []) == new[f] for f in fields):
        return
    annotations = {**objects.annotations(old), **new["metadata"]["annotations"]}
    changed = {**old, **{f: new[f] for f in fields}, "metadata": {**metadata, "annotations": annotations}}
    yield Update(ENDPOINTSLICE, changed, refused=warning("FailedToUpdateEndpointSlices", _failure("update", service)))


def _failure(verb: str, service: Object) -> str:
    where = f"{objects.namespace(service)}/{objects.name(service)}"
    return f"Error updating Endpoint Slices for Service {where}: failed to {verb} EndpointSlice: {{error}}"


def _slice(service: Object, family: str, ports: Ports, endpoints: Sequence[Object], stamp: str) -> Object:
    name, namespace = objects.name(service), objects.namespace(service)
    labels = {**objects.labels(service), SERVICE_NAME: name, MANAGED_BY: MANAGER}
    labels.pop(HEADLESS, None)
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    owner = {"apiVersion": "v1", "kind": "Service", "metadata": service["metadata"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{name}-",
            "namespace": namespace,
            "labels": labels,
            "annotations": {TRIGGER_TIME: stamp} if stamp else {},
            "ownerReferences": [objects.owner_reference(owner)],
        },
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [_port(*port) for port in ports],
    }


def _port(name: str, number: int, protocol: str, app_protocol: str) -> Object:
    made: Object = {"name": name, "port": number, "protocol": protocol}
    return {**made, "appProtocol": app_protocol} if app_protocol else made


def _ports_of(slice_: Object) -> Ports:
    return tuple(
        (p.get("name", ""), p.get("port", 0), p.get("protocol", "TCP"), p.get("appProtocol", ""))
        for p in slice_.get("ports") or ()
    )


def _ports(service: Object, p: Object) -> Ports:
    """The service's ports as numbers of this pod; a name that the pod lacks is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        number = _target(port.get("targetPort") or port["port"], protocol, p)
        if number:
            found.append((port.get("name", ""), number, protocol, port.get("appProtocol", "")))
    return tuple(found)


def _target(target: int | str, protocol: str, p: Object) -> int:
    if isinstance(target, int):
        return target
    sidecars = [c for c in p["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*p["spec"].get("containers", ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return 0


def _endpoint(view: View, service: Object, p: Object, address: str) -> Object:
    is_serving, is_terminating = pod.is_ready(p), objects.is_deleting(p)
    is_ready = bool(service["spec"].get("publishNotReadyAddresses")) or (is_serving and not is_terminating)
    reference = {"kind": "Pod", "namespace": objects.namespace(p), "name": objects.name(p), "uid": objects.uid(p)}
    made: Object = {
        "addresses": [address],
        "conditions": {"ready": is_ready, "serving": is_serving, "terminating": is_terminating},
        "targetRef": reference,
    }
    if p["spec"].get("hostname") and p["spec"].get("subdomain") == objects.name(service):
        made["hostname"] = p["spec"]["hostname"]
    node_name = p["spec"].get("nodeName")
    if node_name:
        made["nodeName"] = node_name
        node = view.get(NODE, ("", node_name))
        zone = objects.labels(node).get(ZONE) if node is not None else None
        made |= {"zone": zone} if zone else {}
    return made


def _identity(endpoint: Object) -> str:
    reference = endpoint.get("targetRef") or {}
    return f"{reference.get('uid')} {','.join(endpoint.get('addresses') or ())}"


def _address(p: Object, family: str) -> str:
    status = p.get("status") or {}
    listed = [a.get("ip", "") for a in status.get("podIPs") or ()] or [status.get("podIP", "")]
    version = 6 if family == "IPv6" else 4
    return next((ip for ip in listed if ip and ipaddress.ip_address(ip).version == version), "")


def _trigger_time(service: Object, pods: Sequence[Object]) -> str:
    """The latest change that these slices answer to."""
    ready = [(conditions.get(p, "Ready") or {}).get("lastTransitionTime") or "" for p in pods]
    return max([service["metadata"].get("creationTimestamp") or "", *ready])


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    labels = objects.labels(p)
    for service in view.list(SERVICE, objects.namespace(p)):
        selector = service["spec"].get("selector")
        if selector and selector.items() <= labels.items():
            yield objects.key(service)


CONTROLLER = Controller(
    name="endpoint-slice-controller",
    parent=SERVICE,
    reconcile=reconcile,
    owns=(ENDPOINTSLICE,),
    watches=(Watch(POD, _pod_keys),),
    reads=(NODE,),
)
