"""ServiceCIDRs: each is ready while it lives, and stays until no address would be left without a range.

https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/
"""

import ipaddress
from collections.abc import Iterable

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Patch, Plan, Update, plan
from sampan.control.view import View
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kinds.networking import ip_address
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.networking.service_cidr import FINALIZER, SERVICECIDR, cidrs
from sampan.kinds.parts import ip_rules, service_shape
from sampan.meta import conditions, objects

READY = "Ready"
READY_TEXT = "Kubernetes Service CIDR is ready"
BLOCKED_TEXT = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """One step at a time: the finalizer, then the condition."""
    cidr = view.get(SERVICECIDR, key)
    if cidr is None:
        return Plan()
    finalizers = objects.finalizers(cidr)
    if objects.is_deleting(cidr):
        if FINALIZER not in finalizers:
            return Plan()
        if _is_needed(view, cidr):
            return _said(cidr, ("False", "Terminating", BLOCKED_TEXT), now)
        return plan([_with_finalizers(cidr, [name for name in finalizers if name != FINALIZER])])
    if FINALIZER not in finalizers:
        return plan([_with_finalizers(cidr, [*finalizers, FINALIZER])])
    if conditions.is_true(cidr, READY):
        return Plan()
    return _said(cidr, ("True", "", READY_TEXT), now)


def _is_needed(view: View, cidr: Object) -> bool:
    """Whether an address that services use is in no other range that stays."""
    others = [
        network
        for other in view.list(SERVICECIDR)
        if objects.name(other) != objects.name(cidr) and not objects.is_deleting(other)
        for network in _networks(other)
    ]
    own = [network for network in _networks(cidr) if not any(_covers(other, network) for other in others)]
    addresses = map(ip_rules.parse, _used(view) if own else ())
    return any(a is not None and _holds(own, a) and not _holds(others, a) for a in addresses)


def _used(view: View) -> Iterable[str]:
    """Addresses that services hold, also where somebody took the IPAddress away under them."""
    for held in view.list(IPADDRESS):
        if objects.labels(held).get(ip_address.MANAGED_BY_LABEL) == ip_address.MANAGER:
            yield objects.name(held)
    for service in view.list(SERVICE):
        yield from service_shape.cluster_ips(service.get("spec") or {})


def _networks(cidr: Object) -> list[ip_rules.Network]:
    return [network for text in cidrs(cidr) if (network := ip_rules.network(text))]


def _covers(large: ip_rules.Network, small: ip_rules.Network) -> bool:
    if isinstance(large, ipaddress.IPv4Network) and isinstance(small, ipaddress.IPv4Network):
        return small.subnet_of(large)
    if isinstance(large, ipaddress.IPv6Network) and isinstance(small, ipaddress.IPv6Network):
        return small.subnet_of(large)
    return False


def _holds(networks: Iterable[ip_rules.Network], address: ip_rules.Address) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _with_finalizers(cidr: Object, finalizers: list[str]) -> Patch:
    patch = {"metadata": {"finalizers": finalizers or None}}
    version = objects.resource_version(cidr)
    return Patch(SERVICECIDR, objects.key(cidr), patch, uid=objects.uid(cidr), resource_version=version)


def _said(cidr: Object, said: tuple[str, str, str], now: float) -> Plan:
    """Sets the condition (status, reason, message); nothing when it says so already."""
    status, reason, message = said
    state = cidr.get("status") or {}
    listed = conditions.set(state.get("conditions"), READY, status, reason, message, now)
    listed = [{"reason": "", **condition} for condition in listed]
    if listed == state.get("conditions"):
        return Plan()
    return plan([Update(SERVICECIDR, {**cidr, "status": {**state, "conditions": listed}}, "status")])


def _all_keys(view: View, changed: Object) -> Iterable[Key]:
    return [objects.key(cidr) for cidr in view.list(SERVICECIDR) if objects.is_deleting(cidr)]


CONTROLLER = Controller(
    name="service-cidr-controller",
    parent=SERVICECIDR,
    reconcile=reconcile,
    watches=(Watch(IPADDRESS, _all_keys), Watch(SERVICE, _all_keys), Watch(SERVICECIDR, _all_keys)),
)
