"""A Service of type LoadBalancer gets an address of its own from the cluster's pool, one of each of its families.

The wish in spec.loadBalancerIP, or in an annotation that other pools know, is granted where that address is free;
else what it has stays, else it is the lowest free one. Without any, it waits for one that gets free.

https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.control import load_balancing
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import NOTHING, Create, Key, Plan, plan
from sampan.control.view import View
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kinds.networking import ip_address
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.parts import ip_rules
from sampan.meta import objects

WISHES = (
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
    "lbipam.cilium.io/ips",
    "kube-vip.io/loadbalancerIPs",
)


class _RefusedError(Exception):
    """Why a Service gets no address."""


def controller(pools: Sequence[str]) -> Controller:
    """The one that gives addresses of these CIDRs; none at all where there are none."""
    networks = tuple(map(ipaddress.ip_network, pools))

    def reconcile(view: View, key: Key, now: float) -> Plan:
        service = view.get(SERVICE, key)
        if not networks and not load_balancing.held(view, key):
            return NOTHING  # somebody else looks after load balancers
        if service is None or not networks or not load_balancing.is_wanted(service):
            return load_balancing.release(view, key)
        return _balanced(_Choice(view, service, networks))

    def is_ours(old: Object | None, new: Object | None) -> bool:
        named = [o for o in (old, new) if o is not None]
        return any(load_balancing.owners(o) or _is_in(networks, objects.name(o)) for o in named)

    return Controller(
        name=load_balancing.NAME,
        parent=SERVICE,
        reconcile=reconcile,
        watches=(Watch(IPADDRESS, _concerned, is_ours),),
        indexes=(Index(IPADDRESS, load_balancing.PARENT_PATH), Index(SERVICE, "spec.type")),
        component=load_balancing.COMPONENT,
        matters=load_balancing.matters,
        workers=1,  # one after the other: two at once would want the same address
    )


@dataclass(frozen=True, slots=True)
class _Choice:
    """What there is to choose from for a Service."""

    view: View
    service: Object
    pools: tuple[ip_rules.Network, ...]

    @property
    def key(self) -> Key:
        return objects.key(self.service)

    def addresses(self) -> list[str]:
        """One of each family. Raises _RefusedError."""
        wishes, chosen = _wishes(self.service), []
        families = load_balancing.families(self.service)
        for asked in wishes:
            if ip_rules.family_of(asked) not in families:
                raise _RefusedError(f"requested address {asked} is of none of the service's families")
        for family in families:
            wish = next((w for w in wishes if ip_rules.family_of(w) == family), None)
            pools = [p for p in self.pools if ip_rules.family_of(p.network_address) == family]
            if wish is not None:
                chosen.append(self._granted(wish, pools))
            elif pools or not self._may_miss(family):
                chosen.append(self._kept(pools) or self._free(family, pools))
        return chosen

    def _may_miss(self, family: str) -> bool:
        """Whether it is enough to have the other family."""
        others = {ip_rules.family_of(pool.network_address) for pool in self.pools} - {family}
        is_preferred = self.service["spec"].get("ipFamilyPolicy") == "PreferDualStack"
        return is_preferred and not others.isdisjoint(load_balancing.families(self.service))

    def _granted(self, wish: ip_rules.Address, pools: Sequence[ip_rules.Network]) -> str:
        if not any(wish in pool for pool in pools):
            raise _RefusedError(f"requested address {wish} is not in the pool {_listed(self.pools)}")
        taken = self.view.get(IPADDRESS, ("", str(wish)))
        if taken is not None and self.key not in load_balancing.owners(taken):
            raise _RefusedError(f"requested address {wish} is already used by {ip_address.parent_text(taken, 0)}")
        return str(wish)

    def _kept(self, pools: Sequence[ip_rules.Network]) -> str:
        """The address that it has already, that which it shows before others; also one that was taken from under it."""
        held = [objects.name(address) for address in load_balancing.held(self.view, self.key)]
        usable = [name for name in held if _is_in(pools, name)]
        known = [address for address in _shown(self.service) if _is_in(pools, address)]
        free = [address for address in known if self.view.get(IPADDRESS, ("", address)) is None]
        return next((address for address in (*known, *usable) if address in usable), free[0] if free else "")

    def _free(self, family: str, pools: Sequence[ip_rules.Network]) -> str:
        if not pools:
            raise _RefusedError(f"the pool {_listed(self.pools)} has no {family} addresses")
        for pool in pools:
            for address in map(str, pool.hosts()):
                if self.view.get(IPADDRESS, ("", address)) is None:
                    return address
        raise _RefusedError(f"no address is free in the pool {_listed(pools)}")


def _balanced(choice: _Choice) -> Plan:
    """One step at a time: the addresses are held, the status shows them, others are given back."""
    service, view = choice.service, choice.view
    holds = load_balancing.held(view, choice.key)
    names = [objects.name(address) for address in holds]
    try:
        wanted = choice.addresses()
    except _RefusedError as error:
        still = [address for address in _shown(service) if address in names]
        refusal = (load_balancing.ENSURING, load_balancing.failed(str(error)))
        return plan(load_balancing.shown(service, still, None), events=refusal)
    creates = [Create(IPADDRESS, _hold(address, choice.key)) for address in wanted if address not in names]
    finalizer = load_balancing.with_finalizer(service)
    if creates or finalizer:
        return plan(creates, finalizer, events=[load_balancing.ENSURING])
    if update := load_balancing.shown(service, wanted, load_balancing.ENSURED):
        return load_balancing.if_held(view, choice.key, wanted, plan(update))
    surplus = [address for address in holds if objects.name(address) not in wanted]
    return load_balancing.give_back(view, service, surplus) if surplus else Plan()


def _hold(address: str, key: Key) -> Object:
    made = ip_address.of_service(address, *key)
    labels = {**objects.labels(made), ip_address.MANAGED_BY_LABEL: load_balancing.MANAGER}
    return {**made, "metadata": {**made["metadata"], "labels": labels}}


def _wishes(service: Object) -> list[ip_rules.Address]:
    """The addresses that are asked for. Raises _RefusedError for what is none."""
    annotations = objects.annotations(service)
    asked = service["spec"].get("loadBalancerIP") or next((annotations[n] for n in WISHES if annotations.get(n)), "")
    found = []
    for text in filter(None, (part.strip() for part in asked.split(","))):
        address = ip_rules.parse(text)
        if address is None:
            raise _RefusedError(f'requested address "{text}" is not an IP address')
        found.append(address)
    return found


def _shown(service: Object) -> list[str]:
    return [entry.get("ip") or "" for entry in load_balancing.ingress(service)]


def _is_in(pools: Iterable[ip_rules.Network], text: str) -> bool:
    address = ip_rules.parse(text)
    return address is not None and any(address in pool for pool in pools)


def _listed(pools: Iterable[ip_rules.Network]) -> str:
    return ", ".join(map(str, pools))


def _concerned(view: View, address: Object) -> Iterable[Key]:
    """Whoever holds an address; and when it is given back, whoever waits for one."""
    yield from load_balancing.owners(address)
    if view.get(IPADDRESS, objects.key(address)) is not None:
        return
    for service in view.indexed(SERVICE, "spec.type", "LoadBalancer"):
        if load_balancing.is_wanted(service) and _waits_for(service, objects.name(address)):
            yield objects.key(service)


def _waits_for(service: Object, address: str) -> bool:
    if len(load_balancing.ingress(service)) < len(load_balancing.families(service)):
        return True
    asked = [service["spec"].get("loadBalancerIP"), *(objects.annotations(service).get(name) for name in WISHES)]
    return any(address in (text or "") for text in asked)
