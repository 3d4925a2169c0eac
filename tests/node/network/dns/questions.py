"""Objects in a short form, questions as packets, and answers as text."""

from typing import Any

import dnslib
import yaml

from sampan.kit.frozen import freeze
from sampan.node.network.dns.answers import Answers
from sampan.node.network.dns.zone import Zone

NETWORKS = ("10.244.0.0/16", "10.96.0.0/16", "fd00:96::/112")
_PLURALS = {"Namespace": "namespaces", "Service": "services", "EndpointSlice": "endpointslices"}

Object = dict[str, Any]


def thing(text: str) -> tuple[str, Object]:
    """(plural, object) of "Service shop/db {clusterIP: None}"."""
    kind, where, *rest = text.split(maxsplit=2)
    given = yaml.safe_load(rest[0]) if rest else {}
    namespace, _, name = where.rpartition("/")
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    if kind == "EndpointSlice":
        own = {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}}
        return _PLURALS[kind], {**given, "metadata": metadata | own | given.get("metadata", {})}
    return _PLURALS[kind], {"metadata": metadata, "spec": given}


def answers(*given: str) -> Answers:
    """A zone with these objects."""
    made = Answers(Zone("cluster.local", NETWORKS))
    for text in given:
        plural, item = thing(text)
        made.change(plural, None, freeze(item))
    return made


def packet(name: str, type: str = "A", *, edns: int = 0, id: int = 7) -> bytes:
    """A question."""
    number = {"IXFR": 251}.get(type) or getattr(dnslib.QTYPE, type)
    record = dnslib.DNSRecord(dnslib.DNSHeader(id=id, rd=1), q=dnslib.DNSQuestion(name, number))
    if edns:
        record.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(record.pack())


def shown(record: dnslib.DNSRecord) -> list[str]:
    """The code, the answer's records, then "--" and the authority's, "+" and the additional ones."""
    name = record.q.qname
    found = [dnslib.RCODE.get(record.header.rcode), *(_line(item, name) for item in record.rr)]
    for mark, section in (("--", record.auth), ("+", record.ar)):
        lines = [_line(item, None) for item in section if item.rtype != dnslib.QTYPE.OPT]
        found += [mark, *lines] if lines else []
    return found


def _line(item: dnslib.RR, name: dnslib.DNSLabel | None) -> str:
    type = dnslib.QTYPE.get(item.rtype)
    data = "" if type == "SOA" else f" {item.rdata}"
    return f"{'=' if item.rname == name else item.rname} {type}{data}"
