"""A name server on this machine's loopback, servers outside that do as a test wants, and who asks them."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import dnslib
import pytest

from sampan.kit.clock import SystemClock
from sampan.node.network.dns.server import DnsServer, Place
from sampan.node.network.dns.upstreams import Server
from tests.node.network.dns.questions import thing

Says = Callable[[dnslib.DNSRecord], dnslib.DNSRecord | None]

SERVICES = (
    "Namespace shop",
    "Service default/kubernetes {clusterIP: 10.96.0.1, ports: [{name: https, port: 443, protocol: TCP}]}",
    "Service shop/outside {type: ExternalName, externalName: www.example.org}",
    "Service shop/missing {type: ExternalName, externalName: missing.example.org}",
)


class Clock(SystemClock):
    """The machine's, but put forward at will."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return SystemClock.monotonic() + self.ahead


class Outside:
    """A name server: knows one address for everything, until told otherwise. `asked` are the packets that came."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.ports: list[int] = []
        self.by_tcp: list[bytes] = []
        self.says: Says = address("192.0.2.99")
        self.sends: Callable[[bytes], list[bytes]] = self.answer
        self.heard = asyncio.Event()
        self.is_holding = False
        self.keeps = False  # what was answered may be answered again
        self._held: list[tuple[bytes, Any]] = []
        self.server: Server = ("", 0)

    def answer(self, packet: bytes) -> list[bytes]:
        """What it sends by itself."""
        reply = self.says(dnslib.DNSRecord.parse(packet))
        return [] if reply is None else [with_question(packet, bytes(reply.pack()))]

    def hear(self, data: bytes, sender: Any) -> None:
        """A question by UDP."""
        self.asked.append(data)
        self.ports.append(sender[1])
        self.heard.set()
        self._held.append((data, sender))
        if not self.is_holding:
            self.release()

    def release(self) -> None:
        """Answers what was asked."""
        held, self._held = self._held, []
        for data, sender in held:
            for answer in self.sends(data):
                self._udp.sendto(answer, sender)
        if self.keeps:
            self._held = held[-1:]

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.server = self._tcp.sockets[0].getsockname()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=self.server)

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
        self.by_tcp.append(packet)
        for answer in self.answer(packet):
            writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._outside.hear(data, addr)


def address(text: str, ttl: int = 60) -> Says:
    """That address for every name."""

    def says(asked: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = asked.reply()
        if asked.q.qtype == dnslib.QTYPE.A:
            reply.add_answer(dnslib.RR(asked.q.qname, dnslib.QTYPE.A, ttl=ttl, rdata=dnslib.A(text)))
        return reply

    return says


def nothing(code: int, ttl: int = 60) -> Says:
    """No such name, or another error."""

    def says(asked: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = asked.reply()
        reply.header.rcode = code
        if code == dnslib.RCODE.NXDOMAIN:
            reply.add_auth(*dnslib.RR.fromZone(f"example.org {ttl} SOA ns.example.org a.example.org 1 2 3 4 {ttl}"))
        return reply

    return says


def silent(asked: dnslib.DNSRecord) -> None:
    """Never a word."""


def with_question(packet: bytes, answer: bytes) -> bytes:
    """The answer with the question as it came: dnslib gives it in its own case."""
    end = packet.index(0, 12) + 5
    return answer[:12] + packet[12:end] + answer[end:]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    made = Outside()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def second() -> AsyncIterator[Outside]:
    made = Outside()
    made.says = address("192.0.2.2")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Callable[..., Awaitable[DnsServer]]]:
    made: list[DnsServer] = []

    async def start(*upstreams: Server, addresses: tuple[str, ...] = ("127.0.0.1",), port: int = 0) -> DnsServer:
        server = DnsServer(Place(addresses, upstreams=upstreams, port=port), clock)
        for text in SERVICES:
            plural, item = thing(text)
            server.changed(plural, None, item)
        made.append(server)
        await server.start()
        return server

    yield start
    for server in made:
        await server.stop()


@pytest.fixture
async def server(make: Callable[..., Awaitable[DnsServer]], outside: Outside) -> DnsServer:
    return await make(outside.server)


async def send(server: DnsServer, packet: bytes, host: str = "127.0.0.1") -> bytes:
    """The answer to a packet by UDP."""
    loop = asyncio.get_running_loop()
    got: asyncio.Future[bytes] = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if not got.done():
                got.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(host, server.port))
    try:
        transport.sendto(packet)
        return await asyncio.wait_for(got, 60)
    finally:
        transport.close()


async def send_tcp(server: DnsServer, *packets: bytes, host: str = "127.0.0.1") -> list[bytes]:
    """The answers to packets that are written in one go, as they come."""
    reader, writer = await asyncio.open_connection(host, server.port)
    writer.write(b"".join(struct.pack("!H", len(packet)) + packet for packet in packets))
    try:
        return [await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0]) for _ in packets]
    finally:
        writer.close()


async def ask(server: DnsServer, packet: bytes, *, tcp: bool = False, host: str = "127.0.0.1") -> dnslib.DNSRecord:
    """The same, read."""
    if tcp:
        return dnslib.DNSRecord.parse((await send_tcp(server, packet, host=host))[0])
    return dnslib.DNSRecord.parse(await send(server, packet, host))
