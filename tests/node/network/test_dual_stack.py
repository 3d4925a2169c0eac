"""Pods with addresses of both families on a real host: the same reach, the same limits, nothing left behind."""

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.node.network import firewall, forwarding, sysctls
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.settings import NetworkSettings
from tests.node.network.inside import ask, run, server

root = pytest.mark.root


def test_both_addresses_have_the_same_number(make_settings: Callable[..., NetworkSettings]) -> None:
    """So one lease is for both, and what was leased before a restart still is."""
    settings = make_settings(pod_cidr6="fd00:9::/64")
    assert settings.address6(str(settings.network[254])) == "fd00:9::fe"
    assert settings.gateway6 == "fd00:9::1"
    assert make_settings().address6(str(settings.network[2])) == make_settings().gateway6 == ""


def test_rules_of_one_family_say_nothing_of_the_other(make_settings: Callable[..., NetworkSettings]) -> None:
    """Where pods have IPv4 only, what comes from them in IPv6 is nobody's."""
    assert "ip6 daddr" not in firewall.table(make_settings())
    assert "ip6 saddr fd00:9::/64" in firewall.table(
        make_settings(pod_cidr6="fd00:9::/64", cluster_pod_cidr6="fd00:9::/56")
    )


def test_a_links_name_may_have_dots(tmp_path: Path) -> None:
    """In a setting's name, what comes after the first slash is left as it is."""
    proc = tmp_path / "proc"
    (proc / "net/ipv6/conf/eth0.5").mkdir(parents=True)
    setting = proc / "net/ipv6/conf/eth0.5/accept_ra"
    setting.write_text("1\n")
    sysctls.claim(tmp_path / "run", "net.ipv6.conf/eth0.5/accept_ra", "2", "a", proc=proc)
    assert setting.read_text() == "2"
    assert sysctls.claimed(tmp_path / "run", "net.ipv6.conf/") == ["net.ipv6.conf/eth0.5/accept_ra"]
    sysctls.release(tmp_path / "run", "net.ipv6.conf/eth0.5/accept_ra", "a", proc=proc)
    assert setting.read_text() == "1"
    sysctls.claim(tmp_path / "run", "net.ipv6.conf/eth0.5/accept_ra", "2", "a", proc=proc)
    setting.unlink()
    sysctls.release(tmp_path / "run", "net.ipv6.conf/eth0.5/accept_ra", "a", proc=proc)
    assert not (tmp_path / "run").exists()


def test_links_that_hear_routers_are_those_with_routes_of_theirs(tmp_path: Path) -> None:
    """Others need no change so that the host may forward."""
    nowhere, ours = "0" * 32, "fd00" + "0" * 28
    lines = [
        f"{nowhere} 00 {nowhere} 00 fe80{'0' * 28} 00000400 00000001 00000000 00450003     eth0",
        f"{ours} 40 {nowhere} 00 {nowhere} 00000100 00000001 00000000 00000001     eth1",
    ]
    (tmp_path / "routes").write_text("\n".join(lines))
    assert forwarding.listeners(tmp_path / "routes") == ["eth0"]


@root
async def test_pods_reach_each_other_and_the_host(dual: PodNetwork) -> None:
    """Under their own address, in either family."""
    one, two = await dual.add("one"), await dual.add("two")
    assert one.ips == (one.ip, one.ip6)
    async with server(one, "six", 80, host="::"), server(one, "four", 81):
        assert await ask(one.ip6, 80, two) == f"six {two.ip6}"
        assert await ask(one.ip6, 80, one) == f"six {one.ip6}"
        assert await ask(one.ip6, 80) == f"six {dual.settings.gateway6}"
        assert await ask(one.ip, 81, two) == f"four {two.ip}"
    assert await PodNetwork(dual.settings).attachments() == {"one": one, "two": two}


@root
def test_forwarding_is_put_back(make_settings: Callable[..., NetworkSettings], tmp_path: Path) -> None:
    """As it was for both families, with the last node that needed it."""
    before = [sysctls.read(name) for name in (forwarding.IPV4, forwarding.IPV6)]
    one, two = (make_settings(n, pod_cidr6="fd00:9::/64", run_dir=tmp_path / "run") for n in (1, 2))
    for settings in (one, two):
        forwarding.claim(settings)
    links = tmp_path / "links"
    links.mkdir()
    forwarding.release(one, links)
    assert [sysctls.read(name) for name in (forwarding.IPV4, forwarding.IPV6)] == ["1", "1"]
    forwarding.release(two, links)
    assert [sysctls.read(name) for name in (forwarding.IPV4, forwarding.IPV6)] == before
    assert not (tmp_path / "run").exists()


@root
async def test_the_host_forwards_while_there_are_pods(dual: PodNetwork) -> None:
    """Both families; the fixture sees that it is as before afterwards."""
    assert sysctls.read(forwarding.IPV6) == sysctls.read(forwarding.IPV4) == "1"
    pod = await dual.add("one")
    routes = await run("ip", "-6", "route", pod=pod)
    assert f"default via {dual.settings.gateway6} dev eth0" in routes
    assert "fe80" not in await run("ip", "-6", "addr", pod=pod)


@root
async def test_an_address_without_a_pod_is_unreachable_at_once(dual: PodNetwork) -> None:
    """From a pod and from the host."""
    pod = await dual.add("one")
    nobody = str(ipaddress.IPv6Network(dual.settings.pod_cidr6)[77])
    assert await ask(nobody, 80, pod) == "No route to host"
    assert await ask(nobody, 80) == "No route to host"


@root
async def test_a_pod_cannot_speak_under_anothers_address(dual: PodNetwork) -> None:
    """The server never sees what comes from the wrong cable."""
    one, two = await dual.add("one"), await dual.add("two")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listener:
        listener.bind((dual.settings.gateway6, 0))
        listener.setblocking(False)
        port = str(listener.getsockname()[1])
        code = (
            "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM);"
            "s.setsockopt(socket.IPPROTO_IPV6, 78, 1); s.bind((sys.argv[1], 0));"
            "s.sendto(sys.argv[1].encode(), (sys.argv[2], int(sys.argv[3])))"
        )
        for source in (one.ip6, two.ip6):
            assert await run(sys.executable, "-c", code, source, dual.settings.gateway6, port, pod=two) == ""
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listener, 99), 60) == two.ip6.encode()


@root
async def test_host_ports_are_of_both_families(dual: PodNetwork) -> None:
    """By the node's address of either, and to itself."""
    gateway6 = dual.settings.gateway6
    request = PodRequest(host_ports=(HostPort("tcp", 31998, 80), HostPort("udp", 31998, 80, gateway6)))
    web, other = await dual.add("web", request), await dual.add("other")
    async with server(web, "web", 80, host="::"), server(web, "names", 80, "udp", "::"):
        assert await ask(gateway6, 31998, other) == f"web {other.ip6}"
        assert await ask(gateway6, 31998, web) == f"web {gateway6}"
        assert await ask(gateway6, 31998) == f"web {gateway6}"
        assert await ask("127.0.0.1", 31998) == f"web ::ffff:{dual.settings.gateway}"
        assert await ask(gateway6, 31998, other, "udp") == f"names {other.ip6}"
