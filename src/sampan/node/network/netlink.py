"""Netlink: the few requests to the kernel that links, addresses, neighbours and routes need.

One request, one answer: the kernel acknowledges or says why not. A socket belongs to the network namespace
that its thread was in when it was opened.

https://man7.org/linux/man-pages/man7/rtnetlink.7.html
"""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _NEW_ROUTE, _NEW_NEIGHBOUR = 16, 17, 20, 24, 28
_DEL_ADDRESS, _DEL_ROUTE, _DEL_NEIGHBOUR = 21, 25, 29
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_ERROR = 2
_UP = 1
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU, _LINK_MASTER, _LINK_INFO, _LINK_NAMESPACE = 1, 3, 4, 10, 18, 28
_LINK_BY_FAMILY, _IPV4_SETTINGS = 26, 1
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_ADDRESS, _LOCAL = 1, 2
_NEW_QDISC, _ROOT, _QDISC_KIND, _QDISC_OPTIONS = 36, 0xFFFFFFFF, 1, 2
_BUCKET, _BUCKET_RATE64, _BUCKET_BURST = 1, 4, 6
_LARGEST_RATE32 = 0xFFFFFFFF
_WITHOUT_PROBING = 0x2
_NEIGHBOUR_IP, _NEIGHBOUR_MAC, _PERMANENT, _NO_ARP, _OWN_TABLE = 1, 2, 0x80, 0x40, 0x2
_TUNNEL_ID, _TUNNEL_LOCAL, _TUNNEL_LEARNING, _TUNNEL_PORT, _TUNNEL_LOCAL6 = 1, 4, 7, 15, 17
_ROUTE_TO, _ROUTE_LINK, _ROUTE_GATEWAY, _ROUTE_PRIORITY, _ROUTE_SOURCE = 1, 4, 5, 6, 7
_MAIN_TABLE, _UNICAST, _SCOPE_GLOBAL, _SCOPE_LINK, _ON_LINK = 254, 1, 0, 253, 4
STATIC = 4
FORWARDING, ACCEPT_REDIRECTS, RP_FILTER, ROUTE_LOCALNET = 1, 4, 8, 26
NO_SETTINGS: Mapping[int, int] = {}
_NEST = 0x8000
_AF_BRIDGE = 7
_TIMEOUT_SECONDS = 30
_ANSWER_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Link:
    """A link to be made. `kind` is bridge, ifb or veth; `namespace` the descriptor of where its end goes, here if none.

    Without a `mac` the kernel chooses one.
    """

    name: str
    kind: str
    mac: str
    mtu: int
    namespace: int | None = None


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A VXLAN link to be made, which ends at the address `local` of this machine, and learns nothing by itself."""

    link: Link
    id: int
    local: str
    port: int


@dataclass(frozen=True, slots=True)
class Route:
    """To a network (`0.0.0.0/0` for all) by a link: over a gateway, which counts as there, or directly.

    Without a link (0) the gateway says which one it is. `protocol` tells later whose route it is.
    """

    to: str
    index: int
    gateway: str = ""
    source: str = ""
    priority: int = 0
    protocol: int = STATIC


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """A pace in bytes a second; so much may go at once, and so much may wait at most."""

    rate_bytes: int
    burst_bytes: int
    limit_bytes: int


class Netlink:
    """A socket to the kernel's routing. Every call blocks until it is done; OSError says why it was refused."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def add_link(self, link: Link, peer: Link | None = None) -> None:
        """Makes a link; a veth with its other end."""
        info = _text(_INFO_KIND, link.kind)
        if peer is not None:
            info += _nested(_INFO_DATA, _nested(_VETH_PEER, _link_header() + _link_attributes(peer)))
        body = _link_header() + _link_attributes(link) + _nested(_LINK_INFO, info)
        self._ask(_NEW_LINK, _CREATE | _EXCLUSIVE, body)

    def set_up(self, index: int, settings: Mapping[int, int] = NO_SETTINGS) -> None:
        """Lets the link carry packets, with settings as in net.ipv4.conf.

        By files, they cost more the more namespaces there are, and wait for other changes by trying again and again.
        """
        header = _link_header(index, _UP, _UP)
        found = b"".join(_attribute(number, struct.pack("I", value)) for number, value in settings.items())
        own = _nested(_LINK_BY_FAMILY, _nested(socket.AF_INET, _nested(_IPV4_SETTINGS, found))) if found else b""
        self._ask(_NEW_LINK, 0, header + own)

    def set_master(self, index: int, bridge: int) -> None:
        """The link is a port of the bridge."""
        self._ask(_NEW_LINK, 0, _link_header(index) + _attribute(_LINK_MASTER, struct.pack("I", bridge)))

    def delete_link(self, index: int) -> None:
        """Removes the link; a veth's other end, addresses and routes go with it."""
        self._ask(_DEL_LINK, 0, _link_header(index))

    def set_mtu(self, index: int, mtu: int) -> None:
        """The link carries packets up to this size."""
        self._ask(_NEW_LINK, 0, _link_header(index) + _attribute(_LINK_MTU, struct.pack("I", mtu)))

    def set_token_bucket(self, index: int, bucket: TokenBucket) -> None:
        """What leaves by the link does so at this pace, in place of whatever ruled that before."""
        rate = struct.pack("BBHhHI", 0, 1, 0, -1, 0, min(bucket.rate_bytes, _LARGEST_RATE32))
        options = _attribute(_BUCKET, rate + bytes(12) + struct.pack("III", bucket.limit_bytes, 0, 0))
        options += _attribute(_BUCKET_BURST, struct.pack("I", bucket.burst_bytes))
        if bucket.rate_bytes >= _LARGEST_RATE32:
            options += _attribute(_BUCKET_RATE64, struct.pack("Q", bucket.rate_bytes))
        header = struct.pack("BxxxiIII", socket.AF_UNSPEC, index, 0, _ROOT, 0)
        body = header + _text(_QDISC_KIND, "tbf") + _nested(_QDISC_OPTIONS, options)
        self._ask(_NEW_QDISC, _CREATE | _REPLACE, body)

    def set_address(self, index: int, address: str, prefix_length: int) -> None:
        """The link has this address, without asking others first whether they have it."""
        self._ask(_NEW_ADDRESS, _CREATE | _REPLACE, _own_address(index, address, prefix_length))

    def delete_address(self, index: int, address: str, prefix_length: int) -> None:
        """It doesn't any more."""
        self._ask(_DEL_ADDRESS, 0, _own_address(index, address, prefix_length))

    def set_neighbour(self, index: int, address: str, mac: str) -> None:
        """At the link, this address is found at this hardware address for good."""
        self._ask(
            _NEW_NEIGHBOUR, _CREATE | _REPLACE, _neighbour(index, address) + _attribute(_NEIGHBOUR_MAC, _mac(mac))
        )

    def delete_neighbour(self, index: int, address: str) -> None:
        """The opposite."""
        self._ask(_DEL_NEIGHBOUR, 0, _neighbour(index, address))

    def add_tunnel(self, tunnel: Tunnel) -> None:
        """Makes a VXLAN link."""
        local = _TUNNEL_LOCAL6 if _family(tunnel.local) == socket.AF_INET6 else _TUNNEL_LOCAL
        data = _attribute(_TUNNEL_ID, struct.pack("I", tunnel.id)) + _attribute(local, _packed(tunnel.local))
        data += _attribute(_TUNNEL_LEARNING, b"\0") + _attribute(_TUNNEL_PORT, struct.pack("!H", tunnel.port))
        info = _nested(_LINK_INFO, _text(_INFO_KIND, "vxlan") + _nested(_INFO_DATA, data))
        self._ask(_NEW_LINK, _CREATE | _EXCLUSIVE, _link_header() + _link_attributes(tunnel.link) + info)

    def set_tunnel_end(self, index: int, mac: str, address: str) -> None:
        """By the tunnel, this hardware address is reached at that machine."""
        self._ask(_NEW_NEIGHBOUR, _CREATE | _REPLACE, _tunnel_end(index, mac, address))

    def delete_tunnel_end(self, index: int, mac: str, address: str) -> None:
        """The opposite."""
        self._ask(_DEL_NEIGHBOUR, 0, _tunnel_end(index, mac, address))

    def set_route(self, route: Route) -> None:
        """Packets go this way."""
        self._ask(_NEW_ROUTE, _CREATE | _REPLACE, _route(route))

    def delete_route(self, route: Route) -> None:
        """They don't any more."""
        self._ask(_DEL_ROUTE, 0, _route(route))

    def _ask(self, type: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = struct.pack("IHHII", 16 + len(body), type, _REQUEST | _ACK | flags, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            answer = self._socket.recv(_ANSWER_BYTES)
            kind, sequence = struct.unpack_from("HxxI", answer, 4)
            if kind == _ERROR and sequence == self._sequence:
                number = -struct.unpack_from("i", answer, 16)[0]
                if number:
                    raise OSError(number, os.strerror(number))
                return


def index_of(name: str) -> int | None:
    """The link's number in the calling thread's namespace; None if there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _route(route: Route) -> bytes:
    to, _, length = route.to.partition("/")
    family = _family(to)
    scope = _SCOPE_GLOBAL if route.gateway or family == socket.AF_INET6 else _SCOPE_LINK
    flags = _ON_LINK if route.gateway and route.index else 0
    kinds = (_MAIN_TABLE, route.protocol, scope, _UNICAST)
    body = struct.pack("BBBBBBBBI", family, int(length), 0, 0, *kinds, flags)
    if int(length):
        body += _attribute(_ROUTE_TO, _packed(to))
    if route.index:
        body += _attribute(_ROUTE_LINK, struct.pack("I", route.index))
    if route.gateway:
        body += _attribute(_ROUTE_GATEWAY, _packed(route.gateway))
    if route.source:
        body += _attribute(_ROUTE_SOURCE, _packed(route.source))
    if route.priority:
        body += _attribute(_ROUTE_PRIORITY, struct.pack("I", route.priority))
    return body


def _own_address(index: int, address: str, prefix_length: int) -> bytes:
    packed, family = _packed(address), _family(address)
    flags = _WITHOUT_PROBING if family == socket.AF_INET6 else 0
    header = struct.pack("BBBBI", family, prefix_length, flags, _SCOPE_GLOBAL, index)
    return header + _attribute(_LOCAL, packed) + _attribute(_ADDRESS, packed)


def _neighbour(index: int, address: str) -> bytes:
    header = struct.pack("BxHiHBB", _family(address), 0, index, _PERMANENT, 0, 0)
    return header + _attribute(_NEIGHBOUR_IP, _packed(address))


def _tunnel_end(index: int, mac: str, address: str) -> bytes:
    """An entry of the tunnel's own table, which says behind which machine a hardware address is."""
    header = struct.pack("BxHiHBB", _AF_BRIDGE, 0, index, _PERMANENT | _NO_ARP, _OWN_TABLE, 0)
    return header + _attribute(_NEIGHBOUR_IP, _packed(address)) + _attribute(_NEIGHBOUR_MAC, _mac(mac))


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _packed(address: str) -> bytes:
    return socket.inet_pton(_family(address), address)


def _link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def _link_attributes(link: Link) -> bytes:
    found = _text(_LINK_NAME, link.name)
    found += _attribute(_LINK_ADDRESS, _mac(link.mac)) if link.mac else b""
    found += _attribute(_LINK_MTU, struct.pack("I", link.mtu))
    if link.namespace is not None:
        found += _attribute(_LINK_NAMESPACE, struct.pack("I", link.namespace))
    return found


def _attribute(type: int, data: bytes) -> bytes:
    """Length, type, data, padded to four bytes."""
    return struct.pack("HH", 4 + len(data), type) + data + bytes(-len(data) % 4)


def _nested(type: int, data: bytes) -> bytes:
    return _attribute(type | _NEST, data)


def _text(type: int, text: str) -> bytes:
    return _attribute(type, text.encode() + b"\0")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
