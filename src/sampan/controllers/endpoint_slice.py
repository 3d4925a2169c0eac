"""A Service's EndpointSlices: the addresses of the pods that its selector matches, with their readiness.

Named ports may mean different numbers in different pods, so each set of port numbers has its own slices,
of at most 100 endpoints.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sampan.control import backends, endpoint_slices, topology_hints, traffic_hints
from sampan.control.backends import Ports
from sampan.control.controller import Controller, Index, Watch
from sampan.control.endpoint_slices import Endpoints, Slices
from sampan.control.plan import Create, Delete, Event, Key, Plan, Update, Write, plan, warning
from sampan.control.pods import rest
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.meta import objects, selectors

LARGEST = 100
MANAGER = "endpointslice-controller.k8s.io"


@dataclass(frozen=True, slots=True)
class Backing:
    """A service with the pods behind it; those without a node are left out of `pods`, and told of in `missing`."""

    service: Object
    pods: list[Object]
    missing: list[str]


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Changes, creates and deletes slices until they say what the pods are."""
    service = view.get(SERVICE, key)
    if service is None or not backends.is_looked_after(service):
        return Plan()
    service = {"apiVersion": "v1", "kind": "Service", **service}
    labels = {SERVICE_NAME_LABEL: key[1], MANAGED_BY_LABEL: MANAGER}
    found = view.selected(ENDPOINTSLICE, key[0], selectors.from_map(labels))
    present = [s for s in found if not objects.is_deleting(s)]
    families = service["spec"].get("ipFamilies") or ["IPv4"]
    backing = _backing(view, service)
    slices = Slices(gone=[s for s in present if s.get("addressType") not in families])
    events = _missing(backing)
    for family in families:
        made, told = _family(view, backing, family, [s for s in present if s.get("addressType") == family])
        slices.add(made)
        events += told
    stamp = _trigger_time(backing, slices, [s for s in present if _is_of(s, service)])
    return replace(plan(_writes(service, slices, stamp), events=events), rest=rest(len(backing.pods)))


def _backing(view: View, service: Object) -> Backing:
    pods, missing = [], []
    for p in backends.members(view, service, with_terminating=True):
        name = p["spec"].get("nodeName") or ""
        if service["spec"].get("publishNotReadyAddresses") or view.get(NODE, ("", name)) is not None:
            pods.append(p)
        else:
            where = f"{objects.namespace(service)}/{objects.name(service)}"
            missing.append(f"skipping Pod {objects.name(p)} for Service {where}: Node {name} Not Found")
    return Backing(service, pods, missing)


def _missing(backing: Backing) -> list[Event]:
    if not backing.missing:
        return []
    text = backing.missing[0] if len(backing.missing) == 1 else f"[{', '.join(backing.missing)}]"
    return [_refused(backing.service, text)]


def _family(view: View, backing: Backing, family: str, present: Sequence[Object]) -> tuple[Slices, list[Event]]:
    """What becomes of the slices of one address family."""
    service = backing.service
    slices = Slices(gone=[s for s in present if not _is_of(s, service)])
    there = endpoint_slices.by_family_and_ports([s for s in present if _is_of(s, service)])
    for ports, endpoints in _groups(view, backing, family).items():
        slices_there = there.pop((family, tuple(sorted(ports))), [])
        slices.add(endpoint_slices.arranged(slices_there, endpoints, _blank(service, family, ports), LARGEST))
    slices.gone += [s for same in there.values() for s in same]
    if not slices.new and not slices.changed and not slices.kept:
        _keep_one(slices, _blank(service, family, ()))
    events: list[Event] = []
    if traffic_hints.is_by_topology(service):
        events = topology_hints.distribute(slices, view.list(NODE), family)
    else:
        traffic_hints.distribute(service, slices)
    return slices, events


def _keep_one(slices: Slices, blank: Object) -> None:
    """One empty slice stands for none at all."""
    fields = ("endpoints", "ports")
    for old in slices.gone:
        is_empty = all((old.get(f) or []) == blank[f] for f in fields)
        same = is_empty and objects.labels(old) == blank["metadata"]["labels"]
        if same and objects.owner_references(old) == blank["metadata"]["ownerReferences"]:
            slices.gone.remove(old)
            slices.kept.append(old)
            return
    slices.new.append(blank)


def _is_of(slice_: Object, service: Object) -> bool:
    """Whether it belongs to this very service, not to one of that name that is gone."""
    return any(r["uid"] == objects.uid(service) for r in objects.owner_references(slice_))


def _groups(view: View, backing: Backing, family: str) -> dict[Ports, Endpoints]:
    """Endpoints by the port numbers that their pods give."""
    groups: dict[Ports, Endpoints] = {}
    for p in backing.pods:
        group = groups.setdefault(backends.ports(backing.service, p), {})
        addresses = backends.addresses(p, family)
        if addresses:
            endpoint = _endpoint(view, backing.service, p, addresses)
            group.setdefault(endpoint_slices.identity(endpoint), endpoint)
    return groups


def _endpoint(view: View, service: Object, p: Object, addresses: list[str]) -> Object:
    is_serving, is_terminating = pod.is_ready(p), objects.is_deleting(p)
    is_ready = bool(service["spec"].get("publishNotReadyAddresses")) or (is_serving and not is_terminating)
    made: Object = {
        "addresses": addresses,
        "conditions": {"ready": is_ready, "serving": is_serving, "terminating": is_terminating},
        "targetRef": backends.reference(p),
    }
    if hostname := backends.hostname(service, p):
        made["hostname"] = hostname
    if node_name := p["spec"].get("nodeName"):
        made["nodeName"] = node_name
        node = view.get(NODE, ("", node_name))
        zone = objects.labels(node).get(topology_hints.ZONE) if node is not None else None
        made |= {"zone": zone} if zone else {}
    return made


def _blank(service: Object, family: str, ports: Ports) -> Object:
    labels = endpoint_slices.labels(backends.with_headless_label(service), MANAGER)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{objects.name(service)}-",
            "namespace": objects.namespace(service),
            "labels": labels,
            "ownerReferences": [objects.owner_reference(service)],
        },
        "addressType": family,
        "endpoints": [],
        "ports": endpoint_slices.port_trees(ports),
    }


def _trigger_time(backing: Backing, slices: Slices, present: Sequence[Object]) -> str:
    if not slices.new and not slices.changed:
        return ""
    shown = {objects.uid(p): pod.is_ready(p) for p in backing.pods}
    before = {
        (e.get("targetRef") or {}).get("uid", ""): bool((e.get("conditions") or {}).get("serving"))
        for s in present
        for e in s.get("endpoints") or ()
    }
    return backends.trigger_time(backing.service, backing.pods, shown, before if present else None)


def _writes(service: Object, slices: Slices, stamp: str) -> Iterable[Write]:
    slices.recycle(lambda s: _is_of(s, service))
    where = f"EndpointSlice for Service {objects.namespace(service)}/{objects.name(service)}: {{error}}"
    for new in slices.new if not objects.is_deleting(service) else ():
        yield Create(ENDPOINTSLICE, _stamped(new, stamp), refused=_refused(service, f"failed to create {where}"))
    for changed in slices.changed:
        refused = _refused(service, f"failed to update {objects.name(changed)} {where}")
        yield Update(ENDPOINTSLICE, _stamped(changed, stamp), refused=refused)
    for old in slices.gone:
        refused = _refused(service, f"failed to delete {objects.name(old)} {where}")
        yield Delete(ENDPOINTSLICE, objects.key(old), objects.uid(old), refused=refused)


def _stamped(slice_: Object, stamp: str) -> Object:
    annotations = backends.stamped(objects.annotations(slice_), stamp)
    return {**slice_, "metadata": {**slice_["metadata"], "annotations": annotations}}


def _refused(service: Object, text: str) -> Event:
    where = f"{objects.namespace(service)}/{objects.name(service)}"
    return warning("FailedToUpdateEndpointSlices", f"Error updating Endpoint Slices for Service {where}: {text}")


def _slice_keys(view: View, slice_: Object) -> Iterable[Key]:
    labels = objects.labels(slice_)
    if labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(SERVICE_NAME_LABEL):
        yield objects.namespace(slice_), labels[SERVICE_NAME_LABEL]


def _node_keys(view: View, node: Object) -> Iterable[Key]:
    """The services of its pods, and all that have hints by topology."""
    for p in view.indexed(POD, "spec.nodeName", objects.name(node)):
        yield from backends.pod_keys(view, p)
    yield from (objects.key(s) for s in view.list(SERVICE) if traffic_hints.is_by_topology(s))


def _node_matters(old: Object | None, new: Object | None) -> bool:
    """A node comes or goes, or is another for endpoints; a heartbeat is no reason to look."""
    return old is None or new is None or topology_hints.facts(old) != topology_hints.facts(new)


CONTROLLER = Controller(
    name="endpoint-slice-controller",
    parent=SERVICE,
    reconcile=reconcile,
    watches=(
        Watch(ENDPOINTSLICE, _slice_keys),
        Watch(POD, backends.pod_keys, backends.matters),
        Watch(NODE, _node_keys, _node_matters),
    ),
    indexes=(Index(POD, "spec.nodeName"),),
)
