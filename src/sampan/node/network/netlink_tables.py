"""Netlink tables: what the kernel has of links, routes, neighbours and nftables, so that what is not wanted can be found.

https://man7.org/linux/man-pages/man7/rtnetlink.7.html ; linux/netfilter/nf_tables.h
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sampan.node.network.netlink import Route

_GET_LINK, _GET_ADDRESS, _GET_ROUTE, _GET_NEIGHBOUR = 18, 22, 26, 30
_NETFILTER, _GET_RULE_TABLE, _RULE_TABLE_HEADER, _RULE_TABLE_NAME = 12, 10 << 8 | 1, 4, 1
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _STRICT = 270, 12
_ANSWER_BYTES = 1 << 17
_TIMEOUT_SECONDS = 30
_TRIES = 10
_HEADER, _LINK_HEADER, _ADDRESS_HEADER, _ROUTE_HEADER, _NEIGHBOUR_HEADER = 16, 16, 8, 12, 12
_ADDRESS, _LOCAL = 1, 2
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU = 1, 3, 4
_ROUTE_TO, _ROUTE_LINK, _ROUTE_GATEWAY, _ROUTE_PRIORITY, _ROUTE_SOURCE = 1, 4, 5, 6, 7
_NEIGHBOUR_IP, _NEIGHBOUR_MAC = 1, 2
_PERMANENT, _OWN_TABLE, _AF_BRIDGE, _MAIN_TABLE = 0x80, 0x2, 7, 254


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as it is."""

    index: int
    name: str
    mac: str
    mtu: int


def links() -> dict[str, LinkState]:
    """Every link of the calling thread's namespace, by name."""
    found = {}
    for message in _dump(_GET_LINK, struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)):
        index = struct.unpack_from("i", message, 4)[0]
        known = _attributes(message[_LINK_HEADER:])
        name = known[_LINK_NAME].rstrip(b"\0").decode()
        mtu = struct.unpack("I", known[_LINK_MTU])[0]
        found[name] = LinkState(index, name, known.get(_LINK_ADDRESS, b"").hex(":"), mtu)
    return found


def addresses() -> dict[str, str]:
    """Every address of the namespace, and the link that has it."""
    names = {link.index: link.name for link in links().values()}
    found = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in _dump(_GET_ADDRESS, struct.pack("BBBBI", family, 0, 0, 0, 0)):
            known = _attributes(message[_ADDRESS_HEADER:])
            index = struct.unpack_from("I", message, 4)[0]
            found[_address(known.get(_LOCAL, known.get(_ADDRESS, b"")))] = names.get(index, "")
    return found


def routes(protocol: int) -> set[Route]:
    """The routes of the main tables that somebody has marked as his by this number."""
    found = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in _dump(_GET_ROUTE, struct.pack("BBBBBBBBI", family, 0, 0, 0, _MAIN_TABLE, protocol, 0, 0, 0)):
            length, whose = message[1], message[5]
            known = _attributes(message[_ROUTE_HEADER:])
            if whose != protocol or _ROUTE_TO not in known or _ROUTE_LINK not in known:
                continue
            number = struct.unpack("I", known[_ROUTE_LINK])[0]
            texts = [_address(known.get(type, b"")) for type in (_ROUTE_TO, _ROUTE_GATEWAY, _ROUTE_SOURCE)]
            priority = struct.unpack("I", known.get(_ROUTE_PRIORITY, bytes(4)))[0]
            found.add(Route(f"{texts[0]}/{length}", number, texts[1], texts[2], priority, protocol))
    return found


def neighbours(index: int) -> set[tuple[str, str]]:
    """The lasting ones at a link: address and hardware address."""
    found = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for state, _, known in _neighbours(family, index):
            if state & _PERMANENT and _NEIGHBOUR_MAC in known:
                found.add((_address(known[_NEIGHBOUR_IP]), known[_NEIGHBOUR_MAC].hex(":")))
    return found


def tunnel_ends(index: int) -> set[tuple[str, str]]:
    """A tunnel's table: hardware address, and the machine behind which it is."""
    found = set()
    for _, flags, known in _neighbours(_AF_BRIDGE, index):
        if flags & _OWN_TABLE and _NEIGHBOUR_IP in known:
            found.add((known[_NEIGHBOUR_MAC].hex(":"), _address(known[_NEIGHBOUR_IP])))
    return found


def rule_tables() -> set[tuple[int, str]]:
    """The nftables tables of the calling thread's namespace: the number of the family, and the name. OSError."""
    found = set()
    for message in _dump(_GET_RULE_TABLE, struct.pack("BBH", socket.AF_UNSPEC, 0, 0), _NETFILTER):
        known = _attributes(message[_RULE_TABLE_HEADER:])
        found.add((message[0], known[_RULE_TABLE_NAME].rstrip(b"\0").decode(errors="replace")))
    return found


def _neighbours(family: int, index: int) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    """State, flags and attributes of those at the link."""
    for message in _dump(_GET_NEIGHBOUR, struct.pack("BxHiHBB", family, 0, 0, 0, 0, 0)):
        number, state, flags = struct.unpack_from("iHB", message, 4)
        if number == index:
            yield state, flags, _attributes(message[_NEIGHBOUR_HEADER:])


def _dump(type: int, body: bytes, protocol: int = socket.NETLINK_ROUTE) -> list[bytes]:
    """The bodies of all messages. A table that changed meanwhile is read again."""
    for _ in range(_TRIES):
        found, is_whole = _dump_once(type, body, protocol)
        if is_whole:
            return found
    raise OSError(errno.EINTR, "the kernel's tables change all the time")


def _dump_once(type: int, body: bytes, protocol: int) -> tuple[list[bytes], bool]:
    found: list[bytes] = []
    is_whole = True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as kernel:
        kernel.settimeout(_TIMEOUT_SECONDS)
        kernel.setsockopt(_SOL_NETLINK, _STRICT, 1)
        kernel.send(struct.pack("IHHII", _HEADER + len(body), type, _REQUEST | _DUMP, 1, 0) + body)
        while True:
            answer, position = kernel.recv(_ANSWER_BYTES), 0
            while position + _HEADER <= len(answer):
                length, kind, flags = struct.unpack_from("IHH", answer, position)
                is_whole = is_whole and not flags & _INTERRUPTED
                content = answer[position + _HEADER : position + length]
                if kind == _DONE:
                    return found, is_whole
                if kind == _ERROR:
                    number = -struct.unpack_from("i", content)[0]
                    raise OSError(number, os.strerror(number))
                found.append(content)
                position += -(-length // 4) * 4


def _attributes(data: bytes) -> dict[int, bytes]:
    """By type; of several of one type the last."""
    found, position = {}, 0
    while position + 4 <= len(data):
        length, type = struct.unpack_from("HH", data, position)
        if length < 4:
            break
        found[type & 0x3FFF] = data[position + 4 : position + length]
        position += -(-length // 4) * 4
    return found


def _address(packed: bytes) -> str:
    families = {4: socket.AF_INET, 16: socket.AF_INET6}
    return socket.inet_ntop(families[len(packed)], packed) if len(packed) in families else ""
