"""The cluster's names: by documents, and whatever else may be asked."""

from collections import Counter
from pathlib import Path

import dnslib
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sampan.node.network.dns import answers as answers_module
from sampan.node.network.dns import wire
from sampan.node.network.dns.answers import Answers
from tests.node.network.dns.questions import answers, packet, shown, thing

CASES = yaml.safe_load((Path(__file__).parents[3] / "cases/node/dns.yaml").read_text())
WEB = "web.shop.svc.cluster.local"


def say(known: Answers, question: bytes) -> dnslib.DNSRecord | None:
    """The answer, first by the long way and then by the short one; None when it is for others to give."""
    asked = wire.question(question)
    reply = known.reply(asked)
    if reply is None:
        return None
    quick = known.quick(question)
    if not reply.target and reply.code != wire.REFUSED:
        assert quick is not None
        first, second = dnslib.DNSRecord.parse(reply.packed(question[:2], asked, 0)), dnslib.DNSRecord.parse(quick[0])
        assert (first.header.bitmap, first.q, first.auth) == (second.header.bitmap, second.q, second.auth)
        assert sorted(map(str, first.rr)) == sorted(map(str, second.rr))
    return dnslib.DNSRecord.parse(reply.packed(question[:2], asked, 0, wire.LARGEST))


def lines(known: Answers, question: str) -> list[str]:
    asked = packet(*question.split())
    found = say(known, asked)
    reply = known.reply(wire.question(asked))
    if found is None or reply is None:
        return ["OUTSIDE"]
    return ["OUTSIDE", *shown(found)[1:]] if reply.target else shown(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["promise"])
def test_documents(case: dict) -> None:
    """Each name has what the document says."""
    known = answers(*case["given"])
    for question, expected in case["then"].items():
        assert lines(known, question) == expected, question


def test_the_question_is_repeated_as_it_was_asked() -> None:
    """Its id, its letters' case and its bits; the answer is ours and recursion to be had."""
    known = answers("Service shop/web {clusterIP: 10.96.0.3}")
    for _ in range(2):
        found = say(known, packet("wEb.ShOp.svc.cluster.LOCAL", id=4711))
        assert found is not None
        assert str(found.q.qname) == "wEb.ShOp.svc.cluster.LOCAL."
        assert (found.header.id, found.header.aa, found.header.ra, found.header.rd) == (4711, 1, 1, 1)
        assert [str(item.rname) for item in found.rr] == ["wEb.ShOp.svc.cluster.LOCAL."]


def test_answers_may_be_remembered_for_as_long_as_they_say() -> None:
    """What there is and what there isn't: the SOA's own TTL and the minimum in it are the same."""
    known = answers("Service shop/web {clusterIP: 10.96.0.3}")
    found, none = say(known, packet(WEB)), say(known, packet(f"no.{WEB}"))
    assert found is not None
    assert none is not None
    assert [item.ttl for item in found.rr] == [5]
    assert [(item.ttl, item.rdata.times[-1]) for item in none.auth] == [(5, 5)]


CHANGES = [
    ("services", None, "Service shop/web {clusterIP: 10.96.0.3}", ["NOERROR", "= A 10.96.0.3"]),
    (
        "services",
        "Service shop/web {clusterIP: 10.96.0.3}",
        "Service shop/web {clusterIP: 10.96.0.4}",
        ["NOERROR", "= A 10.96.0.4"],
    ),
    (
        "services",
        "Service shop/web {clusterIP: 10.96.0.4}",
        "Service shop/web {clusterIP: None}",
        ["NXDOMAIN", "--", "cluster.local. SOA"],
    ),
    (
        "endpointslices",
        None,
        "EndpointSlice shop/web {endpoints: [{addresses: [10.244.0.5], hostname: a}]}",
        ["NOERROR", "= A 10.244.0.5"],
    ),
    (
        "endpointslices",
        "EndpointSlice shop/web {endpoints: [{addresses: [10.244.0.5], hostname: a}]}",
        "EndpointSlice shop/web {endpoints: [{addresses: [10.244.0.6], hostname: a}]}",
        ["NOERROR", "= A 10.244.0.6"],
    ),
    ("services", "Service shop/web {clusterIP: None}", None, ["NXDOMAIN", "--", "cluster.local. SOA"]),
]


def test_every_change_shows_at_once() -> None:
    """In the service's own name, in aliases of it, in addresses' names and in a namespace's."""
    known = answers("Service other/alias {type: ExternalName, externalName: web.shop.svc.cluster.local}")
    for plural, old, new, expected in CHANGES:
        known.change(plural, thing(old)[1] if old else None, thing(new)[1] if new else None)
        for _ in range(2):
            assert lines(known, f"{WEB} A") == expected
            alias = lines(known, "alias.other.svc.cluster.local A")
            assert alias[1] == f"= CNAME {WEB}."
            assert alias[2:] == [line.replace("= ", f"{WEB}. ") for line in expected[1:]]
            address = next((line.split()[2] for line in expected if " A " in line), None)
            for one in ("10.96.0.3", "10.96.0.4", "10.244.0.5", "10.244.0.6"):
                name = lines(known, f"{'.'.join(reversed(one.split('.')))}.in-addr.arpa PTR")
                assert (name[0] == "NOERROR") == (one == address), (one, expected)
    assert lines(known, "shop.svc.cluster.local A")[0] == "NXDOMAIN"
    known.change("namespaces", None, {"metadata": {"name": "shop"}})
    assert lines(known, "shop.svc.cluster.local A")[0] == "NOERROR"
    known.change("namespaces", {"metadata": {"name": "shop"}}, None)
    assert lines(known, "shop.svc.cluster.local A")[0] == "NXDOMAIN"


def test_a_change_costs_other_services_nothing() -> None:
    """Answers about others stay as they are, known by heart."""
    known = answers("Service shop/web {clusterIP: 10.96.0.3}", "Service shop/db {clusterIP: 10.96.0.4}")
    for name in ("web", "db", "none"):
        say(known, packet(f"{name}.shop.svc.cluster.local"))
    known.change("services", None, thing("Service shop/db {clusterIP: 10.96.0.9}")[1])
    assert known.quick(packet(WEB)) is not None
    assert known.quick(packet("none.shop.svc.cluster.local")) is not None
    assert known.quick(packet("db.shop.svc.cluster.local")) is None
    assert lines(known, "db.shop.svc.cluster.local A") == ["NOERROR", "= A 10.96.0.9"]


def test_addresses_beside_an_answer_are_those_of_now() -> None:
    """Also where another service is asked about."""
    known = answers("Service kube-system/kube-dns {clusterIP: 10.96.0.10}")
    for address in ("10.96.0.10", "10.96.0.11"):
        known.change("services", None, thing(f"Service kube-system/kube-dns {{clusterIP: {address}}}")[1])
        assert lines(known, "cluster.local NS")[-1] == f"ns.dns.cluster.local. A {address}"


def test_what_is_known_by_heart_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names are asked for."""
    monkeypatch.setattr(answers_module, "MAX_KEPT", 10)
    known = answers("Service shop/web {clusterIP: 10.96.0.3}")
    for number in range(100):
        say(known, packet(f"{number}.{WEB}"))
        assert len(known) <= 10


def pods(count: int) -> tuple[str, str]:
    endpoints = ", ".join(f"{{addresses: [10.244.{n // 250}.{n % 250 + 1}], hostname: pod-{n}}}" for n in range(count))
    ports = "ports: [{name: http, port: 80}]"
    return (
        f"Service shop/web {{clusterIP: None, {ports}}}",
        f"EndpointSlice shop/web {{{ports}, endpoints: [{endpoints}]}}",
    )


@pytest.mark.parametrize("types", [["A"], ["A", "AAAA"], ["A", "AAAA", "A"]])
def test_each_address_is_the_first_at_times(types: list[str]) -> None:
    """As often as any other, also if every second question is for something else; none is ever missing."""
    known = answers(*pods(4))
    first: Counter[str] = Counter()
    for type in types:
        say(known, packet(WEB, type))
    for _ in range(100):
        for type in types:
            found = known.quick(packet(WEB, type))
            assert found is not None
            records = dnslib.DNSRecord.parse(found[0]).rr
            if type == "A":
                assert len({str(item.rdata) for item in records}) == 4
                first[str(records[0].rdata)] += 1
    assert len(first) == 4
    assert min(first.values()) > 0.8 * sum(first.values()) / 4


@pytest.mark.parametrize(
    ("type", "edns", "room"),
    [("A", 0, 512), ("A", 100, 512), ("A", 1000, 1000), ("A", 4096, 1232), ("SRV", 4096, 1232)],
)
def test_an_answer_that_is_too_long_is_cut_between_records(type: str, edns: int, room: int) -> None:
    """With as many as there is room for, for resolvers that don't ask by TCP, and marked, for those that do."""
    known = answers(*pods(100))
    question = packet(WEB, type, edns=edns)
    asked = wire.question(question)
    reply = known.reply(asked)
    assert reply is not None
    for message in (reply.packed(question[:2], asked, 0), (known.quick(question) or (b"",))[0]):
        record = dnslib.DNSRecord.parse(message)
        assert record.header.tc == 1
        assert room - 80 < len(message) <= room
        assert 0 < len(record.rr) < 100
        assert not [item for item in record.ar if item.rtype != dnslib.QTYPE.OPT]
        assert bool([item for item in record.ar if item.rtype == dnslib.QTYPE.OPT]) == bool(edns)
    whole = dnslib.DNSRecord.parse(reply.packed(question[:2], asked, 0, wire.LARGEST))
    assert (whole.header.tc, len(whole.rr)) == (0, 100)


def test_only_additional_records_may_be_missing_without_a_word() -> None:
    """An answer that is there in full is not marked."""
    known = answers(*pods(12))
    question = packet(f"_http._tcp.{WEB}", "SRV", edns=800)
    found = say(known, question)
    assert found is not None
    quick = known.quick(question)
    assert quick is not None
    record = dnslib.DNSRecord.parse(quick[0])
    assert (record.header.tc, len(record.rr)) == (0, 12)
    assert len(found.ar) > len(record.ar)


labels = st.binary(min_size=1, max_size=63)
known_labels = st.sampled_from(
    [b"web", b"WEB", b"shop", b"svc", b"pod", b"cluster", b"local", b"_tcp", b"_http", b"a.b", b"\0"]
)
names = st.lists(known_labels | labels, max_size=8)
KNOWN = answers(*pods(3), "Namespace shop", "Service shop/out {type: ExternalName, externalName: example.org}")


@settings(max_examples=300, deadline=None)
@given(names, st.booleans(), st.integers(0, 65535), st.integers(0, 65535))
@example([b"web", b"shop", b"svc", b"cluster", b"local"], True, 1, 512)
@example([b"web\0shop", b"svc"], True, 1, 512)
def test_every_name_can_be_asked_for(parts: list[bytes], ours: bool, type: int, size: int) -> None:
    """The answer is one, repeats the question byte by byte, fits, and its names are whole."""
    wanted = [*parts, b"cluster", b"local"] if ours else parts
    name = b"".join(bytes((len(part),)) + part for part in wanted) + b"\0"
    question = (
        b"id\1\0\0\1\0\0\0\0\0\1"
        + name
        + type.to_bytes(2, "big")
        + b"\0\1\0\0\x29"
        + size.to_bytes(2, "big")
        + bytes(6)
    )
    if len(name) > 255:
        with pytest.raises(wire.Malformed):
            wire.question(question)
        return
    asked = wire.question(question)
    reply = KNOWN.reply(asked)
    if reply is None:
        return
    message = reply.packed(b"id", asked, 0)
    assert message[:2] == b"id"
    assert message[12 : 12 + len(name) + 4] == question[12 : 12 + len(name) + 4]
    assert len(message) <= max(512, min(size, 1232))
    spans = list(wire.spans(message, 12 + len(name) + 4, sum(message[at] for at in (7, 9, 11))))
    assert spans[-1].end == len(message)
    for span in spans:
        wire.name(message, span.owner)
        wire.data(message, span)
    quick = KNOWN.quick(question)
    assert quick is None or len(quick[0]) == len(message)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=120))
@example(b"ab\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")
@example(packet(WEB)[:20])
@example(packet(WEB, edns=1232)[:-3])
def test_no_bytes_are_too_much(noise: bytes) -> None:
    """They are a question or Malformed, and never known by heart."""
    assert KNOWN.quick(noise) is None
    try:
        wire.question(noise)
    except wire.Malformed:
        return
    assert len(noise) > wire.HEADER


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_gives_no_wrong_answer(at: int, byte: int) -> None:
    """By the short way no more is said than by the long one."""
    good = bytearray(packet(WEB, edns=1232))
    KNOWN.reply(wire.question(bytes(good)))
    at %= len(good)
    good[at] = byte
    quick = KNOWN.quick(bytes(good))
    if quick is not None:
        asked = wire.question(bytes(good))
        assert KNOWN.reply(asked) is quick[1]
        assert len(quick[0]) == len(quick[1].packed(bytes(good[:2]), asked, 0))


SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
SEARCHED = answers(
    "Namespace shop",
    "Namespace other",
    "Service shop/web {clusterIP: 10.96.0.3}",
    "Service other/web {clusterIP: 10.96.0.4}",
    "Service shop/v6 {clusterIP: 'fd00:96::3'}",
)


def resolved(name: str, *, is_musl: bool) -> str:
    """The first address by libc's rules with ndots:5: what is NODATA to the first question ends musl's search, not glibc's."""
    for candidate in (*(f"{name}.{domain}" for domain in SEARCH), name):
        first, second = (say(SEARCHED, packet(candidate, type)) for type in ("A", "AAAA"))
        if first is None or second is None:
            return "outside"
        records = [*first.rr, *second.rr]
        if records:
            return str(records[0].rdata)
        if is_musl and first.header.rcode == dnslib.RCODE.NOERROR:
            return "nothing"
    return "nothing"


@pytest.mark.parametrize("is_musl", [True, False])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", "10.96.0.3"),
        ("web.shop", "10.96.0.3"),
        ("web.other", "10.96.0.4"),
        ("web.other.svc", "10.96.0.4"),
        ("web.other.svc.cluster.local", "10.96.0.4"),
        ("v6", "fd00:96::3"),
        ("v6.shop", "fd00:96::3"),
        ("example.com", "outside"),
        ("web.example.com", "outside"),
        ("other.svc.example.com", "outside"),
    ],
)
def test_partial_names_are_found_by_the_rules_of_each_libc(name: str, expected: str, is_musl: bool) -> None:
    """For that, every name on the way that isn't there must be told not to exist, for either type."""
    assert resolved(name, is_musl=is_musl) == expected
