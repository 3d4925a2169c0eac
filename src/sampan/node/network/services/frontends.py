"""Frontends: at which addresses and ports a Service is reached on this node, and where each leads (pure).

https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sampan.node.network.services import endpoints
from sampan.node.network.services.endpoints import Endpoint, Pools
from sampan.node.network.services.here import Here, canonical, family_of, number_of

Object = Mapping[str, Any]

REJECT, DROP = "goto refuse", "drop"
AFFINITY_SECONDS = 10800
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_OTHERS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")


class Frontend(NamedTuple):
    """An address with protocol and port; without an address, a port of the node."""

    family: int
    address: str
    protocol: str
    port: int


class Rank(NamedTuple):
    """Who has a frontend that two services claim: the lowest."""

    kind: int
    since: str
    service: tuple[str, str]


_CLUSTER, _BALANCER, _EXTERNAL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Target:
    """Where a frontend's packets go.

    `cluster` get those of pods and of this host, and all others too unless there is `local`. `refusal` is what becomes
    of a packet that no endpoint may get. `allowed` are the only networks that packets may come from, if given;
    `sticky_seconds`: for how long a client stays with its endpoint.
    """

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] | None = None
    is_masqueraded: bool = False
    sticky_seconds: int = 0
    allowed: tuple[str, ...] | None = None
    refusal: str = ""


Claims = dict[Frontend, tuple[Rank, Target]]


def claims(service: Object, slices: Sequence[Object], here: Here) -> Claims:
    """All that a Service claims."""
    addresses = cluster_ips(service)
    if not addresses or any(label in _OTHERS for label in service["metadata"].get("labels") or ()):
        return {}
    families = sorted({family_of(address) for address in addresses})
    found: Claims = {}
    for port in service["spec"].get("ports") or ():
        by_family = {f: endpoints.pools(port, slices, f, here) for f in families}
        for address in addresses:
            gateway = here.names.get(address)
            if gateway is not None:
                by_family[family_of(address)] = endpoints.names(port, gateway)
        _claim_port(found, (service, port), by_family, here)
    return found


def cluster_ips(service: Object) -> list[str]:
    """The service's cluster addresses; none for headless and ExternalName services."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [canonical(a) for a in addresses if a not in ("", "None") and number_of(a) is not None]


def _claim_port(found: Claims, of: tuple[Object, Object], by_family: Mapping[int, Pools], here: Here) -> None:
    service, port = of
    spec, metadata = service["spec"], service["metadata"]
    protocol, number = _PROTOCOLS[port.get("protocol", "TCP")], port["port"]
    since, name = metadata.get("creationTimestamp") or "", (metadata["namespace"], metadata["name"])
    inside = {f: _inside(spec, pool) for f, pool in by_family.items()}
    outside = {f: _outside(spec, pool) for f, pool in by_family.items()}

    def claim(kind: int, frontend: Frontend, target: Target) -> None:
        rank = Rank(kind, since, name)
        if frontend not in found or rank < found[frontend][0]:
            found[frontend] = (rank, target)

    for address in cluster_ips(service):
        claim(_CLUSTER, Frontend(family_of(address), address, protocol, number), inside[family_of(address)])
    if port.get("nodePort") and spec.get("type") in ("NodePort", "LoadBalancer"):
        for family, target in outside.items():
            claim(_CLUSTER, Frontend(family, "", protocol, port["nodePort"]), target)
    for address in _external(spec.get("externalIPs") or (), outside, (protocol, number), here):
        claim(_EXTERNAL, Frontend(family_of(address), address, protocol, number), outside[family_of(address)])
    for address in _external(_ingress(service), outside, (protocol, number), here):
        target = _guarded(spec, outside[family_of(address)], family_of(address))
        claim(_BALANCER, Frontend(family_of(address), address, protocol, number), target)


def _external(wanted: Iterable[str], families: Mapping[int, Target], port: tuple[str, int], here: Here) -> list[str]:
    usable = [a for a in wanted if here.is_external(a, *port) and family_of(a) in families]
    return list(dict.fromkeys(canonical(address) for address in usable))


def _ingress(service: Object) -> list[str]:
    """Addresses whose packets come here as they were sent to a load balancer."""
    if service["spec"].get("type") != "LoadBalancer":
        return []
    found = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [one["ip"] for one in found if one.get("ip") and one.get("ipMode", "VIP") == "VIP"]


def _inside(spec: Object, pool: Pools) -> Target:
    """For who comes to the cluster address."""
    if spec.get("internalTrafficPolicy") == "Local":
        return Target(pool.local, sticky_seconds=_sticky(spec), refusal=_refusal(pool.local, pool))
    return Target(pool.cluster, sticky_seconds=_sticky(spec), refusal=_refusal(pool.cluster, pool))


def _outside(spec: Object, pool: Pools) -> Target:
    """For who comes to any other address."""
    sticky = _sticky(spec)
    if spec.get("externalTrafficPolicy") == "Local":
        return Target(pool.cluster, pool.local, sticky_seconds=sticky, refusal=_refusal(pool.local, pool))
    return Target(pool.cluster, None, is_masqueraded=True, sticky_seconds=sticky, refusal=_refusal(pool.cluster, pool))


def _refusal(endpoints: tuple[Endpoint, ...], pool: Pools) -> str:
    """With none at all the client is told; with some elsewhere it is to try elsewhere."""
    return "" if endpoints else DROP if pool.is_any else REJECT


def _sticky(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or AFFINITY_SECONDS)


def _guarded(spec: Object, target: Target, family: int) -> Target:
    """Only the named networks get in, if some are named."""
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if not ranges:
        return target
    networks = [network for text in ranges if (network := _network(text)) is not None and network.version == family]
    allowed = tuple(str(network) for network in ipaddress.collapse_addresses(networks))
    return Target(target.cluster, target.local, target.is_masqueraded, target.sticky_seconds, allowed, target.refusal)


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None
