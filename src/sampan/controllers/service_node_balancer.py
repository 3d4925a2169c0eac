"""A Service of type LoadBalancer is reached under the addresses of the nodes: for clusters without a pool of addresses.

Each port belongs to one Service then: the first one, with the others waiting until it is free. Nodes that are not
ready, or have the label that excludes them, are not named.

https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers
"""

from collections.abc import Iterable

from sampan.control import load_balancing
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Key, Plan, plan, warning
from sampan.control.view import View
from sampan.kinds.core.node import NODE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.parts import ip_rules
from sampan.meta import conditions, objects

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
NO_NODES = warning("UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
DNS_PORT = 53

Port = tuple[str, int]


def controller(ports: Iterable[int]) -> Controller:
    """The one that names nodes; these of their ports are the cluster's own."""
    own = frozenset((*ports, DNS_PORT))

    def reconcile(view: View, key: Key, now: float) -> Plan:
        service = view.get(SERVICE, key)
        if service is None or not load_balancing.is_wanted(service) or load_balancing.held(view, key):
            return load_balancing.release(view, key)
        return _balanced(view, service, own)

    return Controller(
        name=load_balancing.NAME,
        parent=SERVICE,
        reconcile=reconcile,
        watches=(
            Watch(IPADDRESS, lambda view, address: load_balancing.owners(address)),
            Watch(NODE, _balancers, _node_matters),
            Watch(SERVICE, _balancers, _service_matters),
        ),
        indexes=(Index(IPADDRESS, load_balancing.PARENT_PATH), Index(SERVICE, "spec.type")),
        component=load_balancing.COMPONENT,
        matters=load_balancing.matters,
        workers=1,
    )


def _balanced(view: View, service: Object, own: frozenset[int]) -> Plan:
    clash = _clash(view, service, own | {port for node in view.list(NODE) if (port := _agent_port(node))})
    if clash:
        refusal = (load_balancing.ENSURING, load_balancing.failed(clash))
        return plan(load_balancing.shown(service, (), None), events=refusal)
    addresses = _addresses(view, load_balancing.families(service))
    if not addresses:
        return plan(load_balancing.shown(service, (), None), events=[NO_NODES])
    return plan(load_balancing.shown(service, addresses, load_balancing.ENSURED))


def _clash(view: View, service: Object, own: frozenset[int]) -> str:
    """Why the nodes' ports are not free for it, "" when they are."""
    key = objects.key(service)
    for protocol, number in _ports(service):
        if number in own:
            return f"port {number}/{protocol} of the nodes is used by the cluster itself"
    taken = _taken(view, own)
    for port in _ports(service):
        holder = taken.get(port, key)
        if holder != key:
            return f"port {port[1]}/{port[0]} of the nodes is already used by service {'/'.join(holder)}"
    return ""


def _taken(view: View, own: frozenset[int]) -> dict[Port, Key]:
    """Whose each port is: node ports first, then in the order in which Services came to be served or made."""
    taken: dict[Port, Key] = {}
    for kind in ("NodePort", "LoadBalancer"):
        for service in view.indexed(SERVICE, "spec.type", kind):
            for port in service["spec"].get("ports") or ():
                if port.get("nodePort"):
                    taken[port.get("protocol") or "TCP", port["nodePort"]] = objects.key(service)
    balancers = [s for s in view.indexed(SERVICE, "spec.type", "LoadBalancer") if load_balancing.is_wanted(s)]
    for service in sorted(balancers, key=_rank):
        ports, key = _ports(service), objects.key(service)
        if all(taken.get(port, key) == key and port[1] not in own for port in ports):
            taken.update(dict.fromkeys(ports, key))
    return taken


def _rank(service: Object) -> tuple[bool, str, Key]:
    made = objects.metadata(service).get("creationTimestamp") or ""
    return not load_balancing.ingress(service), made, objects.key(service)


def _ports(service: Object) -> list[Port]:
    return [(port.get("protocol") or "TCP", port["port"]) for port in service["spec"].get("ports") or ()]


def _addresses(view: View, families: list[str]) -> list[str]:
    """Those of the nodes that may be named, in the order of families and of names."""
    nodes = [node for node in view.list(NODE) if _is_named(node)]
    return [address for family in families for node in nodes if (address := _address(node, family))]


def _is_named(node: Object) -> bool:
    labels = objects.labels(node)
    return conditions.is_true(node, "Ready") and EXCLUDED not in labels and not objects.is_deleting(node)


def _address(node: Object, family: str) -> str:
    """The external one, else the internal one."""
    listed = (node.get("status") or {}).get("addresses") or ()
    for kind in ("ExternalIP", "InternalIP"):
        for entry in listed:
            address = ip_rules.parse(entry.get("address") or "") if entry.get("type") == kind else None
            if address is not None and ip_rules.family_of(address) == family:
                return str(address)
    return ""


def _agent_port(node: Object) -> int:
    return int(objects.get_path(node, "status.daemonEndpoints.kubeletEndpoint.Port") or 0)


def _balancers(view: View, changed: Object) -> Iterable[Key]:
    return [objects.key(s) for s in view.indexed(SERVICE, "spec.type", "LoadBalancer") if load_balancing.is_balancer(s)]


def _node_matters(old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or _seen(old) != _seen(new)


def _seen(node: Object) -> object:
    return _is_named(node), (node.get("status") or {}).get("addresses"), _agent_port(node)


def _service_matters(old: Object | None, new: Object | None) -> bool:
    """Whether a port of the nodes may have become free, or was taken."""
    return _used(old) != _used(new)


def _used(service: Object | None) -> object:
    if service is None or service["spec"].get("type") not in ("NodePort", "LoadBalancer"):
        return None
    ports = [(p.get("protocol"), p["port"], p.get("nodePort")) for p in service["spec"].get("ports") or ()]
    return ports, load_balancing.is_wanted(service), bool(load_balancing.ingress(service))
