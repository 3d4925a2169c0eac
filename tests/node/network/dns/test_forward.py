"""Names outside the cluster: whom to ask, what to believe, what to keep, and when to give up."""

import asyncio
from collections.abc import Awaitable, Callable

import dnslib
import pytest

from sampan.node.network.dns import forward
from sampan.node.network.dns.server import DnsServer
from tests.node.network.dns.conftest import Clock, Outside, address, ask, nothing, silent
from tests.node.network.dns.questions import packet, shown

Make = Callable[..., Awaitable[DnsServer]]
API, WWW = packet("kubernetes.default.svc.cluster.local"), packet("www.example.com")


async def test_answers_are_kept_as_long_as_they_say(server: DnsServer, outside: Outside, clock: Clock) -> None:
    """TTLs count down, and at their end the question is asked again; never are answers kept over half a minute."""
    outside.says = address("192.0.2.1", ttl=10)
    first = await ask(server, WWW)
    clock.ahead += 4
    second = await ask(server, packet("WWW.example.com"))
    assert (first.rr[0].ttl, second.rr[0].ttl, len(outside.asked)) == (10, 6, 1)
    assert str(second.q.qname) == "WWW.example.com."
    clock.ahead += 6
    outside.says = address("192.0.2.2", ttl=3600)
    assert shown(await ask(server, WWW)) == ["NOERROR", "= A 192.0.2.2"]
    clock.ahead += 30
    await ask(server, WWW)
    assert len(outside.asked) == 3


@pytest.mark.parametrize("ttl", [0, 20])
async def test_that_there_is_nothing_is_kept_as_long_as_it_says(
    server: DnsServer, outside: Outside, clock: Clock, ttl: int
) -> None:
    """By the TTLs of the zone's own record."""
    outside.says = nothing(dnslib.RCODE.NXDOMAIN, ttl=ttl)
    for _ in range(2):
        assert shown(await ask(server, WWW)) == ["NXDOMAIN", "--", "example.org. SOA"]
    assert len(outside.asked) == (1 if ttl else 2)
    clock.ahead += 21
    await ask(server, WWW)
    assert len(outside.asked) == (2 if ttl else 3)


async def test_what_is_kept_is_bounded(server: DnsServer, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    monkeypatch.setattr(forward, "MAX_KEPT", 3)
    for number in range(5):
        await ask(server, packet(f"{number}.example.com"))
    for number in (4, 3, 2):
        await ask(server, packet(f"{number}.example.com"))
    assert len(outside.asked) == 5
    await ask(server, packet("0.example.com"))
    assert len(outside.asked) == 6


async def test_a_question_is_asked_once_however_many_wait(server: DnsServer, outside: Outside) -> None:
    """In whatever case they ask."""
    outside.is_holding = True
    names = ["www.example.com", "WWW.example.COM"] * 10
    waiting = [asyncio.ensure_future(ask(server, packet(name))) for name in names]
    await outside.heard.wait()
    await ask(server, API)  # what was sent before it is read
    outside.release()
    for name, record in zip(names, await asyncio.gather(*waiting), strict=True):
        assert (str(record.q.qname), len(record.rr)) == (f"{name}.", 1)
    assert len(outside.asked) == 1


async def test_ids_ports_and_cases_cannot_be_guessed(server: DnsServer, outside: Outside) -> None:
    """They differ from question to question, and not with what the asker has sent."""
    name = "a-name-with-many-letters.example.com"
    for number in range(20):
        await ask(server, packet(f"{number}.{name}"))
    assert len({data[:2] for data in outside.asked}) > 15
    assert len(set(outside.ports)) > 10
    assert len({data[15 : 15 + len(name)] for data in outside.asked}) > 15


async def test_only_the_true_answer_is_believed(server: DnsServer, outside: Outside) -> None:
    """Not one under another id, to another question, or that is itself a question."""

    def send(data: bytes) -> list[bytes]:
        good = outside.answer(data)[0]
        forged = good.replace(bytes((192, 0, 2, 99)), bytes((6, 6, 6, 6)))
        other = forged[:13] + b"xyz" + forged[16:]
        end = len(data) - 11
        types = [forged[: end - 3] + b"\x1c" + forged[end - 2 :], forged[: end - 1] + b"\3" + forged[end:]]
        return [
            bytes((forged[0] ^ 1,)) + forged[1:],
            other,
            *types,
            forged[:2] + b"\0" + forged[3:],
            forged[:11],
            b"",
            good,
        ]

    outside.sends = send
    assert shown(await ask(server, WWW)) == ["NOERROR", "= A 192.0.2.99"]
    assert not outside.by_tcp


async def test_an_answer_in_another_case_is_checked_by_tcp(server: DnsServer, outside: Outside) -> None:
    """It may be forged; where the server speaks no TCP, it may as well be that it changes the case."""

    def send(data: bytes) -> list[bytes]:
        forged = outside.answer(data)[0].replace(bytes((192, 0, 2, 99)), bytes((6, 6, 6, 6)))
        return [forged[:12] + forged[12 : len(data) - 11].swapcase() + forged[len(data) - 11 :]]

    outside.sends = send
    assert shown(await ask(server, WWW)) == ["NOERROR", "= A 192.0.2.99"]
    assert len(outside.by_tcp) == 1


async def test_a_long_answer_is_got_by_tcp_and_given_as_asked(server: DnsServer, outside: Outside) -> None:
    """Whole by TCP, what there is room for by UDP."""

    def says(asked: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = asked.reply()
        for number in range(60):
            reply.add_answer(dnslib.RR(asked.q.qname, dnslib.QTYPE.A, ttl=60, rdata=dnslib.A(f"192.0.2.{number}")))
        return reply

    def send(data: bytes) -> list[bytes]:
        return [data[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + data[12 : data.index(0, 12) + 5]]

    outside.says, outside.sends = says, send
    short = await ask(server, WWW)
    assert (short.header.tc, 20 < len(short.rr) < 60) == (1, True)
    assert len((await ask(server, packet("www.example.com", edns=4096))).rr) == 60
    assert len((await ask(server, WWW, tcp=True)).rr) == 60
    assert len({str((await ask(server, WWW, tcp=True)).rr[0].rdata) for _ in range(10)}) > 1
    assert (len(outside.by_tcp), len(outside.asked)) == (1, 1)


@pytest.mark.parametrize("code", [dnslib.RCODE.SERVFAIL, dnslib.RCODE.REFUSED])
async def test_the_next_server_is_asked_when_one_cannot_tell(
    make: Make, outside: Outside, second: Outside, code: int
) -> None:
    """And if none can, that is the answer, for a second."""
    server = await make(outside.server, second.server)
    outside.says = nothing(code)
    assert shown(await ask(server, WWW)) == ["NOERROR", "= A 192.0.2.2"]
    second.says = nothing(dnslib.RCODE.SERVFAIL)
    for _ in range(2):
        assert shown(await ask(server, packet("x.example.com"))) == ["SERVFAIL"]
    assert (len(outside.asked), len(second.asked)) == (2, 2)


async def test_a_server_that_tells_nothing_is_left_alone_for_a_while(
    make: Make, outside: Outside, second: Outside, clock: Clock
) -> None:
    """Others are asked first, until it has had its time."""
    outside.sends = lambda data: [data[:2] + b"\x81\x80\0\1\0\1" + data[8:]]  # an answer that isn't there
    server = await make(outside.server, second.server)
    for number in range(5):
        assert shown(await ask(server, packet(f"{number}.example.com"))) == ["NOERROR", "= A 192.0.2.2"]
    assert len(outside.asked) == forward.FAILURES
    clock.ahead += forward.DOWN_SECONDS
    outside.sends = outside.answer
    assert shown(await ask(server, packet("x.example.com"))) == ["NOERROR", "= A 192.0.2.99"]


async def test_dead_servers_cost_cluster_names_nothing(server: DnsServer, outside: Outside) -> None:
    """F28: the cluster's names are told while others are waited for."""
    outside.is_holding = True
    waiting = [asyncio.ensure_future(ask(server, packet(f"{number}.example.com"))) for number in range(50)]
    await outside.heard.wait()
    for _ in range(20):
        assert shown(await ask(server, API)) == ["NOERROR", "= A 10.96.0.1"]
    assert not any(task.done() for task in waiting)
    outside.release()
    await ended(waiting)


async def test_waiting_has_an_end(make: Make, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """F28: who asks for other names is told that it failed, the next one sooner; also for an alias that leads outside."""
    monkeypatch.setattr(forward, "TOTAL_SECONDS", 0.05)
    monkeypatch.setattr(forward, "HOPELESS_SECONDS", 0.02)
    outside.says = silent
    server = await make(outside.server)
    names = ["www.example.com", "ftp.example.com", "outside.shop.svc.cluster.local"]
    for name in names:
        assert shown(await ask(server, packet(name))) == ["SERVFAIL"]
    assert len(outside.asked) == 2 + 1 + 1


async def test_one_asker_does_not_take_all_there_is(
    server: DnsServer, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for too much is told so at once."""
    monkeypatch.setattr(forward, "MAX_WAITING", 3)
    outside.is_holding = True
    waiting = {asyncio.ensure_future(ask(server, packet(f"{number}.example.com"))) for number in range(10)}
    done: set[asyncio.Future[dnslib.DNSRecord]] = set()
    while len(done) < 7:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert [shown(await task) for task in done] == [["SERVFAIL"]] * 7
    outside.release()
    await ended(list(waiting))
    assert len(outside.asked) == 3


async def ended(waiting: list[asyncio.Task[dnslib.DNSRecord]]) -> None:
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_no_server_is_a_failure_not_a_silence(make: Make) -> None:
    """SERVFAIL at once, also where nobody listens."""
    server = await make(("127.0.0.1", 1))
    assert shown(await ask(server, WWW)) == ["SERVFAIL"]
    assert shown(await ask(server, API)) == ["NOERROR", "= A 10.96.0.1"]


async def test_a_server_that_leads_back_here_ends_in_a_failure(
    server: DnsServer, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a storm: who asks in our own letters is told so, and what is asked already isn't asked again."""
    loop = asyncio.get_running_loop()

    class Back(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            outside.sends = lambda _: [data]
            outside.release()
            outside.sends = forward_again

    def forward_again(data: bytes) -> list[bytes]:
        transport.sendto(data)
        return []

    transport, _ = await loop.create_datagram_endpoint(Back, remote_addr=("127.0.0.1", server.port))
    outside.sends, outside.keeps = forward_again, True
    assert shown(await ask(server, WWW)) == ["SERVFAIL"]
    transport.close()
    assert len(outside.asked) == 2
    assert "127.0.0.1 asks us what we ask others" in caplog.text


async def test_we_are_not_our_own_upstream(server: DnsServer, caplog: pytest.LogCaptureFixture) -> None:
    """Such a configuration is not taken."""
    server.configure({"data": {"upstreamNameservers": f'["127.0.0.1:{server.port}"]'}})
    assert "127.0.0.1 leads back here" in caplog.text
    assert shown(await ask(server, WWW)) == ["NOERROR", "= A 192.0.2.99"]


async def test_an_alias_outside_is_followed_there(server: DnsServer, outside: Outside) -> None:
    """One answer: ours that it is an alias, and theirs, also that there is nothing."""
    name, missing = "outside.shop.svc.cluster.local", "missing.shop.svc.cluster.local"
    expected = ["NOERROR", "= CNAME www.example.org.", "www.example.org. A 192.0.2.99"]
    for tcp in (False, True):
        assert shown(await ask(server, packet(name), tcp=tcp)) == expected
    assert shown(await ask(server, packet(name, "CNAME"))) == expected[:2]
    outside.says = nothing(dnslib.RCODE.NXDOMAIN)
    gone = ["NXDOMAIN", "= CNAME missing.example.org.", "--", "example.org. SOA"]
    assert shown(await ask(server, packet(missing))) == gone
    assert shown(await ask(server, packet(missing))) == gone


async def test_the_configuration_says_whom_to_ask(
    server: DnsServer, outside: Outside, second: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    """A domain's own servers, or others for everything, at once; what can't be read changes nothing; without it, as before."""
    assert shown(await ask(server, packet("db.acme.test"))) == ["NOERROR", "= A 192.0.2.99"]
    host, port = second.server
    server.configure({"data": {"stubDomains": f'{{"ACME.test": ["{host}:{port}"]}}'}})
    for name, expected in (("db.acme.test", "192.0.2.2"), ("acme.TEST", "192.0.2.2"), ("xacme.test", "192.0.2.99")):
        assert shown(await ask(server, packet(name))) == ["NOERROR", f"= A {expected}"]
    server.configure({"data": {"stubDomains": '{"acme.test": "1.2.3.4"}'}})
    assert "ConfigMap kube-system/kube-dns: stubDomains acme.test" in caplog.text
    assert shown(await ask(server, packet("x.acme.test"))) == ["NOERROR", "= A 192.0.2.2"]
    server.configure({"data": {"upstreamNameservers": f'["{host}:{port}"]'}})
    assert shown(await ask(server, packet("y.example.com"))) == ["NOERROR", "= A 192.0.2.2"]
    server.configure(None)
    assert shown(await ask(server, packet("z.example.com"))) == ["NOERROR", "= A 192.0.2.99"]


BROKEN = [
    b"\0\1\0\1\0\0\0\0",  # no answer, though it says so
    b"\0\1\0\0\0\0\0\1",
    b"\0\2\0\0\0\0\0\0",
    b"\0\0\0\0\0\0\0\0",
]


@pytest.mark.parametrize("counts", BROKEN)
async def test_a_broken_answer_is_none(make: Make, outside: Outside, second: Outside, counts: bytes) -> None:
    """The next server is asked."""
    server = await make(outside.server, second.server)
    outside.sends = lambda data: [data[:2] + b"\x81\x80" + counts + data[12 : data.index(0, 12) + 5]]
    assert shown(await ask(server, WWW)) == ["NOERROR", "= A 192.0.2.2"]
