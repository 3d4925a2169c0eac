"""DNS zone: which names the cluster has, from Services and EndpointSlices (pure, but for keeping an index).

Records are plain values; dns.py packs them. Names are lower-case label tuples below the cluster domain,
innermost first. Pod names (`10-244-0-5.ns.pod`) are answered by reading the address off the name.

https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.node.network import rules

Object = Mapping[str, Any]
Labels = tuple[str, ...]
Key = tuple[str, str]

_SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name has. `kind` is A, SRV, CNAME, PTR or TXT; `value` an address, a name or a text.

    SRV records have their `port` and `weight`; names are full, without the last dot.
    """

    kind: str
    value: str
    port: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One service's names, relative to `<service>.<namespace>.svc`, and its addresses' names."""

    signature: tuple[str, ...]
    names: dict[Labels, tuple[Answer, ...]]
    addresses: dict[str, str] = field(default_factory=dict)


class Zone:
    """The names of one cluster. `update` costs little for services that have not changed."""

    def __init__(self, domain: str) -> None:
        self.domain = domain.rstrip(".").lower()
        self._suffix: Labels = tuple(self.domain.split("."))
        self._entries: dict[Key, _Entry] = {}
        self._namespaces: set[str] = {"default"}
        self._pointers: dict[str, list[str]] = {}

    def update(self, services: Iterable[Object], slices: Iterable[Object], pods: Iterable[Object] = ()) -> None:
        """Take over the present Services, EndpointSlices and Pods (those only for their namespaces)."""
        by_service = _by_service(slices)
        entries: dict[Key, _Entry] = {}
        for service in services:
            meta = service["metadata"]
            key = (meta["namespace"], meta["name"])
            own = by_service.get(key, [])
            signature = _signature(service, own)
            known = self._entries.get(key)
            entries[key] = known if known and known.signature == signature else self._entry(service, own, signature)
        self._entries = entries
        self._namespaces = {"default", *(ns for ns, _ in entries), *(p["metadata"]["namespace"] for p in pods)}
        pointers: dict[str, list[str]] = defaultdict(list)
        for _, entry in sorted(entries.items(), key=lambda item: item[0]):
            for address, name in entry.addresses.items():
                pointers[address].append(name)
        self._pointers = dict(pointers)

    def covers(self, labels: Labels) -> bool:
        """Whether the name belongs to the cluster's domain."""
        return labels[-len(self._suffix) :] == self._suffix

    def lookup(self, labels: Labels) -> tuple[Answer, ...] | None:
        """The records of a name the zone covers: () when it exists without any, None when it does not."""
        match labels[: -len(self._suffix)]:
            case () | ("svc",) | ("pod",):
                return ()
            case ("dns-version",):
                return (Answer("TXT", "1.1.0"),)
            case (str(namespace), "svc" | "pod"):
                return () if namespace in self._namespaces else None
            case (*inner, name, namespace, "svc"):
                entry = self._entries.get((namespace, name))
                return None if entry is None else entry.names.get(tuple(inner))
            case (dashed, _, "pod"):
                return _pod(dashed)
        return None

    def reverse(self, address: str) -> tuple[Answer, ...]:
        """The names of a service address or a named endpoint; none for an address not ours."""
        return tuple(Answer("PTR", name) for name in self._pointers.get(address, ()))

    def _entry(self, service: Object, slices: list[Object], signature: tuple[str, ...]) -> _Entry:
        meta, spec = service["metadata"], service.get("spec") or {}
        full = f"{meta['name']}.{meta['namespace']}.svc.{self.domain}"
        if spec.get("type") == "ExternalName":
            target = str(spec.get("externalName", "")).rstrip(".")
            return _Entry(signature, {(): (Answer("CNAME", target),)})
        addresses = rules.cluster_ips(service)
        if addresses:
            return _with_cluster_ip(full, addresses, spec.get("ports") or (), signature)
        return _headless(full, slices, signature)


def _with_cluster_ip(full: str, addresses: list[str], ports: Iterable[Object], signature: tuple[str, ...]) -> _Entry:
    own = tuple(Answer("A", address) for address in addresses)
    names: dict[Labels, tuple[Answer, ...]] = {}
    every: list[Answer] = []
    for port in ports:
        record = Answer("SRV", full, int(port["port"]), 100)
        every.append(record)
        if port.get("name"):
            _add_port(names, port, [record])
    names[()] = own + tuple(every)
    return _Entry(signature, names, dict.fromkeys(addresses, full))


def _headless(full: str, slices: list[Object], signature: tuple[str, ...]) -> _Entry:
    """Every ready endpoint by the service's name, and each by its own: its hostname or its address."""
    names: dict[Labels, tuple[Answer, ...]] = {}
    hosts: dict[str, list[str]] = defaultdict(list)
    by_port: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for host, address, ports in _ready_endpoints(slices):
        hosts[host] += [address] if address not in hosts[host] else []
        for port in ports:
            if port.get("port"):
                by_port[port.get("name") or "", port.get("protocol", "TCP"), int(port["port"])].add(host)
    if not hosts:
        return _Entry(signature, {})
    every: list[Answer] = []
    for (name, protocol, number), members in sorted(by_port.items()):
        weight = max(100 // len(members), 1)
        records = [Answer("SRV", f"{host}.{full}", number, weight) for host in sorted(members)]
        every += records
        if name:
            _add_port(names, {"name": name, "protocol": protocol}, records)
    for host, found in hosts.items():
        names[host,] = tuple(Answer("A", address) for address in found)
    addresses = [address for host in sorted(hosts) for address in hosts[host]]
    names[()] = tuple(Answer("A", a) for a in dict.fromkeys(addresses)) + tuple(every)
    return _Entry(signature, names, {a: f"{host}.{full}" for host in sorted(hosts) for a in hosts[host]})


def _ready_endpoints(slices: list[Object]) -> Iterable[tuple[str, str, list[Object]]]:
    """(host name, address, ports) of each ready endpoint."""
    for item in slices:
        for endpoint in item.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                for address in endpoint.get("addresses") or ():
                    host = (endpoint.get("hostname") or address.replace(".", "-")).lower()
                    yield host, address, item.get("ports") or []


def _add_port(names: dict[Labels, tuple[Answer, ...]], port: Object, records: list[Answer]) -> None:
    key = (f"_{port['name']}".lower(), f"_{port.get('protocol', 'TCP')}".lower())
    names[key] = names.get(key, ()) + tuple(records)
    names.setdefault((key[1],), ())


def _pod(dashed: str) -> tuple[Answer, ...] | None:
    try:
        return (Answer("A", str(ipaddress.IPv4Address(dashed.replace("-", ".")))),)
    except ValueError:
        return None


def _signature(service: Object, slices: list[Object]) -> tuple[str, ...]:
    return tuple(f"{o['metadata'].get('uid')}@{o['metadata'].get('resourceVersion')}" for o in (service, *slices))


def _by_service(slices: Iterable[Object]) -> dict[Key, list[Object]]:
    found: dict[Key, list[Object]] = defaultdict(list)
    for item in slices:
        meta = item["metadata"]
        service = (meta.get("labels") or {}).get(_SERVICE_NAME)
        if service and item.get("addressType", "IPv4") == "IPv4":
            found[meta["namespace"], service].append(item)
    return found
