"""The name server's sockets: UDP and TCP, good packets and bad ones."""

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable

import dnslib
import pytest

from sampan.node.exposition import Exposition
from sampan.node.network.dns import connections
from sampan.node.network.dns.server import DnsServer
from tests.node.network.dns.conftest import Outside, ask, send, send_tcp, silent
from tests.node.network.dns.questions import packet, shown, thing

Make = Callable[..., Awaitable[DnsServer]]
API = "kubernetes.default.svc.cluster.local"


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_names_are_told_by_both_ways_in_both_families(make: Make, outside: Outside, host: str, tcp: bool) -> None:
    """The cluster's and others."""
    server = await make(outside.server, addresses=(host,))
    for _ in range(2):
        assert shown(await ask(server, packet(API), tcp=tcp, host=host)) == ["NOERROR", "= A 10.96.0.1"]
        assert shown(await ask(server, packet("example.com"), tcp=tcp, host=host)) == ["NOERROR", "= A 192.0.2.99"]
    assert len(outside.asked) == 1


async def test_a_change_shows_with_the_next_answer(server: DnsServer) -> None:
    """A service that came, changed and went."""
    versions = [thing(f"Service shop/web {{clusterIP: 10.96.0.{n}}}")[1] for n in (3, 4)]
    for old, new, code in ((None, versions[0], 0), (versions[0], versions[1], 0), (versions[1], None, 3)):
        server.changed("services", old, new)
        found = await ask(server, packet("web.shop.svc.cluster.local"))
        assert found.header.rcode == code
        assert [str(item.rdata) for item in found.rr] == ([new["spec"]["clusterIP"]] if new else [])


async def test_tcp_carries_what_is_too_long_for_udp(server: DnsServer) -> None:
    """UDP has some of it and says so, TCP has it all."""
    server.changed("services", None, thing("Service shop/db {clusterIP: None}")[1])
    endpoints = [{"addresses": [f"10.244.1.{i}"]} for i in range(100)]
    server.changed("endpointslices", None, {**thing("EndpointSlice shop/db")[1], "endpoints": endpoints})
    question = packet("db.shop.svc.cluster.local")
    short = await ask(server, question)
    assert (short.header.tc, 0 < len(short.rr) < 100) == (1, True)
    whole = await ask(server, question, tcp=True)
    assert (whole.header.tc, len(whole.rr)) == (0, 100)


async def test_questions_of_one_connection_wait_for_no_other(server: DnsServer, outside: Outside) -> None:
    """A name outside that isn't told yet holds up none of the cluster's: answers come as they are there."""
    outside.says = silent
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    slow, quick = packet("example.com", id=1), [packet(API, id=number) for number in range(2, 202)]
    writer.write(b"".join(struct.pack("!H", len(each)) + each for each in (slow, *quick)))
    for number in range(2, 202):
        found = await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
        assert dnslib.DNSRecord.parse(found).header.id == number
    writer.close()


async def test_a_question_may_come_byte_by_byte(server: DnsServer) -> None:
    """As TCP may cut it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    question = packet(API)
    for byte in struct.pack("!H", len(question)) + question:
        writer.write(bytes((byte,)))
        await writer.drain()
    found = await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
    assert shown(dnslib.DNSRecord.parse(found)) == ["NOERROR", "= A 10.96.0.1"]
    writer.close()


async def test_connections_that_say_nothing_are_ended(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, so that they take nobody's place."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.02)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1)
    writer.close()


async def test_one_address_has_only_so_many_connections(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, and when one ends there is room again."""
    monkeypatch.setattr(connections, "MAX_OF_ONE", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(struct.pack("!H", len(packet(API))) + packet(API))
    await reader.readexactly(2)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await send_tcp(server, packet(API))
    writer.close()
    await writer.wait_closed()
    while True:  # until the server has seen the end
        try:
            assert len(await send_tcp(server, packet(API))) == 1
        except (asyncio.IncompleteReadError, ConnectionResetError):
            continue
        break


GOOD = packet(API)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (GOOD[:2] + b"\x10" + GOOD[3:], 4),  # another opcode
        (GOOD[:2] + b"\x28" + GOOD[3:], 4),
        (GOOD[:4] + b"\0\0" + GOOD[6:12], 1),  # no question
        (GOOD[:4] + b"\0\2" + GOOD[6:] + GOOD[12:], 1),  # two
        (GOOD[:-2], 1),
        (GOOD[:12] + b"\xc0\x0c\0\1\0\1", 1),  # a name that points at itself
        (GOOD[:12] + b"\x40" + bytes(80), 1),
        (GOOD[:12] + b"\x3f" * 63 + bytes(5), 1),
        (packet(API, edns=1232)[:-4], 1),
        (
            packet(API, edns=1232)[:11] + b"\2" + packet(API, edns=1232)[12:] + packet(API, edns=1232)[-11:],
            1,
        ),  # two OPTs
        (GOOD[:11] + b"\1" + GOOD[12:] + b"\1x" + packet(API, edns=1232)[-11:], 1),  # one of another name
        (GOOD[:-1] + b"\3", 5),  # CHAOS
        (packet("version.bind", "TXT")[:-1] + b"\3", 5),
        (packet("cluster.local", "AXFR"), 5),
    ],
)
@pytest.mark.parametrize("tcp", [False, True])
async def test_what_makes_no_sense_is_told_so(server: DnsServer, bad: bytes, code: int, tcp: bool) -> None:
    """Under its own id, without an answer; also when the same was asked in a better way before."""
    await ask(server, GOOD)
    answer = (await send_tcp(server, bad))[0] if tcp else await send(server, bad)
    assert answer[:2] == bad[:2]
    assert answer[2] & 0x80
    assert (answer[3] & 0xF, answer[6:8]) == (code, b"\0\0")


async def test_a_later_edns_is_refused(server: DnsServer) -> None:
    """With the version that is known here."""
    question = packet(API, edns=1232)
    later = question[:-5] + b"\1" + question[-4:]
    found = await ask(server, later)
    options = [item for item in found.ar if item.rtype == dnslib.QTYPE.OPT]
    assert (found.header.rcode, found.rr, options[0].edns_ver, options[0].edns_rcode) == (0, [], 0, 1)


async def test_no_packet_stops_the_server(server: DnsServer) -> None:
    """Noise, answers, and questions with one byte changed, by both ways."""
    noise = random.Random(7)  # noqa: S311 (the same noise each time)
    packets = [noise.randbytes(noise.randrange(0, 80)) for _ in range(300)]
    packets += [GOOD[:2] + b"\x80" + GOOD[3:], b"", b"\xff" * 512, bytes(12), noise.randbytes(5000)]
    for _ in range(300):
        bad = bytearray(GOOD)
        bad[noise.randrange(2, len(bad))] = noise.randrange(256)
        packets.append(bytes(bad))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", server.port))
    for bad_packet in packets:
        transport.sendto(bad_packet)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(struct.pack("!H", len(bad_packet)) + bad_packet)
        writer.close()
        await writer.wait_closed()
    transport.close()
    assert shown(await ask(server, GOOD)) == ["NOERROR", "= A 10.96.0.1"]


async def test_figures_have_the_names_that_are_known(server: DnsServer) -> None:
    """Questions by type and answers by code, what is kept, and who was asked how often."""
    for question in (GOOD, GOOD, packet(API, "AAAA"), packet("no.default.svc.cluster.local"), packet("example.com")):
        await ask(server, question)
    await ask(server, packet("example.com"), tcp=True)
    found = Exposition()
    server.tell(found)
    lines = found.text().decode().splitlines()
    own = f'server="dns://:{server.port}"'
    for line in (
        f'coredns_dns_requests_total{{family="1",proto="udp",{own},type="A",view="",zone="cluster.local."}} 3',
        f'coredns_dns_requests_total{{family="1",proto="udp",{own},type="AAAA",view="",zone="cluster.local."}} 1',
        f'coredns_dns_requests_total{{family="1",proto="tcp",{own},type="A",view="",zone="."}} 1',
        f'coredns_dns_responses_total{{rcode="NXDOMAIN",{own},view="",zone="cluster.local."}} 1',
        f'coredns_dns_responses_total{{rcode="NOERROR",{own},view="",zone="cluster.local."}} 3',
        f'coredns_dns_request_duration_seconds_count{{{own},view="",zone="cluster.local."}} 4',
        f'coredns_cache_hits_total{{{own},type="success",view="",zones="."}} 1',
        f'coredns_cache_misses_total{{{own},view="",zones="."}} 1',
        f'coredns_cache_entries{{{own},type="success",view="",zones="."}} 1',
        "# TYPE coredns_dns_request_duration_seconds histogram",
    ):
        assert line in lines
    assert any(
        line.startswith("coredns_proxy_request_duration_seconds_count") and line.endswith(" 1") for line in lines
    )
