"""The name server: cluster names, forwarding, and packets from nobody's friend."""

import asyncio
import os
import random
import struct
from collections.abc import AsyncIterator
from typing import Any

import dnslib
import pytest

from sampan.node.network.dns import DnsServer
from sampan.node.network.dns_forward import upstreams_of

SERVICES = [
    {
        "metadata": {"name": "kubernetes", "namespace": "default", "uid": "1", "resourceVersion": "1"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
    },
    {
        "metadata": {"name": "db", "namespace": "shop", "uid": "2", "resourceVersion": "2"},
        "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
    },
    {
        "metadata": {"name": "idle", "namespace": "shop", "uid": "3", "resourceVersion": "3"},
        "spec": {"clusterIP": "None"},
    },
    {
        "metadata": {"name": "alias", "namespace": "shop", "uid": "4", "resourceVersion": "4"},
        "spec": {"type": "ExternalName", "externalName": "kubernetes.default.svc.cluster.local"},
    },
    {
        "metadata": {"name": "outside", "namespace": "shop", "uid": "5", "resourceVersion": "5"},
        "spec": {"type": "ExternalName", "externalName": "example.org"},
    },
]
SLICES = [
    {
        "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": True}},
            {"addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": {"ready": False}},
        ],
    }
]


class Upstream(asyncio.DatagramProtocol):
    """A name server that knows one address for everything and counts the questions."""

    def __init__(self) -> None:
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        reply = dnslib.DNSRecord.parse(data).reply()
        reply.add_answer(*dnslib.RR.fromZone(f"{reply.q.qname} 60 A 192.0.2.99"))
        self.transport.sendto(reply.pack(), addr)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
    yield protocol
    transport.close()


@pytest.fixture
async def server(upstream: Upstream) -> AsyncIterator[DnsServer]:
    port = upstream.transport.get_extra_info("sockname")[1]
    server = DnsServer("127.0.0.1", "cluster.local", [f"127.0.0.1:{port}"], port=0)
    server.update(SERVICES, SLICES, [])
    await server.start()
    yield server
    await server.stop()


async def ask(server: DnsServer, name: str, kind: str = "A", *, tcp: bool = False) -> dnslib.DNSRecord:
    packet = dnslib.DNSRecord.question(name, kind).pack()
    return dnslib.DNSRecord.parse(await (send_tcp if tcp else send)(server, packet))


async def send(server: DnsServer, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    got: asyncio.Future[bytes] = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.done() or got.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", server.port))
    try:
        transport.sendto(packet)
        return await asyncio.wait_for(got, 3)
    finally:
        transport.close()


async def send_tcp(server: DnsServer, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(struct.pack("!H", len(packet)) + packet)
    try:
        return await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
    finally:
        writer.close()


def values(record: dnslib.DNSRecord) -> list[str]:
    return sorted(str(rr.rdata) for rr in record.rr)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("kubernetes.default.svc.cluster.local", "A", ["10.96.0.1"]),
        ("KUBERNETES.default.SVC.cluster.local", "A", ["10.96.0.1"]),
        (
            "_https._tcp.kubernetes.default.svc.cluster.local",
            "SRV",
            ["0 100 443 kubernetes.default.svc.cluster.local."],
        ),
        ("db.shop.svc.cluster.local", "A", ["10.244.0.5", "10.244.0.6"]),
        ("db-0.db.shop.svc.cluster.local", "A", ["10.244.0.5"]),
        ("10-244-0-6.db.shop.svc.cluster.local", "A", ["10.244.0.6"]),
        (
            "_sql._tcp.db.shop.svc.cluster.local",
            "SRV",
            ["0 50 5432 10-244-0-6.db.shop.svc.cluster.local.", "0 50 5432 db-0.db.shop.svc.cluster.local."],
        ),
        ("10-244-0-9.shop.pod.cluster.local", "A", ["10.244.0.9"]),
        ("1.0.96.10.in-addr.arpa", "PTR", ["kubernetes.default.svc.cluster.local."]),
        ("5.0.244.10.in-addr.arpa", "PTR", ["db-0.db.shop.svc.cluster.local."]),
        ("alias.shop.svc.cluster.local", "A", ["10.96.0.1", "kubernetes.default.svc.cluster.local."]),
        ("outside.shop.svc.cluster.local", "A", ["192.0.2.99", "example.org."]),
        ("example.com", "A", ["192.0.2.99"]),
        ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
    ],
)
async def test_names_have_their_records(server: DnsServer, name: str, kind: str, expected: list[str]) -> None:
    """By the specification of DNS-based service discovery."""
    record = await ask(server, name, kind)
    assert record.header.rcode == 0
    assert values(record) == expected


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("kubernetes.default.svc.cluster.local", "AAAA", 0),
        ("default.svc.cluster.local", "A", 0),
        ("nothing.default.svc.cluster.local", "A", 3),
        ("idle.shop.svc.cluster.local", "A", 3),
        ("db-2.db.shop.svc.cluster.local", "A", 3),
        ("300-1-1-1.shop.pod.cluster.local", "A", 3),
        ("example.com.default.svc.cluster.local", "A", 3),
        ("what.cluster.local", "A", 3),
    ],
)
async def test_what_is_not_there_is_said_with_the_zone(server: DnsServer, name: str, kind: str, code: int) -> None:
    """No record of that kind, or no such name: with an SOA, so that clients may remember it."""
    record = await ask(server, name, kind)
    assert (record.header.rcode, record.rr) == (code, [])
    assert [rr.rtype for rr in record.auth] == [dnslib.QTYPE.SOA]


async def test_changes_are_seen(server: DnsServer) -> None:
    """A service that went is unknown; an endpoint that came is named."""
    more = [{**SLICES[0], "metadata": {**SLICES[0]["metadata"], "resourceVersion": "9"}}]
    more[0]["endpoints"] = [{"addresses": ["10.244.0.8"], "conditions": {}}]
    server.update(SERVICES[1:], more, [])
    assert values(await ask(server, "db.shop.svc.cluster.local")) == ["10.244.0.8"]
    assert (await ask(server, "kubernetes.default.svc.cluster.local")).header.rcode == 3


async def test_tcp_carries_what_is_too_long_for_udp(server: DnsServer) -> None:
    """UDP says truncated, TCP has it all."""
    endpoints = [{"addresses": [f"10.244.1.{i}"], "conditions": {"ready": True}} for i in range(100)]
    server.update(SERVICES, [{**SLICES[0], "metadata": {**SLICES[0]["metadata"], "uid": "x"}, "endpoints": endpoints}])
    short = await ask(server, "db.shop.svc.cluster.local")
    assert (short.header.tc, short.rr) == (1, [])
    assert len((await ask(server, "db.shop.svc.cluster.local", tcp=True)).rr) == 100


async def test_outside_answers_are_kept_for_a_while(server: DnsServer, upstream: Upstream) -> None:
    """The second asking costs the upstream nothing."""
    first = await ask(server, "example.com")
    assert values(await ask(server, "example.com")) == values(first)
    assert upstream.asked == 1


async def test_no_upstream_is_a_failure_not_a_silence() -> None:
    """SERVFAIL at once."""
    server = DnsServer("127.0.0.1", "cluster.local", [], port=0)
    await server.start()
    assert (await ask(server, "example.com")).header.rcode == 2
    await server.stop()


async def test_no_packet_stops_the_server(server: DnsServer) -> None:
    """Noise, and questions with one byte changed, by both transports."""
    noise = random.Random(7)
    good = dnslib.DNSRecord.question("kubernetes.default.svc.cluster.local", "A").pack()
    packets = [noise.randbytes(noise.randrange(0, 80)) for _ in range(300)]
    for _ in range(300):
        bad = bytearray(good)
        bad[noise.randrange(2, len(bad))] = noise.randrange(256)
        packets.append(bytes(bad))
    packets += [
        b"\x00" * 12,
        b"\xff" * 512,
        good[:20],
        good + os.urandom(10),
        b"ab\x01\x00\x00\x01" + bytes(6) + b"\xc0\x0c\0\1\0\1",
    ]
    for packet in packets:
        server.datagram(packet, ("127.0.0.1", 9))
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"\xff\xffshort")
    writer.close()
    assert values(await ask(server, "kubernetes.default.svc.cluster.local")) == ["10.96.0.1"]


def test_upstreams_leave_ourselves_out(tmp_path: Any) -> None:
    """And IPv6, which pods do not have."""
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nnameserver 10.244.0.1\nnameserver ::1\nnameserver 192.0.2.1\nsearch a\nnameserver\n")
    assert upstreams_of(path, skip=["10.244.0.1"]) == ("192.0.2.1",)
    assert upstreams_of(tmp_path / "missing") == ()
