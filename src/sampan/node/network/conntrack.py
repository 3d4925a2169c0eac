"""Conntrack: has the kernel forget connections that it tracks.

https://docs.kernel.org/networking/netfilter/ ; attributes as in linux/netfilter/nfnetlink_conntrack.h
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

from sampan.node.network.services.flows import Flow, Stale

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_ORIGINAL, _REPLY, _ID, _ZONE = 1, 2, 12, 18
_IP, _PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3
_NEST_MASK = 0x3FFF
_TIMEOUT_SECONDS = 30
_BUFFER_BYTES = 1 << 18
_NETFILTER = 12


def forget(stale: Stale) -> int:
    """Forgets such connections in the calling thread's network namespace; how many there were. OSError."""
    families = {family for family, _ in stale.ports} | {6 if ":" in address else 4 for address, _ in stale.addresses}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER) as kernel:
        kernel.settimeout(_TIMEOUT_SECONDS)
        kernel.bind((0, 0))
        found = [
            (family, name)
            for family in sorted(families)
            for flow, name in _datagram_flows(kernel, socket.AF_INET6 if family == 6 else socket.AF_INET)
            if stale.has(flow)
        ]
        for family, name in found:
            _delete(kernel, socket.AF_INET6 if family == 6 else socket.AF_INET, name)
    return len(found)


def _datagram_flows(kernel: socket.socket, family: int) -> list[tuple[Flow, bytes]]:
    """All flows of datagrams, each with the attributes by which it is named."""
    kernel.send(_message(_GET, _REQUEST | _DUMP, family, b""))
    found: list[tuple[Flow, bytes]] = []
    while True:
        answer = memoryview(kernel.recv(_BUFFER_BYTES))
        for kind, body in _messages(answer):
            if kind == _DONE:
                return found
            if kind == _ERROR:
                number = -struct.unpack_from("i", body)[0]
                raise OSError(number, os.strerror(number))
            flow = _flow(body[4:], family)
            if flow is not None:
                found.append(flow)


def _flow(body: memoryview, family: int) -> tuple[Flow, bytes] | None:
    parts = dict(_attributes(body))
    original, reply = parts.get(_ORIGINAL), parts.get(_REPLY)
    if original is None or reply is None:
        return None
    there, back = dict(_attributes(original)), dict(_attributes(reply))
    ports = dict(_attributes(there[_PROTOCOL]))
    if ports[_NUMBER][0] != socket.IPPROTO_UDP:
        return None
    name = b"".join(_attribute(kind, bytes(parts[kind])) for kind in (_ORIGINAL, _ID, _ZONE) if kind in parts)
    source, target = (1, 2) if family == socket.AF_INET else (3, 4)
    sent_to = _address(there, target, family), _port(ports, _TARGET_PORT)
    answered_by = _address(back, source, family), _port(dict(_attributes(back[_PROTOCOL])), _SOURCE_PORT)
    return Flow(sent_to, answered_by), name


def _address(half: dict[int, memoryview], which: int, family: int) -> str:
    return socket.inet_ntop(family, dict(_attributes(half[_IP]))[which])


def _port(ports: dict[int, memoryview], which: int) -> int:
    return int.from_bytes(ports[which], "big")


def _delete(kernel: socket.socket, family: int, name: bytes) -> None:
    """One that has ended meanwhile is no error."""
    kernel.send(_message(_DELETE, _REQUEST | _ACK, family, name))
    for kind, body in _messages(memoryview(kernel.recv(_BUFFER_BYTES))):
        number = -struct.unpack_from("i", body)[0] if kind == _ERROR else 0
        if number not in (0, errno.ENOENT):
            raise OSError(number, os.strerror(number))


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    return struct.pack("IHHIIBBH", 20 + len(body), kind, flags, 1, 0, family, 0, 0) + body


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    offset = 0
    while offset < len(data):
        length, kind = struct.unpack_from("IH", data, offset)
        yield kind, data[offset + 16 : offset + length]
        offset += length + 3 & ~3


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    offset = 0
    while offset < len(data):
        length, kind = struct.unpack_from("HH", data, offset)
        yield kind & _NEST_MASK, data[offset + 4 : offset + length]
        offset += length + 3 & ~3


def _attribute(kind: int, data: bytes) -> bytes:
    nest = 0x8000 if kind == _ORIGINAL else 0
    return struct.pack("HH", 4 + len(data), kind | nest) + data + bytes(-len(data) % 4)
