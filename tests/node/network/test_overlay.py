"""The ways to other nodes' pods: what is wanted, and that the kernel has that and nothing else."""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.node.network import namespaces, netlink_tables, overlay, overlay_links
from sampan.node.network.overlay import Way
from sampan.node.network.settings import NetworkSettings

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def settings(mode: str, **fields: Any) -> NetworkSettings:
    given = {
        "pod_cidr": "10.244.0.0/24",
        "cluster_pod_cidr": "10.244.0.0/16",
        "service_cidr": "10.96.0.0/16",
        "pod_cidr6": "fd44::/64",
        "cluster_pod_cidr6": "fd44::/48",
    }
    own = {"cluster": "t", "node": "n0", "bridge": "sampan0n0", "table": "t", "state_dir": Path("/nowhere")}
    return NetworkSettings(
        **{**own, **given, "node_ip": "192.168.7.1", "vni": 4242, "mtu": 1450, **fields}, overlay=mode
    )  # type: ignore[arg-type]


def node(number: int, addresses: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    own = addresses or (f"192.168.7.{number + 1}", f"fd07::{number + 1:x}")
    networks = [f"10.244.{number}.0/24", f"fd44:0:0:{number:x}::/64"]
    return {
        "metadata": {"name": f"n{number}"},
        "spec": {"podCIDR": networks[0], "podCIDRs": networks, **spec},
        "status": {"addresses": [{"type": "InternalIP", "address": address} for address in own]},
    }


def test_direct_ways() -> None:
    """A network over an address of its own family; no way to our own pods, nor where there is no such address."""
    nodes = [node(0), node(1), node(2, ("192.168.7.3", "fd44:0:0:2::1"))]
    assert overlay.wanted(nodes, settings("direct")) == {
        Way("10.244.1.0/24", "192.168.7.2"),
        Way("fd44:0:0:1::/64", "fd07::2"),
        Way("10.244.2.0/24", "192.168.7.3"),
    }


def test_tunnelled_ways() -> None:
    """Both families go through one tunnel, to a hardware address that follows from the machine's."""
    assert overlay.wanted([node(0), node(1)], settings("vxlan")) == {
        Way("10.244.1.0/24", "10.244.1.1", "0a:59:c0:a8:07:02", "192.168.7.2"),
        Way("fd44:0:0:1::/64", "fd44:0:0:1::1", "0a:59:c0:a8:07:02", "192.168.7.2"),
    }
    assert overlay.mtu(1500, "192.168.7.1") == 1450


@pytest.mark.parametrize(
    "other",
    [
        node(1, podCIDR="", podCIDRs=[]),
        node(1, podCIDR="0.0.0.0/0", podCIDRs=["0.0.0.0/0"]),
        node(1, podCIDR="10.96.0.0/24", podCIDRs=["10.96.0.0/24", "fd99::/64"]),
        node(1, podCIDR="10.244.0.0/24", podCIDRs=["10.244.0.0/24"]),
        node(1, ("not an address",)),
        node(1, ("192.168.7.1",)),
        {**node(1), "status": {}},
    ],
)
def test_no_way(other: dict[str, Any]) -> None:
    """A node without networks or addresses, with our own, or with networks that are not of the cluster's pods."""
    assert overlay.wanted([other], settings("vxlan")) == frozenset()


def test_only_what_moves_a_way_is_work() -> None:
    """Heartbeats change nodes all the time: what is wanted stays the same."""
    follower = overlay_links.Overlay(settings("vxlan"))
    follower.changed("nodes", None, node(1))
    before = dict(follower._ways)
    follower.changed("nodes", node(1), {**node(1), "status": {**node(1)["status"], "conditions": [{"type": "Ready"}]}})
    assert follower._ways == before
    follower.changed("nodes", node(1), None)
    assert follower._ways == {}


def in_a_network_of_its_own(work: Callable[[], None]) -> None:
    """Runs it in a thread with an empty network namespace, that ends with it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            os.close(namespaces.enter_new())
            work()
        except BaseException as error:  # noqa: BLE001 (it is raised where the test is)
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def ip(*arguments: str) -> str:
    return subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True).stdout


def a_machine() -> None:
    """With a segment to others, and the gateway of its pods."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "up0", "type", "veth", "peer", "name", "up1")
    ip("link", "add", "sampan0n0", "type", "bridge")
    for link in ("up0", "up1", "sampan0n0"):
        ip("link", "set", link, "up")
    ip("addr", "add", "192.168.7.1/24", "dev", "up0")
    ip("addr", "add", "10.244.0.1/24", "dev", "sampan0n0")
    for address, link in (("fd07::1/64", "up0"), ("fd44::1/64", "sampan0n0")):
        ip("addr", "add", address, "dev", link, "nodad")


def ours() -> set[str]:
    lines = (ip("route") + ip("-6", "route")).splitlines()
    return {" ".join(line.split()) for line in lines if "proto 83" in line}


@needs_root
def test_the_kernel_has_the_tunnelled_ways() -> None:
    """Routes, neighbours and ends of the tunnel of the nodes there are; again after a restart; nothing afterwards."""

    def work() -> None:
        a_machine()
        mine = settings("vxlan")
        overlay_links.program(mine, overlay.wanted([node(1), node(2)], mine))
        index = netlink_tables.links()["sampan0vx"].index
        overlay_links.program(mine, overlay.wanted([node(2), node(3)], mine))  # by an agent that knows nothing before
        assert netlink_tables.links()["sampan0vx"].index == index
        assert {line.split(" proto")[0] for line in ours()} == {
            f"{to} via {over} dev sampan0vx"
            for number in (2, 3)
            for to, over in (
                (f"10.244.{number}.0/24", f"10.244.{number}.1"),
                (f"fd44:0:0:{number}::/64", f"fd44:0:0:{number}::1"),
            )
        }
        ends = {(f"0a:59:c0:a8:07:0{number + 1}", f"192.168.7.{number + 1}") for number in (2, 3)}
        assert netlink_tables.tunnel_ends(index) == ends
        assert len(netlink_tables.neighbours(index)) == 4
        shown = ip("-d", "link", "show", "sampan0vx")
        assert "vxlan id 4242 local 192.168.7.1" in shown
        assert "dstport 8472 nolearning" in shown
        moved = settings("vxlan", mtu=1400)
        overlay_links.program(moved, overlay.wanted([node(3)], moved))
        assert netlink_tables.links()["sampan0vx"].mtu == 1400
        assert len(ours()) == 2
        overlay_links.remove_all(mine)
        assert not ours()
        assert "sampan0vx" not in netlink_tables.links()

    in_a_network_of_its_own(work)


@needs_root
def test_the_kernel_has_the_direct_ways() -> None:
    """Routes over the nodes' addresses; one that moves is replaced; those of other clusters stay."""

    def work() -> None:
        a_machine()
        mine = settings("direct")
        ip("route", "add", "10.243.1.0/24", "via", "192.168.7.9", "proto", "83")
        overlay_links.program(mine, overlay.wanted([node(1), node(2)], mine))
        assert len(ours()) == 5
        overlay_links.program(mine, overlay.wanted([node(1, ("192.168.7.77",))], mine))
        assert {line.split(" proto")[0] for line in ours()} == {
            "10.243.1.0/24 via 192.168.7.9 dev up0",
            "10.244.1.0/24 via 192.168.7.77 dev up0",
        }
        assert "src 10.244.0.1" in next(line for line in ours() if "10.244.1.0" in line)
        with pytest.raises(OSError, match="unreachable"):
            overlay_links.program(mine, overlay.wanted([node(1, ("203.0.113.5",)), node(2)], mine))
        assert any(line.startswith("10.244.2.0/24 via 192.168.7.3") for line in ours())  # the others are there
        overlay_links.remove_all(mine)
        assert {line.split(" proto")[0] for line in ours()} == {"10.243.1.0/24 via 192.168.7.9 dev up0"}

    in_a_network_of_its_own(work)
