"""An Ingress' status is where it is reached; what of it is not served is told by an event.

All Ingresses of our class share one Service, which is there as long as there is any.

https://kubernetes.io/docs/concepts/services-networking/ingress/
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Event, Key, Plan, Update, Write, plan, warning
from sampan.control.view import View
from sampan.gateway import ingress_rules, kinds, proxy
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Object
from sampan.kinds.networking.ingress import INGRESS
from sampan.kinds.networking.ingress_class import INGRESSCLASS
from sampan.meta import objects


def reconcile(view: View, key: Key, now: float) -> Plan:
    """The Service before all of them, then this one's status."""
    alive = [ingress for ingress in ingress_rules.ours(view) if not objects.is_deleting(ingress)]
    writes = _service(view, alive)
    ingress = next((each for each in alive if objects.key(each) == key), None)
    if ingress is None:
        return plan(writes)
    is_reached = proxy.is_serving(view) and proxy.reached(view.get(SERVICE, proxy.INGRESS_KEY))
    balancer = {"ingress": _reached(view, ingress)} if is_reached else {}
    wanted = {"loadBalancer": balancer}
    changes = (Update(INGRESS, {**ingress, "status": wanted}, "status"),) if ingress.get("status") != wanted else ()
    said = [f"{complaint.reason} {complaint.message}" for complaint in ingress_rules.complaints(view, ingress)]
    events = _events(view, ingress) if said != view.memory.get("said", []) else ()
    made = plan(writes, changes, events=events)
    return Plan(made.stages, made.events, memory={"said": said})


def _events(view: View, ingress: Object) -> Iterable[Event]:
    return [warning(complaint.reason, complaint.message) for complaint in ingress_rules.complaints(view, ingress)]


def _service(view: View, alive: list[Object]) -> Iterable[Write]:
    if not alive:
        return proxy.removal(view, proxy.INGRESS_KEY)
    has_tls = any(ingress["spec"].get("tls") for ingress in alive)
    ports = {port: own for port, own in proxy.INGRESS_PORTS.items() if port == 80 or has_tls}
    return proxy.writes(view, proxy.service(proxy.INGRESS_KEY, ports, {}, type="LoadBalancer"), proxy.address(view))


def _reached(view: View, ingress: Object) -> list[Object]:
    ports = [80, *([443] if ingress["spec"].get("tls") else [])]
    named = [{"port": port, "protocol": "TCP"} for port in ports]
    found = proxy.reached(view.get(SERVICE, proxy.INGRESS_KEY))
    return [{**{k: e[k] for k in ("ip", "hostname") if e.get(k)}, "ports": named} for e in found]


def _every(view: View, changed: Object) -> Iterable[Key]:
    for ingress in view.list(INGRESS):
        yield objects.key(ingress)


def _is_ours(old: Object | None, new: Object | None) -> bool:
    return any(o is not None and objects.key(o) == proxy.INGRESS_KEY for o in (old, new))


def _of_class(old: Object | None, new: Object | None) -> bool:
    return any(o is not None and objects.name(o) == kinds.CLASS for o in (old, new))


def _of_secret(view: View, secret: Object) -> Iterable[Key]:
    for ingress in view.list(INGRESS, objects.namespace(secret)):
        if any(entry.get("secretName") == objects.name(secret) for entry in ingress["spec"].get("tls") or ()):
            yield objects.key(ingress)


def _of_service(view: View, service: Object) -> Iterable[Key]:
    """All, where it is the one before them; else those that may send to it."""
    is_before = objects.key(service) == proxy.INGRESS_KEY
    for ingress in view.list(INGRESS, "" if is_before else objects.namespace(service)):
        yield objects.key(ingress)


def _says_else(old: Object | None, new: Object | None) -> bool:
    return _is_ours(old, new) or old is None or new is None or old.get("spec") != new.get("spec")


CONTROLLER = Controller(
    "ingress",
    INGRESS,
    reconcile,
    watches=(
        Watch(INGRESSCLASS, _every),
        Watch(kinds.GATEWAYCLASS, _every, _of_class),
        Watch(SERVICE, _of_service, _says_else),
        Watch(ENDPOINTSLICE, _every, _is_ours),
        Watch(SECRET, _of_secret),
    ),
    workers=1,
    component="ingress-controller",
)
