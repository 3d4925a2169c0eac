"""Rules that somebody else has removed come back; in a kernel."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.node.network import nft
from sampan.node.network.lan import Lan
from sampan.node.network.lan_ports import LanPorts
from sampan.node.network.network_policies import NetworkPolicies
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.table_watch import TableWatch
from tests.node.network import lab as labs
from tests.node.network.lab import NODE_IP, OUTSIDE_IP, Lab, endpoint, endpoint_slice, service
from tests.node.network.policies import world
from tests.node.network.policies.suite import DENY_INGRESS

pytestmark = pytest.mark.root
PORT = 31999
HOST_PORT = PodRequest("default", "one", host_ports=(HostPort("tcp", PORT, 8080),))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with labs.lab(tmp_path) as made:
        yield made


def flush(lab: Lab) -> None:
    """As the restart of Debian's firewall begins."""
    lab.run("node", lambda: subprocess.run(("nft", "flush", "ruleset"), check=True))


async def open_port(lab: Lab) -> str:
    """A pod that has a port of the node."""
    made = await lab.network.add("one", HOST_PORT)
    lab.where["one"] = os.open(made.netns_path, os.O_RDONLY | os.O_CLOEXEC)
    return made.ip


async def isolated(lab: Lab, pod: str) -> NetworkPolicies:
    """The policies of one who lets nobody to this pod."""
    policies = NetworkPolicies(lab.network.settings, lab.network.attachments)
    mine: dict[str, Any] = world.pod("x/a", lab.pods[pod].ip, node="n1")
    for plural, obj in (("networkpolicies", DENY_INGRESS), ("namespaces", world.namespace("x")), ("pods", mine)):
        policies.changed(plural, None, obj)
    await policies.apply({"networkpolicies": [DENY_INGRESS]})
    return policies


async def test_all_that_was_removed_comes_back(lab: Lab) -> None:
    """Ways out, ports of the node, services and policies; again and again."""
    one = await open_port(lab)
    two, _ = await lab.pod("two"), await lab.pod("shut")
    await lab.put(service(), endpoint_slice(endpoint(one)))
    policies = await isolated(lab, "shut")
    settings, news = lab.network.settings, asyncio.Event()
    tables = (settings.policies_table, settings.table, settings.services_table)
    watch = TableWatch(tables, (policies.restore, lab.network.restore, lab.proxy.restore))
    watch.attend(news.set)
    await watch.apply({})
    try:
        with lab.server("one"), lab.server("shut"), lab.server("outside"):
            for _ in range(2):
                flush(lab)
                async with asyncio.timeout(60):
                    await news.wait()
                news.clear()
                await watch.apply({})
                assert lab.ask("two", "10.96.0.9") == f"one {two.ip}"
                assert lab.ask("outside", NODE_IP, PORT).startswith("one ")
                assert lab.ask("two", OUTSIDE_IP, 8080) == f"outside {NODE_IP}"
                assert lab.ask("two", lab.pods["shut"].ip, 8080, patient=False) == "silence"
    finally:
        await watch.close()


async def test_only_what_is_its_own_is_news(lab: Lab) -> None:
    """Other tables come and go unnoticed."""
    ours, theirs = asyncio.Event(), asyncio.Event()
    watches = TableWatch(("lab",), ()), TableWatch(("strange",), ())
    for watch, heard in zip(watches, (ours, theirs), strict=True):
        watch.attend(heard.set)
        await watch.apply({})
    try:
        async with asyncio.timeout(60):
            await nft.apply("table ip strange\ndelete table ip strange\n")
            await theirs.wait()
            assert not ours.is_set()
            await nft.apply("delete table inet lab\n")
            await ours.wait()
    finally:
        for watch in watches:
            await watch.close()


async def test_the_hosts_table_comes_back_where_nodes_have_namespaces(lab: Lab, tmp_path: Path) -> None:
    """With the node ports that lead to the first node."""
    pods, services = ("10.244.0.0/16",), ("10.96.0.0/16",)
    ends = ("br", 0, "10.160.0.1", "10.160.0.2", 24, pods, pods, services, "10.160.0.2", "0.0.0.0")
    host = lab.where["outside"]
    ports = LanPorts(Lan(*ends, "sampan-0-lan", "lab/n1", tmp_path / "ns"), host)
    node_port = service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    ports.changed("services", None, node_port)
    news = asyncio.Event()
    watch = TableWatch(("sampan-0-lan",), (ports.restore,), host)
    watch.attend(news.set)
    await watch.apply({})
    await ports.apply({})

    def rules() -> str:
        command = ("nft", "list", "table", "inet", "sampan-0-lan")
        return lab.run("outside", lambda: subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    try:
        before = rules()
        assert "tcp . 30080" in before
        lab.run("outside", lambda: subprocess.run(("nft", "flush", "ruleset"), check=True))
        async with asyncio.timeout(60):
            await news.wait()
        await watch.apply({})
        assert rules() == before
    finally:
        await watch.close()


async def test_a_pod_comes_and_goes_before_the_rules_are_back(lab: Lab) -> None:
    """Its port of the node needs the table, and makes it anew with what others have."""
    await open_port(lab)
    other = PodRequest("default", "two", host_ports=(HostPort("tcp", PORT + 1, 8080),))
    flush(lab)
    await lab.network.add("two", other)
    with lab.server("one"):
        assert lab.ask("outside", NODE_IP, PORT).startswith("one ")
    flush(lab)
    await lab.network.remove("two")
    with lab.server("one"):
        assert lab.ask("outside", NODE_IP, PORT).startswith("one ")


async def test_a_family_that_the_kernel_lacks_keeps_no_table(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    """Those of the other families are removed all the same; what is refused and there is an error."""
    real = nft.apply

    async def without_netdev(text: str) -> None:
        if "netdev" in text:
            raise nft.NftError("Operation not supported")
        await real(text)

    await real("table ip mine\ntable ip6 mine\ntable inet mine\n")
    monkeypatch.setattr(nft, "apply", without_netdev)
    await nft.delete_table("mine")
    assert not nft.has_table("mine")
    await real("table netdev mine\n")
    with pytest.raises(nft.NftError):
        await nft.delete_table("mine")
