"""Endpoints: which of a service's endpoints get its packets on this node (pure).

Ready ones, near ones where the hints of all of them say so; where there are none, those that still serve while they
end. Local ones are judged for themselves.

https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-policies
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sampan.node.network.services.here import DNS_PORT, Here, canonical

Object = Mapping[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
_FAMILIES = {"IPv4": 4, "IPv6": 6}


class Endpoint(NamedTuple):
    """Where packets are sent. `is_local`: it is known to be on this node; `is_ours`: it has an address of this node's."""

    address: str
    port: int
    is_local: bool
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Pools:
    """A service port's endpoints in one family: those for everybody, those on this node, and whether any could serve."""

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    is_any: bool = False


class _Known(NamedTuple):
    endpoint: Endpoint
    is_ready: bool
    is_ending: bool
    hints: Object


def pools(port: Object, slices: Iterable[Object], family: int, here: Here) -> Pools:
    """Where a port of a service leads, by its slices."""
    known = _known(port, slices, family, here)
    ready = [one for one in known if one.is_ready]
    ending = [one for one in known if one.is_ending]
    cluster = _near(ready, here) or ending
    local = [one for one in ready if one.endpoint.is_local] or [one for one in ending if one.endpoint.is_local]
    return Pools(_sorted(cluster), _sorted(local), bool(ready or ending))


def names(port: Object, address: str) -> Pools:
    """This node's own name server."""
    own = (Endpoint(address, DNS_PORT, True, True),) if port.get("port") == DNS_PORT else ()
    return Pools(own, own, bool(own))


def ready_here(slices: Iterable[Object], here: Here) -> int:
    """How many endpoints on this node are ready, whatever their ports: what a load balancer's health check counts."""
    found = set()
    for item in slices:
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            if endpoint.get("nodeName") == here.node and conditions.get("ready") is not False:
                found.update(endpoint["addresses"][:1])
    return len(found)


def _known(port: Object, slices: Iterable[Object], family: int, here: Here) -> list[_Known]:
    wanted = (port.get("name") or "", port.get("protocol", "TCP"))
    found: dict[Endpoint, _Known] = {}
    for item in slices:
        if _FAMILIES.get(item.get("addressType", "IPv4")) != family:
            continue
        for offered in item.get("ports") or ():
            number = offered.get("port")
            if number and (offered.get("name") or "", offered.get("protocol", "TCP")) == wanted:
                for endpoint in item.get("endpoints") or ():
                    one = _one(endpoint, number, here)
                    if one is not None and not (one.endpoint in found and found[one.endpoint].is_ready):
                        found[one.endpoint] = one
    return list(found.values())


def _one(endpoint: Object, port: int, here: Here) -> _Known | None:
    address = (endpoint.get("addresses") or [""])[0]
    if not here.is_endpoint(address):
        return None
    conditions = endpoint.get("conditions") or {}
    is_ending = bool(conditions.get("terminating")) and conditions.get("serving") is not False
    is_local = endpoint.get("nodeName") == here.node
    made = Endpoint(canonical(address), port, is_local, is_local or here.is_pod(address))
    return _Known(made, conditions.get("ready") is not False, is_ending, endpoint.get("hints") or _NONE)


def _near(ready: list[_Known], here: Here) -> list[_Known]:
    """Those for this node, else for its zone, where each of them has a hint and one is for here; else all."""
    for kind, name in (("forNodes", here.node), ("forZones", here.zone)):
        if name and all(one.hints.get(kind) for one in ready):
            near = [one for one in ready if any(hint["name"] == name for hint in one.hints[kind])]
            if near:
                return near
    return ready


def _sorted(known: list[_Known]) -> tuple[Endpoint, ...]:
    return tuple(sorted(one.endpoint for one in known))


_NONE: Object = {}
