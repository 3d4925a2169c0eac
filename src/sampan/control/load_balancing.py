"""Load balancing: which Services of type LoadBalancer are this cluster's, and how one is shown, held and let go.

A Service that names another load balancer class is somebody else's. Addresses of the pool are held by IPAddress
objects, which nobody can make twice; the finalizer keeps a deleted Service until its addresses are free again.

https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.control.plan import NOTHING, Ask, Delete, Event, Key, Patch, Plan, Update, normal, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kinds.networking import ip_address
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.parts import service_shape
from sampan.meta import objects

CLASS = "sampan.dev/load-balancer"
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
MANAGER = "load-balancer.sampan.dev"
NAME, COMPONENT = "service-lb-controller", "service-controller"
PARENT_PATH = "spec.parentRef.name"

ENSURING = normal("EnsuringLoadBalancer", "Ensuring load balancer")
ENSURED = normal("EnsuredLoadBalancer", "Ensured load balancer")
DELETING = normal("DeletingLoadBalancer", "Deleting load balancer")
DELETED = normal("DeletedLoadBalancer", "Deleted load balancer")


@dataclass(frozen=True, slots=True)
class Terms:
    """Whence addresses come: the CIDRs of `pools`, or the nodes, whose `ports` are not all free.

    Without pools and nodes nobody gets one here, and what was given is taken back.
    """

    pools: tuple[str, ...] = ("10.32.0.0/24",)
    nodes: bool = False
    ports: frozenset[int] = frozenset()


def is_balancer(service: Object) -> bool:
    """Whether it is of the type and the class."""
    spec = service.get("spec") or {}
    return spec.get("type") == service_shape.LOAD_BALANCER and spec.get("loadBalancerClass") in (None, CLASS)


def is_wanted(service: Object | None) -> bool:
    """Whether it is to have a load balancer."""
    return service is not None and is_balancer(service) and not objects.is_deleting(service)


def matters(old: Object | None, new: Object | None) -> bool:
    """Whether a Service is, was or leaves behind anything of ours."""
    return any(o is not None and (is_balancer(o) or FINALIZER in objects.finalizers(o)) for o in (old, new))


def ingress(service: Object) -> list[Object]:
    """The entries of its status."""
    return list(objects.get_path(service, "status.loadBalancer.ingress") or ())


def families(service: Object) -> list[str]:
    """Its address families, the first one first."""
    return list((service.get("spec") or {}).get("ipFamilies") or ["IPv4"])


def failed(why: str) -> Event:
    """What a Service is told that can't have one."""
    return warning("SyncLoadBalancerFailed", f"Error syncing load balancer: failed to ensure load balancer: {why}")


def shown(service: Object, addresses: Sequence[str], event: Event | None) -> tuple[Update, ...]:
    """Has the status name these addresses, if it does not; `event` is told then."""
    listed = [{"ip": address, "ipMode": "VIP"} for address in addresses]
    if [{"ip": e.get("ip"), "ipMode": e.get("ipMode")} for e in ingress(service)] == listed:
        return ()
    state = {**(service.get("status") or {}), "loadBalancer": {"ingress": listed} if listed else {}}
    return (Update(SERVICE, {**service, "status": state}, "status", done=event),)


def held(view: View, key: Key) -> list[Object]:
    """The IPAddresses that the pool's controller made for a Service, in the order of their names."""
    return [a for a in view.indexed(IPADDRESS, PARENT_PATH, key[1]) if key in owners(a)]


def owners(address: Object) -> list[Key]:
    """The key of the Service that one is held for; none when it is not of the pool's controller."""
    parent = objects.get_path(address, "spec.parentRef", {})
    if objects.labels(address).get(ip_address.MANAGED_BY_LABEL) != MANAGER or parent.get("resource") != SERVICE.plural:
        return []
    return [(parent.get("namespace") or "", parent.get("name") or "")]


def if_held(view: View, key: Key, addresses: Sequence[str], wanted: Plan) -> Plan:
    """The plan, when live reads confirm that the Service holds these addresses."""
    questions = tuple(Ask(IPADDRESS, ("", address)) for address in addresses)
    found = [view.answer(question) for question in questions]
    if UNANSWERED in found:
        return Plan(ask=questions)
    return wanted if all(address is not None and key in owners(address) for address in found) else NOTHING


def with_finalizer(service: Object) -> tuple[Patch, ...]:
    """Puts the finalizer on."""
    present = objects.finalizers(service)
    return () if FINALIZER in present else (_finalizers(service, [*present, FINALIZER]),)


def give_back(view: View, service: Object, holds: Sequence[Object]) -> Plan:
    """Frees these addresses, if the Service still is what it looks like."""
    return _if_unchanged(view, service, plan(map(_free, holds)))


def release(view: View, key: Key) -> Plan:
    """Takes everything back from a Service that is gone, or is no load balancer of ours any more.

    What it shows goes first. A deleted one is kept by its finalizer until its addresses are free; on one that lives on,
    a finalizer of ours is never without an address of ours, so that nobody has to guess whose it is.
    """
    service, holds = view.get(SERVICE, key), held(view, key)
    if service is None:
        return _of_nobody(view, key, holds)
    if not holds and not _is_left(service):
        return NOTHING
    if ingress(service):
        return Plan(plan(shown(service, (), None)).stages, (DELETING,))
    others = [name for name in objects.finalizers(service) if name != FINALIZER]
    bare = (_finalizers(service, others, DELETED),) if others != objects.finalizers(service) else ()
    freed = tuple(map(_free, holds))
    return _if_unchanged(view, service, plan(freed, bare) if objects.is_deleting(service) else plan(bare, freed))


def _if_unchanged(view: View, service: Object, wanted: Plan) -> Plan:
    """The plan, when a live read confirms what the cache says; a change is on its way here otherwise."""
    question = Ask(SERVICE, objects.key(service))
    found = view.answer(question)
    if found is UNANSWERED:
        return Plan(ask=(question,))
    is_same = found is not None and objects.resource_version(found) == objects.resource_version(service)
    return wanted if is_same else NOTHING


def _is_left(service: Object) -> bool:
    """Whether only the finalizer is left on it: somebody took the address away under it."""
    is_others = service["spec"].get("type") == service_shape.LOAD_BALANCER and not is_balancer(service)
    return FINALIZER in objects.finalizers(service) and not is_others


def _of_nobody(view: View, key: Key, holds: Sequence[Object]) -> Plan:
    if not holds:
        return NOTHING
    question = Ask(SERVICE, key)
    found = view.answer(question)
    if found is UNANSWERED:
        return Plan(ask=(question,))
    return plan(map(_free, holds)) if found is None else NOTHING


def _free(address: Object) -> Delete:
    version = objects.resource_version(address)
    return Delete(IPADDRESS, objects.key(address), objects.uid(address), resource_version=version)


def _finalizers(service: Object, wanted: list[str], done: Event | None = None) -> Patch:
    patch = {"metadata": {"finalizers": wanted or None}}
    version = objects.resource_version(service)
    return Patch(SERVICE, objects.key(service), patch, uid=objects.uid(service), resource_version=version, done=done)
