"""Upstreams: which name servers are asked for names outside the cluster (pure, but for reading the host's files).

Those of the ConfigMap kube-dns in kube-system, in the format in which that name server's users know it: `stubDomains`,
a JSON object of domains to servers, and `upstreamNameservers`, a JSON list. Otherwise the host's own.

https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/
"""

import contextlib
import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.node.network import hostfiles
from sampan.node.network.dns import wire
from sampan.node.network.dns.wire import Labels

MAX_SERVERS = 3
_PORT = 53

Server = tuple[str, int]


class BadUpstreams(ValueError):
    """The configuration can't be used, and why."""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Servers for all names, and for those of some domains. No `servers`: the host's."""

    servers: tuple[Server, ...] = ()
    stubs: Mapping[Labels, tuple[Server, ...]] = field(default_factory=dict)

    def stub(self, labels: Labels) -> tuple[Server, ...]:
        """The servers of the longest of the domains that the name is in; none if there is no such."""
        for inner in range(len(labels)):
            found = self.stubs.get(labels[inner:])
            if found:
                return found
        return ()


def of_config_map(item: Mapping[str, Any] | None) -> Upstreams:
    """Raises BadUpstreams."""
    data = (item or {}).get("data") or {}
    domains = _json(data, "stubDomains", dict, {})
    stubs = {}
    for domain, servers in domains.items():
        try:
            labels = wire.labels(wire.encoded(domain.lower()))
        except ValueError as error:
            raise BadUpstreams(f"stubDomains: {error}") from error
        stubs[labels] = _servers(servers, f"stubDomains {domain}")
    return Upstreams(_servers(_json(data, "upstreamNameservers", list, []), "upstreamNameservers"), stubs)


class HostServers:
    """The host's name servers but for `own`, ourselves: as its file says now, which is only read when it has changed.

    `files` as `hostfiles.host_resolv_conf` takes them.
    """

    def __init__(self, own: Iterable[str], files: Sequence[str]) -> None:
        self._own, self._files = frozenset(own), files
        self._seen: list[tuple[int, int] | None] | None = None
        self._servers: tuple[Server, ...] = ()

    def now(self) -> tuple[Server, ...]:
        """At most three, as libc uses; a broken line is passed over."""
        seen = [_stamp(file) for file in self._files]
        if seen != self._seen:
            self._seen, self._servers = seen, self._read()
        return self._servers

    def _read(self) -> tuple[Server, ...]:
        found = []
        for text in hostfiles.parse_resolv_conf(hostfiles.host_resolv_conf(self._files)).nameservers:
            with contextlib.suppress(ValueError):
                found.append(server(text)[0])
        usable = dict.fromkeys(address for address in found if address not in self._own)
        return tuple((address, _PORT) for address in list(usable)[:MAX_SERVERS])


def server(text: str) -> Server:
    """(address, port) of "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353". Raises ValueError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    number = int(port or _PORT)
    if not 0 < number < 65536:
        raise ValueError(f"{number} is no port")
    return str(ipaddress.ip_address(host.partition("%")[0])) + host[len(host.partition("%")[0]) :], number


def _json(data: Mapping[str, str], key: str, type: type, default: Any) -> Any:
    text = data.get(key, "")
    if not text.strip():
        return default
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadUpstreams(f"{key} is no JSON: {error}") from error
    if not isinstance(found, type):
        raise BadUpstreams(f"{key} is not {'an object' if type is dict else 'a list'}")
    return found


def _servers(found: Any, where: str) -> tuple[Server, ...]:
    if not isinstance(found, list) or len(found) > MAX_SERVERS:
        raise BadUpstreams(f"{where}: at most {MAX_SERVERS} addresses in a list")
    try:
        return tuple(server(str(text)) for text in found)
    except ValueError as error:
        raise BadUpstreams(f"{where}: {error}") from error


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
