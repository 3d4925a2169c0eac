"""DnsServer: the cluster's name server, on the node's gateway address, over UDP and TCP.

Names in the cluster's domain are answered from the zone at once; reverse names of the cluster's
addresses too; all others are forwarded. A packet that makes no sense is answered so or dropped:
nothing a pod sends may stop the server.

https://datatracker.ietf.org/doc/html/rfc1035
"""

import asyncio
import contextlib
import ipaddress
import logging
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import dnslib

from sampan.kit.tasks import Tasks
from sampan.node.network.dns_forward import Forwarder
from sampan.node.network.dns_zone import Answer, Labels, Zone

_TTL = 30
_MAX_UDP = 1232
_MAX_CONNECTIONS = 200
_IDLE_SECONDS = 10.0
_SERVFAIL, _NXDOMAIN, _NOTIMP, _FORMERR = 2, 3, 4, 1
_MAX_CHAIN = 8

log = logging.getLogger(__name__)


class DnsServer:
    """One node's name server. `port` 0 takes a free one, to be read from `port` after `start`."""

    def __init__(self, bind_ip: str, cluster_domain: str, upstreams: Iterable[str], *, port: int = 53) -> None:
        self.port = port
        self._bind_ip = bind_ip
        self._zone = Zone(cluster_domain)
        self._forwarder = Forwarder(upstreams)
        self._tasks = Tasks("dns")
        self._connections: set[asyncio.StreamWriter] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    def update(
        self,
        services: Iterable[Mapping[str, Any]],
        slices: Iterable[Mapping[str, Any]],
        pods: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Answer from these objects from now on."""
        self._zone.update(services, slices, pods)

    async def start(self) -> None:
        """Listen; OSError when the address or port can't be had."""
        self._tcp = await asyncio.start_server(self._serve_connection, self._bind_ip, self.port, backlog=128)
        self.port = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        try:
            self._udp, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(self._bind_ip, self.port)
            )
        except OSError:
            self._tcp.close()
            raise

    async def stop(self) -> None:
        """Stop listening and drop what is in flight."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for writer in tuple(self._connections):
            writer.close()
        await self._tasks.close()

    def datagram(self, packet: bytes, sender: tuple[str, int]) -> None:
        """Answer a question that came by UDP."""
        answer = self._answer_at_once(packet, tcp=False)
        if isinstance(answer, bytes):
            self._send(answer, sender)
        elif answer is not None:
            self._tasks.spawn(self._forward_datagram(answer, packet, sender), "forward", critical=False)

    async def _forward_datagram(self, request: dnslib.DNSRecord, packet: bytes, sender: tuple[str, int]) -> None:
        self._send(await self._answer_later(request, packet, tcp=False), sender)

    def _send(self, answer: bytes, sender: tuple[str, int]) -> None:
        if answer and self._udp is not None and not self._udp.is_closing():
            self._udp.sendto(answer, sender)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._serve_questions(reader, writer)
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _serve_questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                packet = await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
            answer = self._answer_at_once(packet, tcp=True)
            if not isinstance(answer, bytes | None):
                answer = await self._answer_later(answer, packet, tcp=True)
            if not answer:
                return
            writer.write(struct.pack("!H", len(answer)) + answer)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()

    def _answer_at_once(self, packet: bytes, *, tcp: bool) -> bytes | dnslib.DNSRecord | None:
        """The packed answer; the parsed question if others must be asked; None for what isn't a question."""
        if len(packet) < 12 or packet[2] & 0x80:
            return None
        if packet[2] & 0x78:
            return _failure(packet, _NOTIMP)
        try:
            request = dnslib.DNSRecord.parse(packet)
            if len(request.questions) != 1:
                return _failure(packet, _FORMERR)
            reply = self._reply(request)
            return request if reply is None else _packed(request, reply, tcp)
        except Exception:  # noqa: BLE001 - dnslib raises many kinds on bad input
            log.debug("cannot make sense of a DNS packet of %d bytes", len(packet))
            return _failure(packet, _FORMERR)

    def _reply(self, request: dnslib.DNSRecord) -> dnslib.DNSRecord | None:
        """The reply from the zone; None when the name, or where it leads, is not in it."""
        labels = _labels(request.q.qname)
        if not self._zone.covers(labels):
            found = self._reverse(labels)
            if not found:
                return None
            reply = request.reply(aa=1, ra=1)
            _add_answers(reply, request.q.qname, found, request.q.qtype)
            return reply
        return self._reply_from_zone(request, labels)

    def _reply_from_zone(self, request: dnslib.DNSRecord, labels: Labels) -> dnslib.DNSRecord | None:
        reply = request.reply(aa=1, ra=1)
        name = request.q.qname
        for _ in range(_MAX_CHAIN):
            found = self._zone.lookup(labels)
            if found is None:
                reply.header.rcode = _NXDOMAIN
                break
            _add_answers(reply, name, found, request.q.qtype)
            targets = [answer.value for answer in found if answer.kind == "CNAME"]
            if not targets or request.q.qtype == dnslib.QTYPE.CNAME:
                break
            name = dnslib.DNSLabel(targets[0])
            labels = _labels(name)
            if not self._zone.covers(labels):
                return None
        self._add_glue(reply)
        if not reply.rr:
            reply.add_auth(_soa(self._zone.domain))
        return reply

    def _add_glue(self, reply: dnslib.DNSRecord) -> None:
        """The addresses of the names that SRV records lead to."""
        targets = dict.fromkeys(str(rr.rdata.target).rstrip(".") for rr in reply.rr if rr.rtype == dnslib.QTYPE.SRV)
        for target in targets:
            for answer in self._zone.lookup(tuple(target.split("."))) or ():
                if answer.kind == "A":
                    reply.add_ar(_record(dnslib.DNSLabel(target), answer))

    async def _answer_later(self, request: dnslib.DNSRecord, packet: bytes, *, tcp: bool) -> bytes:
        """The answer of the servers upstream, put behind our CNAME if the name was ours."""
        labels = _labels(request.q.qname)
        if not self._zone.covers(labels):
            return await self._forwarder.ask(packet, tcp=tcp) or _failure(packet, _SERVFAIL)
        aliases = [answer for answer in self._zone.lookup(labels) or () if answer.kind == "CNAME"]
        if not aliases:
            return _failure(packet, _SERVFAIL)
        reply = request.reply(aa=1, ra=1)
        _add_answers(reply, request.q.qname, aliases, request.q.qtype)
        question = dnslib.DNSRecord(dnslib.DNSHeader(rd=1), q=dnslib.DNSQuestion(aliases[0].value, request.q.qtype))
        answer = await self._forwarder.ask(bytes(question.pack()), tcp=tcp)
        if answer is not None:
            with contextlib.suppress(Exception):  # a broken answer leaves the CNAME, which is true
                for record in dnslib.DNSRecord.parse(answer).rr:
                    reply.add_answer(record)
        return _packed(request, reply, tcp)

    def _reverse(self, labels: Labels) -> tuple[Answer, ...]:
        if labels[-2:] != ("in-addr", "arpa") or len(labels) != 6:
            return ()
        try:
            address = ipaddress.IPv4Address(".".join(reversed(labels[:4])))
        except ValueError:
            return ()
        return self._zone.reverse(str(address))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("DNS socket: %s", exc)


def _labels(name: dnslib.DNSLabel) -> Labels:
    return tuple(label.decode("latin-1").lower() for label in name.label)


def _add_answers(reply: dnslib.DNSRecord, name: dnslib.DNSLabel, found: Iterable[Answer], wanted: int) -> None:
    for answer in found:
        kind = getattr(dnslib.QTYPE, answer.kind)
        if wanted in (kind, dnslib.QTYPE.ANY) or answer.kind == "CNAME":
            reply.add_answer(_record(name, answer))


def _record(name: dnslib.DNSLabel, answer: Answer) -> dnslib.RR:
    data = {
        "A": lambda: dnslib.A(answer.value),
        "CNAME": lambda: dnslib.CNAME(answer.value),
        "PTR": lambda: dnslib.PTR(answer.value),
        "TXT": lambda: dnslib.TXT(answer.value),
        "SRV": lambda: dnslib.SRV(0, answer.weight, answer.port, answer.value),
    }[answer.kind]()
    return dnslib.RR(name, getattr(dnslib.QTYPE, answer.kind), ttl=_TTL, rdata=data)


def _soa(domain: str) -> dnslib.RR:
    times = (1, 7200, 1800, 86400, _TTL)
    data = dnslib.SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", times)
    return dnslib.RR(domain, dnslib.QTYPE.SOA, ttl=_TTL, rdata=data)


def _packed(request: dnslib.DNSRecord, reply: dnslib.DNSRecord, tcp: bool) -> bytes:
    """As bytes; by UDP no more than the asker takes, marked as truncated."""
    options = [record for record in request.ar if record.rtype == dnslib.QTYPE.OPT]
    if options:
        reply.add_ar(dnslib.EDNS0(udp_len=_MAX_UDP))
    packet = bytes(reply.pack())
    room = 65535 if tcp else max(512, min(options[0].edns_len, _MAX_UDP)) if options else 512
    if len(packet) > room:
        reply.ar = [record for record in reply.ar if record.rtype == dnslib.QTYPE.OPT]
        packet = bytes(reply.pack())
    if len(packet) > room:
        reply.rr = []
        reply.header.tc = 1
        packet = bytes(reply.pack())
    return packet


def _failure(packet: bytes, code: int) -> bytes:
    """The question's header with an error code, and no question: it may not be readable."""
    flags = 0x8080 | (packet[2] & 0x79) << 8 | code
    return packet[:2] + struct.pack("!HHHHH", flags, 0, 0, 0, 0)
