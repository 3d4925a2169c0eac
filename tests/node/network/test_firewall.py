"""What gets to pods from outside: the cluster's own pods and neighbours by the way that leads to them, and what is published."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.node.network import firewall, mtu
from sampan.node.network.pod_network import PodAttachment, PodNetwork
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.settings import NetworkSettings
from tests.node.network import lab as labs
from tests.node.network.conftest import SECOND_OCTET, UNIT
from tests.node.network.inside import ask, run, server

HERE, THERE, STRANGER = "198.51.100.1", "198.51.100.2", "198.51.100.66"
OTHER_POD = f"10.{SECOND_OCTET}.77.7"
LINK = f"st{UNIT}up"
NAMED = "/run/netns"
"""Where `ip netns` has network namespaces."""


def test_chains_that_drop_are_opened_for_pods_only(make_settings: Callable[..., NetworkSettings]) -> None:
    """In every family that carries their packets; those that accept, or look at what leaves, need nothing."""
    base = {"table": "filter", "policy": "drop", "hook": "forward", "type": "filter"}
    listing = [
        {"metainfo": {}},
        {"chain": {**base, "family": "ip", "name": "FORWARD"}},
        {"chain": {**base, "family": "ip6", "name": "INPUT", "hook": "input"}},
        {"chain": {**base, "family": "inet", "name": "fine", "policy": "accept"}},
        {"chain": {**base, "family": "inet", "name": "out", "hook": "output"}},
        {"chain": {**base, "family": "bridge", "name": "b"}},
    ]
    chains = firewall.dropping_chains(listing)
    assert chains == [("ip", "filter", "FORWARD"), ("ip6", "filter", "INPUT")]
    settings = make_settings()
    lines = firewall.openings(settings, chains).splitlines()
    assert len(lines) == 4
    assert all(f'"{settings.cable_prefix}*" accept' in line for line in lines)
    comment = {"comment": firewall.mark(settings), "family": "ip", "table": "filter", "chain": "FORWARD", "handle": 7}
    assert firewall.closings(settings, [{"rule": comment}, {"rule": {**comment, "comment": "x"}}]) == (
        "delete rule ip filter FORWARD handle 7"
    )


def test_by_a_tunnel_only_what_comes_out_of_it_counts(make_settings: Callable[..., NetworkSettings]) -> None:
    """A sender on the uplink itself can claim any address."""
    tunnelled = make_settings(uplink="eth0", overlay="vxlan")
    assert f'iifname "{tunnelled.overlay_link}" ip saddr' in firewall.table(tunnelled)
    assert 'iifname "eth0"' not in firewall.table(tunnelled)
    assert 'iifname "eth0" ip saddr' in firewall.table(make_settings(uplink="eth0", overlay="direct"))


@pytest.mark.root
def test_packets_are_as_large_as_the_way_out_takes() -> None:
    """The link's own figure, less a tunnel's headers; the usual one where there is no such link."""
    assert mtu.of_pods("lo", "direct", "") == 65535
    assert mtu.of_pods("lo", "vxlan", "192.0.2.1") == 65536 - 50
    assert mtu.of_pods("lo", "vxlan", "2001:db8::1") == 65536 - 70
    assert mtu.of_pods("no-such-link", "vxlan", "192.0.2.1") == 1450
    assert mtu.of_link(mtu.default_link()) in (0, mtu.of_pods("", "", ""))


@dataclass(frozen=True)
class Neighbourhood:
    """A node with an uplink, and the machine at its other end."""

    network: PodNetwork
    machine: PodAttachment


def is_mounted(path: str) -> bool:
    return any(line.split()[4] == path for line in Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.fixture
async def around(unchanged_host: None, make_settings: Callable[..., NetworkSettings]) -> AsyncIterator[Neighbourhood]:
    settings = make_settings(node_ip=HERE, uplink=LINK, overlay="direct", reachable_from=(f"{THERE}/32",), mtu=1400)
    network = PodNetwork(settings)
    machine = PodAttachment(f"{NAMED}/{LINK}", THERE)
    was_mounted = is_mounted(NAMED)
    try:
        await network.setup()
        for command in (
            f"ip netns add {LINK}",
            f"ip link add {LINK} type veth peer name eth0 netns {LINK}",
            f"ip addr add {HERE}/24 dev {LINK}",
            f"ip link set {LINK} up",
            f"ip route add {OTHER_POD} via {THERE} dev {LINK}",
            f"ip -n {LINK} link set eth0 up",
            *(f"ip -n {LINK} addr add {address} dev eth0" for address in (f"{THERE}/24", f"{STRANGER}/24", OTHER_POD)),
            f"ip -n {LINK} route add {settings.pod_cidr} via {HERE}",
        ):
            assert await run(*command.split()) == "", command
        yield Neighbourhood(network, machine)
    finally:
        await run("ip", "netns", "del", LINK)
        if not was_mounted and is_mounted(NAMED):  # by the first `ip netns add` since the machine was started
            await run("umount", NAMED)
        await run("ip", "link", "del", LINK)
        await network.teardown()


@pytest.mark.root
async def test_neighbours_reach_pods_and_strangers_do_not(around: Neighbourhood) -> None:
    """Another node's pod and what is said to be a neighbour get in; another address of the same machine doesn't."""
    pod = await around.network.add("one")
    code = (
        "import socket, sys\n"
        "for source in sys.argv[3:]:\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((source, 0)); s.settimeout(3)\n"
        "    s.sendto(b'?', (sys.argv[1], int(sys.argv[2])))\n"
        "print(s.recv(99).decode())"
    )
    async with server(pod, "one", 99, "udp"):
        for friend in (THERE, OTHER_POD):
            said = await run(sys.executable, "-c", code, pod.ip, "99", STRANGER, friend, pod=around.machine)
            assert said == f"one {friend}"
    text = await run("nft", "list", "chain", "inet", around.network.settings.table, "forward")
    assert "dropped" not in text
    async with server(pod, "one", 80):
        assert await ask(pod.ip, 80, around.machine) == f"one {THERE}"


@pytest.mark.root
async def test_a_published_port_is_reached_from_other_machines(around: Neighbourhood) -> None:
    """By the node's address, also by strangers; the pod sees who asks. And pods speak to other machines as the node, to other pods as themselves."""
    web = await around.network.add("web", PodRequest(host_ports=(HostPort("tcp", 31997, 80),)))
    async with server(web, "web", 80), server(around.machine, "far", 80):
        code = "import socket; print(socket.create_connection(({!r}, 31997), 3, ({!r}, 0)).recv(99).decode())"
        said = await run(sys.executable, "-c", code.format(HERE, STRANGER), pod=around.machine)
        assert said == f"web {STRANGER}"
        assert await ask(THERE, 80, web) == f"far {HERE}"
        assert await ask(OTHER_POD, 80, web) == f"far {web.ip}"
        assert await ask(HERE, 31997, web) == f"web {around.network.settings.gateway}"


@pytest.mark.root
async def test_pods_and_bridge_have_the_nodes_packet_size(around: Neighbourhood) -> None:
    """Both ends of a cable, and the gateway's link, also when that was made with another one."""
    settings = around.network.settings
    pod = await around.network.add("one")
    for link in (settings.bridge, settings.link_name(pod.ip)):
        assert "mtu 1400" in await run("ip", "link", "show", link)
    assert "mtu 1400" in await run("ip", "link", "show", "eth0", pod=pod)


@pytest.mark.root
@pytest.mark.parametrize(
    ("served", "is_reached", "is_reached6"),
    [
        ({"uplink": "", "node_ip": ""}, False, False),
        ({"uplink": "", "node_ip": "", "has_plugins": True, "outside": "eth0"}, False, False),
        ({"uplink": "", "node_ip": "", "has_plugins": True, "outside": "eth1"}, True, True),
        ({"uplink": "", "node_ip": "", "node_port_addresses": ("10.244.0.1", "127.0.0.0/8")}, True, False),
        ({"uplink": "", "node_ip": "", "node_port_addresses": ("0.0.0.0/0", "::/0")}, True, True),
        ({"uplink": "eth0", "overlay": "direct"}, True, True),
        ({"uplink": "", "overlay": "vxlan"}, False, False),
    ],
)
async def test_who_knows_a_way_to_the_gateway_finds_nobody_there(
    tmp_path: Path, served: dict[str, object], is_reached: bool, is_reached6: bool
) -> None:
    """Neither what listens there nor pods' ports, unless others are served; pods and the host always do."""
    async with labs.lab(tmp_path, **served) as lab:
        away = "outside"
        for where, way in (("10.244.0.0/24", labs.NODE_IP), ("fd00:10:244::/120", "fd00:2::1")):
            command = f"nsenter --net=/proc/{os.getpid()}/fd/{lab.where[away]} ip route add {where} via {way}"
            assert await run(*command.split()) == ""
        web = await lab.network.add("web", PodRequest(host_ports=(HostPort("tcp", 31997, 8080),)))
        lab.where["web"] = os.open(web.netns_path, os.O_RDONLY | os.O_CLOEXEC)
        await lab.pod("other")
        with lab.server("node", 10250), lab.server("web"):
            for gateway, is_open in (("10.244.0.1", is_reached), ("fd00:10:244::1", is_reached6)):
                for port, who in ((10250, "node"), (31997, "web")):
                    assert {lab.ask(near, gateway, port).split()[0] for near in ("node", "other", "web")} == {who}
                    expected = who if is_open else "silence"
                    assert lab.ask(away, gateway, port, patient=is_open).split()[0] == expected
            assert lab.ask(away, labs.NODE_IP, 10250).split()[0] == "node"
