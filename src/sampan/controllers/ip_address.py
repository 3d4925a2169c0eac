"""IPAddresses: each address that a Service uses has one, and each of ours belongs to a Service that uses it.

Services take and release them in their own transactions; this mends what somebody changed by hand.

https://kubernetes.io/docs/reference/networking/virtual-ips/#ip-address-objects
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Ask, Create, Delete, Key, Plan, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kinds.networking import ip_address
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.parts import service_shape
from sampan.meta import objects

ORPHAN_SECONDS = 60.0


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Makes the missing one; takes away one that nobody uses, after a while and a live look."""
    held = view.get(IPADDRESS, key)
    users = [s for s in view.indexed(SERVICE, "spec.clusterIP", key[1]) if _uses(s, key[1])]
    if held is None:
        return _missing(users[0], key[1]) if users else Plan()
    if objects.labels(held).get(ip_address.MANAGED_BY_LABEL) != ip_address.MANAGER or objects.is_deleting(held):
        return Plan()
    owner = _owner(held)
    if any(objects.key(service) == owner for service in users):
        return Plan()
    waited = view.age_seconds(IPADDRESS, key)
    if waited < ORPHAN_SECONDS:
        return Plan(again=ORPHAN_SECONDS - waited)
    question = Ask(SERVICE, owner)
    found = view.answer(question) if owner[1] else None
    if found is UNANSWERED:
        return Plan(ask=(question,))
    if found is not None and _uses(found, key[1]):
        return Plan()
    version = objects.resource_version(held)
    return plan([Delete(IPADDRESS, key, objects.uid(held), resource_version=version)])


def _missing(service: Object, address: str) -> Plan:
    made = ip_address.of_service(address, objects.namespace(service), objects.name(service))
    family = objects.labels(made)[ip_address.FAMILY_LABEL]
    told = f"Cluster IP [{family}]: {address} is not allocated; repairing"
    about = {"apiVersion": SERVICE.api_version, "kind": SERVICE.name, **service}
    return plan([Create(IPADDRESS, made, may_exist=True, done=warning("ClusterIPNotAllocated", told, about))])


def _uses(service: Object, address: str) -> bool:
    return address in service_shape.cluster_ips(service.get("spec") or {})


def _owner(held: Object) -> Key:
    """The key of the Service that it names; an empty one when it names something else."""
    parent = objects.get_path(held, "spec.parentRef", {})
    if parent.get("group") or parent.get("resource") != SERVICE.plural:
        return "", ""
    return parent.get("namespace", ""), parent.get("name", "")


def _addresses(view: View, service: Object) -> Iterable[Key]:
    return [("", address) for address in service_shape.cluster_ips(service.get("spec") or {})]


CONTROLLER = Controller(
    name="service-ip-repair-controller",
    parent=IPADDRESS,
    reconcile=reconcile,
    watches=(Watch(SERVICE, _addresses),),
    indexes=(Index(SERVICE, "spec.clusterIP"),),
)
