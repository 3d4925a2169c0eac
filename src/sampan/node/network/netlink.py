"""Netlink: the few requests to the kernel that links, addresses, neighbours and routes need.

One request, one answer: the kernel acknowledges or says why not. A socket belongs to the network namespace
that its thread was in when it was opened.

https://man7.org/linux/man-pages/man7/rtnetlink.7.html
"""

import os
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _NEW_ROUTE, _NEW_NEIGHBOUR = 16, 17, 20, 24, 28
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_ERROR = 2
_UP = 1
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU, _LINK_INFO, _LINK_NAMESPACE = 1, 3, 4, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_ADDRESS, _LOCAL = 1, 2
_NEIGHBOUR_IP, _NEIGHBOUR_MAC, _PERMANENT = 1, 2, 0x80
_ROUTE_TO, _ROUTE_LINK, _ROUTE_GATEWAY, _ROUTE_PRIORITY, _ROUTE_SOURCE = 1, 4, 5, 6, 7
_MAIN_TABLE, _STATIC, _UNICAST, _SCOPE_GLOBAL, _SCOPE_LINK, _ON_LINK = 254, 4, 1, 0, 253, 4
_NEST = 0x8000
_TIMEOUT_SECONDS = 30
_ANSWER_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Link:
    """A link to be made. `kind` is bridge or veth; `namespace` the descriptor of where its end goes, here if none."""

    name: str
    kind: str
    mac: str
    mtu: int
    namespace: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """To a network (`0.0.0.0/0` for all) by a link: over a gateway, which counts as there, or directly."""

    to: str
    index: int
    gateway: str = ""
    source: str = ""
    priority: int = 0


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

    def set_up(self, index: int) -> None:
        """Lets the link carry packets."""
        self._ask(_NEW_LINK, 0, _link_header(index, _UP, _UP))

    def delete_link(self, index: int) -> None:
        """Removes the link; a veth's other end, addresses and routes go with it."""
        self._ask(_DEL_LINK, 0, _link_header(index))

    def set_address(self, index: int, address: str, prefix_length: int) -> None:
        """The link has this address."""
        packed = socket.inet_aton(address)
        header = struct.pack("BBBBI", socket.AF_INET, prefix_length, 0, _SCOPE_GLOBAL, index)
        body = header + _attribute(_LOCAL, packed) + _attribute(_ADDRESS, packed)
        self._ask(_NEW_ADDRESS, _CREATE | _REPLACE, body)

    def set_neighbour(self, index: int, address: str, mac: str) -> None:
        """At the link, this address is found at this hardware address for good."""
        header = struct.pack("BxHiHBB", socket.AF_INET, 0, index, _PERMANENT, 0, 0)
        body = header + _attribute(_NEIGHBOUR_IP, socket.inet_aton(address)) + _attribute(_NEIGHBOUR_MAC, _mac(mac))
        self._ask(_NEW_NEIGHBOUR, _CREATE | _REPLACE, body)

    def set_route(self, route: Route) -> None:
        """Packets go this way."""
        to, _, length = route.to.partition("/")
        scope, flags = (_SCOPE_GLOBAL, _ON_LINK) if route.gateway else (_SCOPE_LINK, 0)
        kinds = (_MAIN_TABLE, _STATIC, scope, _UNICAST)
        body = struct.pack("BBBBBBBBI", socket.AF_INET, int(length), 0, 0, *kinds, flags)
        if int(length):
            body += _attribute(_ROUTE_TO, socket.inet_aton(to))
        body += _attribute(_ROUTE_LINK, struct.pack("I", route.index))
        if route.gateway:
            body += _attribute(_ROUTE_GATEWAY, socket.inet_aton(route.gateway))
        if route.source:
            body += _attribute(_ROUTE_SOURCE, socket.inet_aton(route.source))
        if route.priority:
            body += _attribute(_ROUTE_PRIORITY, struct.pack("I", route.priority))
        self._ask(_NEW_ROUTE, _CREATE | _REPLACE, body)

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


def _link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def _link_attributes(link: Link) -> bytes:
    found = _text(_LINK_NAME, link.name) + _attribute(_LINK_ADDRESS, _mac(link.mac))
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
