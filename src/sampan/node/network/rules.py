"""Service rules: from Services and EndpointSlices to the nftables rules that reach their endpoints (pure).

One map leads from (cluster IP, protocol, port) to a chain for that service port; the chain picks one
endpoint at random, or by client address with ClientIP affinity. What still bears a service address
after that has no endpoints and is refused at once. A pod that is led to itself sees the gateway as
its client, or it would answer itself directly.

https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.node.network.settings import NetworkSettings

Object = Mapping[str, Any]

_SERVICE_NAME = "kubernetes.io/service-name"
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the services' table holds: its chains with their rule, the map's entries, hairpin addresses.

    `chains` maps a chain's name to its one rule, `entries` a map key `ip . protocol . port` to a
    chain's name.
    """

    chains: dict[str, str] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    hairpins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, order=True)
class _Endpoint:
    address: str
    port: int


def rules(services: Iterable[Object], slices: Iterable[Object]) -> Rules:
    """The rules for all services that have a cluster IP and endpoints to go to."""
    by_service = _slices_by_service(slices)
    chains: dict[str, str] = {}
    entries: dict[str, str] = {}
    hairpins: set[str] = set()
    for service in services:
        addresses = cluster_ips(service)
        if not addresses:
            continue
        meta = service["metadata"]
        own = by_service.get((meta["namespace"], meta["name"]), ())
        for port in service["spec"].get("ports") or ():
            endpoints = _endpoints(own, port)
            if not endpoints:
                continue
            protocol = _PROTOCOLS[port.get("protocol", "TCP")]
            chain = _chain_name(meta["namespace"], meta["name"], protocol, port["port"])
            chains[chain] = _chain_rule(service, protocol, endpoints)
            hairpins.update(endpoint.address for endpoint in endpoints)
            entries.update((f"{ip} . {protocol} . {port['port']}", chain) for ip in addresses)
    return Rules(chains, entries, frozenset(hairpins))


def whole(settings: NetworkSettings, wanted: Rules) -> str:
    """One transaction that puts the whole table in place of whatever was there."""
    table, family = settings.services_table, f'"{settings.family}*"'
    chains = "".join(f"  chain {name} {{\n    {rule}\n  }}\n" for name, rule in sorted(wanted.chains.items()))
    return f"""table ip {table}
delete table ip {table}
table ip {table} {{
  map services {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  set hairpins {{
    type ipv4_addr . ipv4_addr
  }}
{chains}  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname {family} ip daddr . meta l4proto . th dport vmap @services
  }}
  chain local {{
    type nat hook output priority -100; policy accept;
    ip daddr . meta l4proto . th dport vmap @services
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat ip saddr . ip daddr @hairpins snat ip to {settings.gateway}
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp port-unreachable
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip daddr {settings.service_cidr} goto refuse
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    ip daddr {settings.service_cidr} goto refuse
  }}
}}
{_add_elements(table, wanted.entries, wanted.hairpins)}"""


def change(settings: NetworkSettings, old: Rules, new: Rules) -> str:
    """One transaction from the old rules to the new ones; nothing when they are the same."""
    table = settings.services_table
    gone = [key for key, chain in old.entries.items() if new.entries.get(key) != chain]
    fresh = {key: chain for key, chain in new.entries.items() if old.entries.get(key) != chain}
    lines = []
    if gone:
        lines.append(f"delete element ip {table} services {{ {', '.join(sorted(gone))} }}")
    for chain in sorted(old.chains.keys() - new.chains.keys()):
        lines += [f"flush chain ip {table} {chain}", f"delete chain ip {table} {chain}"]
    for chain, rule in sorted(new.chains.items()):
        if chain not in old.chains:
            lines.append(f"add chain ip {table} {chain}")
        elif old.chains[chain] != rule:
            lines.append(f"flush chain ip {table} {chain}")
        else:
            continue
        lines.append(f"add rule ip {table} {chain} {rule}")
    lost = old.hairpins - new.hairpins
    if lost:
        lines.append(f"delete element ip {table} hairpins {{ {_pairs(lost)} }}")
    return "".join(f"{line}\n" for line in lines) + _add_elements(table, fresh, new.hairpins - old.hairpins)


def cluster_ips(service: Object) -> list[str]:
    """The service's IPv4 cluster addresses; none for headless and ExternalName services."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [ip for ip in addresses if ip not in ("", "None") and ":" not in ip]


def usable(endpoints: Iterable[Object]) -> list[Object]:
    """The ready endpoints; when there is none, those that still serve while they terminate."""
    known = list(endpoints)
    ready = [e for e in known if (e.get("conditions") or {}).get("ready") is not False]
    return ready or [e for e in known if _serves_while_terminating(e)]


def _serves_while_terminating(endpoint: Object) -> bool:
    conditions = endpoint.get("conditions") or {}
    return bool(conditions.get("serving")) and bool(conditions.get("terminating"))


def _slices_by_service(slices: Iterable[Object]) -> dict[tuple[str, str], list[Object]]:
    found: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for item in slices:
        meta = item["metadata"]
        service = (meta.get("labels") or {}).get(_SERVICE_NAME)
        if service and item.get("addressType", "IPv4") == "IPv4":
            found[meta["namespace"], service].append(item)
    return found


def _endpoints(slices: Iterable[Object], port: Object) -> list[_Endpoint]:
    """Where this service port leads: slices name the port as the service does."""
    wanted = (port.get("name") or "", port.get("protocol", "TCP"))
    candidates: list[Object] = []
    ports: dict[int, int] = {}
    for item in slices:
        for offered in item.get("ports") or ():
            number = offered.get("port")
            if number and (offered.get("name") or "", offered.get("protocol", "TCP")) == wanted:
                for endpoint in item.get("endpoints") or ():
                    candidates.append(endpoint)
                    ports[id(endpoint)] = number
    found = {_Endpoint(e["addresses"][0], ports[id(e)]) for e in usable(candidates) if e.get("addresses")}
    return sorted(found)


def _chain_rule(service: Object, protocol: str, endpoints: list[_Endpoint]) -> str:
    if len(endpoints) == 1:
        only = endpoints[0]
        return f"meta l4proto {protocol} dnat ip to {only.address}:{only.port}"
    affinity = service["spec"].get("sessionAffinity") == "ClientIP"
    pick = "jhash ip saddr" if affinity else "numgen random"
    choices = ", ".join(f"{i} : {e.address} . {e.port}" for i, e in enumerate(endpoints))
    return f"meta l4proto {protocol} dnat ip to {pick} mod {len(endpoints)} map {{ {choices} }}"


def _chain_name(namespace: str, name: str, protocol: str, port: int) -> str:
    """Unique, and always the same for the same service port; nft's names are limited to 128 bytes."""
    digest = hashlib.sha256(f"{namespace}/{name}/{protocol}/{port}".encode()).hexdigest()[:8]
    return f"svc-{digest}-{name[:40].rstrip('-')}-{protocol}-{port}"


def _add_elements(table: str, entries: Mapping[str, str], hairpins: Iterable[str]) -> str:
    lines = []
    if entries:
        pairs = ", ".join(f"{key} : goto {chain}" for key, chain in sorted(entries.items()))
        lines.append(f"add element ip {table} services {{ {pairs} }}\n")
    addresses = _pairs(hairpins)
    if addresses:
        lines.append(f"add element ip {table} hairpins {{ {addresses} }}\n")
    return "".join(lines)


def _pairs(addresses: Iterable[str]) -> str:
    return ", ".join(f"{ip} . {ip}" for ip in sorted(addresses))
