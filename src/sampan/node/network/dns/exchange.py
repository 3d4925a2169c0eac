"""Exchange: one question to one name server, by UDP, and by TCP when that says there is more.

An answer must come from the server's address to a port of our own, under an id that can't be guessed, and repeat the
question in the mixture of cases in which it was put: https://datatracker.ietf.org/doc/html/draft-vixie-dnsext-dns0x20
"""

import asyncio
import secrets
import struct
from typing import cast

from sampan.node.network.dns import wire
from sampan.node.network.dns.upstreams import Server
from sampan.node.network.dns.wire import Question

_RD = 0x0100
_TRUNCATED = 0x02


async def ask(server: Server, packet: bytes) -> bytes:
    """The server's answer. Raises OSError when it has none; bound the time from outside."""
    found = await _by_udp(server, packet)
    if text(found) == text(packet) and not found[2] & _TRUNCATED:
        return found
    try:
        return await _by_tcp(server, packet)
    except (OSError, asyncio.IncompleteReadError):
        return found  # what there is of it: some servers don't speak TCP, or change the case


def packet(asked: Question) -> bytes:
    """The question under a new id and with letters of random case."""
    mask = secrets.token_bytes(len(asked.name))
    name = bytes(
        byte ^ (0x20 & chance) if 97 <= byte <= 122 else byte for byte, chance in zip(asked.name, mask, strict=True)
    )
    flags = _RD | (asked.bits & wire.CD) << 3
    header = secrets.token_bytes(2) + struct.pack("!HHHHH", flags, 1, 0, 0, 1)
    return header + name + asked.key[-4:] + wire.opt(asked.wants_dnssec)


def text(packet: bytes) -> bytes:
    """The question section of a packet of ours, or of what answers it."""
    return packet[wire.HEADER : wire.plain_name_end(packet, wire.HEADER) + 4]


class _Asking(asyncio.DatagramProtocol):
    """One question on a socket of its own; what doesn't answer it is dropped."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(self._packet)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done() and _answers(self._packet, data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _by_udp(server: Server, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, asking = await loop.create_datagram_endpoint(lambda: _Asking(packet), remote_addr=server)
    try:
        return await asking.answer
    finally:
        transport.close()


async def _by_tcp(server: Server, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(packet)) + packet)
        answer = await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
    finally:
        writer.close()
    if not _answers(packet, answer):
        raise OSError("the answer is to another question")
    return answer


def _answers(packet: bytes, answer: bytes) -> bool:
    """Whether it has the same id, is marked as an answer, and repeats the question."""
    if len(answer) < wire.HEADER or answer[:2] != packet[:2] or not answer[2] & 0x80:
        return False
    end = wire.HEADER + len(text(packet))
    is_same = answer[wire.HEADER : end - 4].lower() == packet[wire.HEADER : end - 4].lower()
    return is_same and answer[end - 4 : end] == packet[end - 4 : end]
