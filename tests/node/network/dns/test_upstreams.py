"""Which servers are asked: the host's files, and the ConfigMap."""

import os
from pathlib import Path

import pytest

from sampan.node.network.dns import upstreams
from sampan.node.network.dns.upstreams import BadUpstreams, HostServers


def test_the_host_s_servers_are_those_of_its_file_now(tmp_path: Path) -> None:
    """At most three, without ourselves and without what is no address; a new file counts at once."""
    file = tmp_path / "resolv.conf"
    servers = HostServers(["10.244.0.1", "10.96.0.10"], [str(file)])
    assert servers.now() == ()
    lines = "# x\nnameserver 10.244.0.1\nnameserver ::1\nnameserver 192.0.2.1\nsearch a\nnameserver\nnameserver me\n"
    file.write_text(lines + "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.3\n")
    assert servers.now() == (("::1", 53), ("192.0.2.1", 53), ("fe80::1%eth0", 53))
    file.write_text("nameserver 192.0.2.7\n")
    os.utime(file, ns=(1, 1))
    assert servers.now() == (("192.0.2.7", 53),)


def test_a_stub_of_systemd_is_seen_through(tmp_path: Path) -> None:
    """What it asks itself is asked; where that isn't known, the stub."""
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    servers = HostServers((), [str(stub), str(real)])
    assert servers.now() == (("127.0.0.53", 53),)
    real.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert servers.now() == (("192.0.2.1", 53), ("192.0.2.2", 53))


def test_the_config_map_has_the_format_that_is_known() -> None:
    """Addresses with ports or without, of both families."""
    data = {
        "stubDomains": '{"acme.test": ["192.0.2.1:5353"], "deep.acme.test.": ["[2001:db8::1]:53", "2001:db8::2"]}',
        "upstreamNameservers": '["192.0.2.3"]',
        "federations": "{}",
    }
    found = upstreams.of_config_map({"data": data})
    assert found.servers == (("192.0.2.3", 53),)
    assert found.stub(("db", "acme", "test")) == (("192.0.2.1", 5353),)
    assert found.stub(("x", "deep", "acme", "test")) == (("2001:db8::1", 53), ("2001:db8::2", 53))
    assert found.stub(("acme",)) == found.stub(()) == ()
    assert upstreams.of_config_map(None) == upstreams.of_config_map({}) == upstreams.Upstreams()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"stubDomains": "{"}, "stubDomains is no JSON"),
        ({"stubDomains": "[]"}, "stubDomains is not an object"),
        ({"stubDomains": '{"a": []}', "upstreamNameservers": "{}"}, "upstreamNameservers is not a list"),
        ({"stubDomains": '{"a..b": ["192.0.2.1"]}'}, "stubDomains: 'a..b' has a label of 0 bytes"),
        ({"stubDomains": '{"a": ["ns.example.com"]}'}, "stubDomains a: "),
        ({"upstreamNameservers": '["192.0.2.1:0"]'}, "upstreamNameservers: 0 is no port"),
        ({"upstreamNameservers": '["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]'}, "at most 3"),
        ({"upstreamNameservers": "[1]"}, "upstreamNameservers: "),
    ],
)
def test_a_config_map_that_cannot_be_read_says_why(data: dict[str, str], why: str) -> None:
    """As a whole."""
    with pytest.raises(BadUpstreams, match=why):
        upstreams.of_config_map({"data": data})
