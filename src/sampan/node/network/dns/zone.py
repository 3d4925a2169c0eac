"""Zone: which names the cluster has, from Services, EndpointSlices and Namespaces (pure, but for keeping an index).

A change of one object costs nothing for the others: a service's names are made when one of them is asked for.
Everything that is told comes with what it depends on, so that answers can be kept until that changes.

https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

import ipaddress
import struct
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.node.network.dns import wire
from sampan.node.network.dns.wire import Labels

Object = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Key = tuple[str, str]
Host = tuple[Key, str]
"""A service, and what comes before its name in that of one of its endpoints."""

SERVER: Key = ("kube-system", "kube-dns")
"""The Service by which pods reach the name servers."""
_SERVICE_NAME = "kubernetes.io/service-name"
_VERSION = b"\x051.1.0"
_SRV = struct.Struct("!HHH")


@dataclass(frozen=True, slots=True)
class Record:
    """What a name has: a type, its data, and the name that these end with, if they do."""

    type: int
    data: bytes
    target: bytes = b""


Records = tuple[Record, ...]


@dataclass(slots=True)
class _Entry:
    """One service's names, relative to `<service>.<namespace>.svc`; those of its endpoints once one was asked for."""

    names: dict[Labels, Records]
    hosts: dict[Labels, Records] | None = None


@dataclass(slots=True)
class _Pointers:
    """What one address is called: as a service's own, and as that of endpoints with a host name."""

    services: dict[Host, int] = field(default_factory=lambda: defaultdict(int))
    endpoints: dict[Host, int] = field(default_factory=lambda: defaultdict(int))


class Zone:
    """The names of one cluster below its domain, and of the addresses in its networks."""

    def __init__(self, domain: str, networks: Iterable[str] = ()) -> None:
        self.domain = domain.rstrip(".").lower()
        self.name = wire.encoded(self.domain)
        self._suffix: Labels = tuple(self.domain.split("."))
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._services: dict[Key, Object] = {}
        self._slices: dict[Key, dict[str, Object]] = {}
        self._entries: dict[Key, _Entry] = {}
        self._namespaces: dict[str, int] = defaultdict(int)
        self._pointers: dict[str, _Pointers] = {}

    def change(self, plural: str, old: Object | None, new: Object | None) -> set[Hashable]:
        """Takes over a version of an object, of one of the three kinds; returns what has changed by it."""
        if plural == "endpointslices":
            return self._change_slice(old, new)
        if plural == "services":
            return self._change_service(old, new) | self._exists(_key(new or old or {})[0], old, new)
        return self._exists((new or old or {})["metadata"]["name"], old, new)

    def covers(self, labels: Labels) -> bool:
        """Whether the name belongs to the cluster's domain."""
        return labels[-len(self._suffix) :] == self._suffix

    def find(self, labels: Labels) -> tuple[Records | None, Hashable]:
        """What a name has that the zone covers, () when it exists without anything and None when it does not exist.

        And what that depends on.
        """
        match labels[: -len(self._suffix)]:
            case ():
                return (Record(wire.NS, b"", wire.encoded(f"ns.dns.{self.domain}")), self.authority), None
            case ("svc",) | ("pod",) | ("dns",):
                return (), None
            case ("ns", "dns"):
                return self._of_service((), SERVER), SERVER
            case ("dns-version",):
                return (Record(wire.TXT, _VERSION),), None
            case (str(namespace), "svc" | "pod"):
                return () if namespace in self._namespaces else None, namespace
            case (*inner, name, namespace, "svc"):
                return self._of_service(tuple(inner), (namespace, name)), (namespace, name)
            case (dashed, namespace, "pod"):
                return _pod(dashed) if namespace in self._namespaces else None, namespace
        return None, None

    def reverse(self, labels: Labels) -> tuple[Records | None, Hashable] | None:
        """The same for the name of an address; None when it is none of the cluster's."""
        address = _address_of(labels)
        if address is None:
            return None
        known = self._pointers.get(str(address))
        if known is not None:
            hosts = sorted(known.services or {host: 1 for host in known.endpoints if host[0] in self._services})
            if hosts:
                names = [wire.encoded(f"{prefix}{self._full(key)}") for key, prefix in hosts]
                return tuple(Record(wire.PTR, b"", name) for name in names), ("", str(address))
        if any(address in network for network in self._networks):
            return None, ("", str(address))
        return None

    @property
    def authority(self) -> Record:
        """Who answers for the zone. It isn't handed on to anybody, so that the serial says nothing."""
        names = wire.encoded(f"ns.dns.{self.domain}") + wire.encoded(f"hostmaster.{self.domain}")
        return Record(wire.SOA, names + struct.pack("!IIIII", 1, 7200, 1800, 86400, TTL))

    def _change_service(self, old: Object | None, new: Object | None) -> set[Hashable]:
        key = _key(new or old or {})
        self._entries.pop(key, None)
        if new is None:
            self._services.pop(key, None)
        else:
            self._services[key] = new
        gone = [(address, (key, "")) for address in _cluster_ips(old or {})]
        come = [(address, (key, "")) for address in _cluster_ips(new or {})]
        changed = {key, *self._point(gone, -1, "services"), *self._point(come, 1, "services")}
        if old is None or new is None:
            named = [pair for item in self._slices.get(key, {}).values() for pair in _named_addresses(key, item)]
            changed |= {("", address) for address, _ in named}
        return changed

    def _change_slice(self, old: Object | None, new: Object | None) -> set[Hashable]:
        changed: set[Hashable] = set()
        for item, by in ((old, -1), (new, 1)):
            key = _service_of(item) if item is not None else None
            if item is None or key is None:
                continue
            self._entries.pop(key, None)
            name = item["metadata"]["name"]
            if by > 0:
                self._slices.setdefault(key, {})[name] = item
            elif own := self._slices.get(key):
                own.pop(name, None)
                if not own:
                    del self._slices[key]
            changed.add(key)
            changed |= self._point(_named_addresses(key, item), by, "endpoints")
        return changed

    def _exists(self, namespace: str, old: Object | None, new: Object | None) -> set[Hashable]:
        """A namespace does if it is known or there is a service in it."""
        was = namespace in self._namespaces
        self._namespaces[namespace] += (new is not None) - (old is not None)
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]
        return {namespace} if was != (namespace in self._namespaces) else set()

    def _full(self, key: Key) -> str:
        return f"{key[1]}.{key[0]}.svc.{self.domain}"

    def _point(self, pairs: list[tuple[str, Host]], by: int, group: str) -> set[Hashable]:
        for address, host in pairs:
            pointers = self._pointers.setdefault(address, _Pointers())
            hosts = getattr(pointers, group)
            hosts[host] += by
            if hosts[host] <= 0:
                del hosts[host]
            if not pointers.services and not pointers.endpoints:
                del self._pointers[address]
        return {("", address) for address, _ in pairs}

    def _of_service(self, inner: Labels, key: Key) -> Records | None:
        service = self._services.get(key)
        if service is None:
            return None
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = self._entry(key, service)
        if inner in entry.names:
            return entry.names[inner]
        if entry.hosts is None:
            entry.hosts = {} if _is_external(service) else _hosts(self._endpoints(key))
        return entry.hosts.get(inner)

    def _entry(self, key: Key, service: Object) -> _Entry:
        spec = service.get("spec") or {}
        full = self._full(key)
        if _is_external(service):
            return _Entry(_alias(spec.get("externalName", "")))
        addresses = _cluster_ips(service)
        if addresses:
            return _Entry(_with_cluster_ip(wire.encoded(full), addresses, spec.get("ports") or ()))
        return _headless(full, list(self._endpoints(key)))

    def _endpoints(self, key: Key) -> Iterator["_Endpoint"]:
        """Each address of each ready endpoint."""
        for _, item in sorted(self._slices.get(key, {}).items()):
            ports = tuple(
                (str(port.get("name") or ""), str(port.get("protocol") or "TCP"), int(port["port"]))
                for port in item.get("ports") or ()
                if port.get("port")
            )
            for endpoint in filter(_is_ready, item.get("endpoints") or ()):
                for address in map(_parsed, endpoint.get("addresses") or ()):
                    if address is not None:
                        host = endpoint.get("hostname") or str(address).replace(".", "-").replace(":", "-")
                        yield _Endpoint(host.lower(), _record(address), ports)


TTL = 5
"""Seconds for which a client may remember an answer, also that there is none; CoreDNS' own default."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    host: str
    address: Record
    ports: tuple[tuple[str, str, int], ...]


def _alias(name: str) -> dict[Labels, Records]:
    """A name elsewhere. As upstream, an address or what can't be a name leaves the service without one."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        try:
            return {(): (Record(wire.CNAME, b"", wire.encoded(name)),)}
        except ValueError:
            return {}
    return {}


def _with_cluster_ip(full: bytes, addresses: list[str], ports: Iterable[Object]) -> dict[Labels, Records]:
    names: dict[Labels, Records] = {}
    every: list[Record] = []
    for port in ports:
        record = Record(wire.SRV, _SRV.pack(0, 100, int(port["port"])), full)
        every.append(record)
        _add_port(names, str(port.get("name") or ""), str(port.get("protocol") or "TCP"), [record])
    names[()] = (*(_record(address) for address in map(_parsed, addresses) if address is not None), *every)
    return names


def _headless(full: str, endpoints: list[_Endpoint]) -> _Entry:
    """Every ready endpoint by the service's name; without any the name does not exist, by the specification."""
    if not endpoints:
        return _Entry({})
    by_port: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for endpoint in endpoints:
        for port in endpoint.ports:
            by_port[port].add(endpoint.host)
    names: dict[Labels, Records] = {}
    every: list[Record] = []
    for (name, protocol, number), hosts in sorted(by_port.items()):
        weight = max(100 // len(hosts), 1)
        fixed = _SRV.pack(0, weight, number)
        records = [Record(wire.SRV, fixed, wire.encoded(f"{host}.{full}")) for host in sorted(hosts)]
        every += records
        _add_port(names, name, protocol, records)
    addresses = sorted({endpoint.address for endpoint in endpoints}, key=lambda record: (record.type, record.data))
    names[()] = (*addresses, *every)
    return _Entry(names)


def _hosts(endpoints: Iterable[_Endpoint]) -> dict[Labels, Records]:
    """Each endpoint by its own name: its host name or its address."""
    found: dict[Labels, dict[Record, None]] = defaultdict(dict)
    for endpoint in endpoints:
        found[endpoint.host,][endpoint.address] = None
    return {host: tuple(records) for host, records in found.items()}


def _add_port(names: dict[Labels, Records], name: str, protocol: str, records: list[Record]) -> None:
    """`_name._protocol`, and what is between it and the service, which exists then."""
    if name:
        key = (f"_{name}".lower(), f"_{protocol}".lower())
        names[key] = (*names.get(key, ()), *records)
        names.setdefault((key[1],), ())


def _pod(dashed: str) -> Records | None:
    """The address that is a pod's name, written with dashes."""
    is_ipv4 = dashed.count("-") == 3 and "--" not in dashed
    address = _parsed(dashed.replace("-", "." if is_ipv4 else ":"))
    return None if address is None else (_record(address),)


def _parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _record(address: Address) -> Record:
    return Record(wire.A if address.version == 4 else wire.AAAA, address.packed)


def _address_of(labels: Labels) -> Address | None:
    """The address that a name such as 1.0.96.10.in-addr.arpa stands for."""
    try:
        if labels[-2:] == ("in-addr", "arpa") and len(labels) == 6:
            return ipaddress.IPv4Address(".".join(reversed(labels[:4])))
        if labels[-2:] == ("ip6", "arpa") and len(labels) == 34 and all(len(label) == 1 for label in labels[:32]):
            return ipaddress.IPv6Address(bytes.fromhex("".join(reversed(labels[:32]))))
    except ValueError:
        return None
    return None


def _cluster_ips(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    found = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    return [_canonical(address) for address in found if address not in ("None", "")]


def _canonical(address: str) -> str:
    return str(_parsed(address) or address) if ":" in address else address


def _named_addresses(key: Key, item: Object) -> list[tuple[str, Host]]:
    """The addresses that are called by a host name."""
    return [
        (_canonical(address), (key, f"{endpoint['hostname'].lower()}."))
        for endpoint in item.get("endpoints") or ()
        if endpoint.get("hostname") and _is_ready(endpoint)
        for address in endpoint.get("addresses") or ()
    ]


def _is_external(service: Object) -> bool:
    return bool((service.get("spec") or {}).get("type") == "ExternalName")


def _is_ready(endpoint: Object) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _key(item: Object) -> Key:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _service_of(item: Object) -> Key | None:
    name = (item["metadata"].get("labels") or {}).get(_SERVICE_NAME)
    is_addresses = item.get("addressType", "IPv4") in ("IPv4", "IPv6")
    return (item["metadata"]["namespace"], name) if name and is_addresses else None
