"""Forwarding: names outside the cluster, asked of the host's own name servers.

Packets are passed on as they are, under an id and from a port of our own, so that answers are hard
to forge. Slow servers hold up nobody: questions in flight are bounded, answers are kept for a while.
"""

import asyncio
import ipaddress
import secrets
import struct
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import cast

_TIMEOUT_SECONDS = 2.0
_MAX_IN_FLIGHT = 256
_MAX_KEPT = 2000
_KEPT_SECONDS = 10.0


def upstreams_of(resolv_conf: Path, *, skip: Iterable[str] = ()) -> tuple[str, ...]:
    """The IPv4 name servers of a resolv.conf, without `skip` (ourselves): at most three, as libc uses."""
    try:
        lines = resolv_conf.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = (line.split() for line in lines)
    found = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and _is_ipv4(w[1])]
    return tuple(dict.fromkeys(server for server in found if server not in set(skip)))[:3]


class Forwarder:
    """Asks upstream servers ("192.0.2.53" or "192.0.2.53:5353") in order until one answers."""

    def __init__(self, upstreams: Iterable[str]) -> None:
        self._upstreams = [_address(upstream) for upstream in upstreams]
        self._in_flight = 0
        self._kept: OrderedDict[tuple[bytes, bool], tuple[float, bytes]] = OrderedDict()

    async def ask(self, packet: bytes, *, tcp: bool = False) -> bytes | None:
        """The answer under the question's id, or None when nobody answered in time."""
        now = asyncio.get_running_loop().time()
        key = (packet[2:].lower(), tcp)
        kept = self._kept.get(key)
        if kept is not None and kept[0] > now:
            return packet[:2] + kept[1]
        if self._in_flight >= _MAX_IN_FLIGHT:
            return None
        self._in_flight += 1
        try:
            answer = await self._ask_all(packet, tcp)
        finally:
            self._in_flight -= 1
        if answer is not None and answer[3] & 0x0F in (0, 3):
            self._keep(key, now + _KEPT_SECONDS, answer[2:])
        return answer

    async def _ask_all(self, packet: bytes, tcp: bool) -> bytes | None:
        for upstream in self._upstreams:
            identity = secrets.token_bytes(2)
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    answer = await (_ask_tcp if tcp else _ask_udp)(upstream, identity + packet[2:])
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            return packet[:2] + answer[2:]
        return None

    def _keep(self, key: tuple[bytes, bool], until: float, answer: bytes) -> None:
        self._kept[key] = (until, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)


class _Question(asyncio.DatagramProtocol):
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


async def _ask_udp(upstream: tuple[str, int], packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, question = await loop.create_datagram_endpoint(lambda: _Question(packet), remote_addr=upstream)
    try:
        return await question.answer
    finally:
        transport.close()


async def _ask_tcp(upstream: tuple[str, int], packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        writer.write(struct.pack("!H", len(packet)) + packet)
        answer = await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
    finally:
        writer.close()
    if not _answers(packet, answer):
        raise OSError("the answer is to another question")
    return answer


def _answers(question: bytes, answer: bytes) -> bool:
    """Same id, marked as an answer, and the same question name as far as it goes."""
    if len(answer) < 12 or answer[:2] != question[:2] or not answer[2] & 0x80:
        return False
    end = question.find(b"\0", 12) + 5
    return answer[12:end].lower() == question[12:end].lower()


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> tuple[str, int]:
    """(host, port) of "192.0.2.53", "192.0.2.53:5353" or an IPv6 address."""
    if text.count(":") > 1:
        return text, 53
    host, _, port = text.partition(":")
    return host, int(port or 53)
