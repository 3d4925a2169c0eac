"""Pods whose networks plugins make: chains, restarts, refusals, and what a plugin is told when; with Debian's plugins too."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from sampan.node.network import namespaces
from sampan.node.network.cni import network as cni_network
from sampan.node.network.cni.configuration import CniError
from sampan.node.network.cni.network import CniNetwork, Places
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.settings import NetworkSettings
from tests.node.network.conftest import SECOND_OCTET, UNIT
from tests.node.network.inside import ask, run, server

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("unchanged_host")]

DEBIANS = next(
    (p for p in (Path(sys.executable).parent.parent / "clients/cni", Path("/usr/lib/cni")) if p.is_dir()), None
)
BRIDGE = f"st{UNIT}br"
SUBNET = f"10.{SECOND_OCTET}.99.0/24"
PORT = 31996
WEB = PodRequest("shop", "web", host_ports=(HostPort("tcp", PORT, 80),), ingress_bits=80_000_000)
Tree = dict[str, Any]

needs_plugins = pytest.mark.skipif(
    DEBIANS is None, reason="needs containernetworking-plugins: scripts/test fetches them"
)

FAKE = """#!{python}
import json, os, signal, sys
verb, told = os.environ["CNI_COMMAND"], json.load(sys.stdin)
line = {{name: os.environ[name] for name in os.environ if name.startswith("CNI_")}}
with open({log!r}, "a") as log:
    print(json.dumps({{**line, "told": told}}), file=log)
if verb in told.get("fails", ()):
    print(json.dumps({{"cniVersion": "1.0.0", "code": 11, "msg": "no luck", "details": "today"}}))
    sys.exit(1)
if verb in told.get("hangs", ()) and os.path.exists({log!r} + ".hang"):
    signal.pause()
if verb in told.get("says", ()):
    print(told["says"][verb])
    sys.exit(0)
if told.get("killed"):
    os.kill(os.getpid(), 9)
if told.get("breaks"):
    print("panic: oh", file=sys.stderr)
    sys.exit(2)
if verb == "ADD":
    result = told.get("prevResult") or {{"cniVersion": told["cniVersion"], "ips": []}}
    result["ips"] = result.get("ips", []) + [{{"address": a}} for a in told.get("gives", ())]
    print(json.dumps(result))
"""


class Node:
    """A node with plugins of its own; `network` anew is the node's agent restarted."""

    def __init__(self, settings: NetworkSettings, folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self.log = folder / "log"
        self.conf, self.bin = folder / "conf", folder / "bin"
        for each in (self.conf, self.bin):
            each.mkdir()
        for name in ("one", "two"):
            (self.bin / name).write_text(FAKE.format(python=sys.executable, log=str(self.log)))
            (self.bin / name).chmod(0o755)

    @property
    def network(self) -> CniNetwork:
        return CniNetwork(self.settings, Places((str(self.conf),), (str(self.bin), str(DEBIANS))))

    def configure(self, *plugins: Tree, version: str = "1.0.0") -> None:
        given = {"cniVersion": version, "name": "net", "plugins": list(plugins)}
        (self.conf / "10.conflist").write_text(json.dumps(given))

    def calls(self) -> list[Tree]:
        """What plugins were asked since the last look."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    async def asked(self, verb: str) -> None:
        """Returns once a plugin has been asked it."""
        async with asyncio.timeout(60):
            while not (self.log.exists() and f'"CNI_COMMAND": "{verb}"' in self.log.read_text()):
                await asyncio.sleep(0.01)

    def hang(self, *, is_so: bool = True) -> None:
        """Plugins that hang do so from now on, or no longer."""
        flag = Path(f"{self.log}.hang")
        if is_so:
            flag.touch()
        else:
            flag.unlink()

    def programs(self) -> list[str]:
        """Plugins that run just now."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and str(self.bin) in (entry / "cmdline").read_text():
                    found.append(entry.name)
        return found

    def verbs(self) -> list[tuple[str, str]]:
        return [(call["CNI_COMMAND"], call["told"]["type"]) for call in self.calls()]


@pytest.fixture
async def node(make_settings: Callable[..., NetworkSettings], tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Node(make_settings(has_plugins=True), tmp_path_factory.mktemp("cni"))
    await made.network.setup()
    yield made
    await made.network.teardown()


async def test_plugins_run_in_order_and_are_undone_in_reverse(node: Node) -> None:
    """Each is told what those before it made; at the end all are told the whole result."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]}, {"type": "two", "gives": ["fd00::3/64"]})
    made = await node.network.add("u-1", PodRequest("shop", "web"))
    assert made.ips == ("10.1.2.3", "fd00::3")
    first, second = node.calls()
    assert (first["CNI_COMMAND"], first["CNI_IFNAME"], first["CNI_CONTAINERID"]) == ("ADD", "eth0", "u-1")
    assert first["CNI_NETNS"] == made.netns_path
    assert first["CNI_PATH"].startswith(f"{node.bin}:")
    assert "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;" in first["CNI_ARGS"]
    assert "prevResult" not in first["told"]
    assert second["told"]["prevResult"]["ips"] == [{"address": "10.1.2.3/24"}]
    assert await node.network.add("u-1") == made
    assert node.calls() == []
    await node.network.remove("u-1")
    undone = node.calls()
    assert [(c["CNI_COMMAND"], c["told"]["type"]) for c in undone] == [("DEL", "two"), ("DEL", "one")]
    assert all(len(call["told"]["prevResult"]["ips"]) == 2 for call in undone)
    assert not Path(made.netns_path).exists()
    await node.network.remove("u-1")
    assert node.calls() == []


async def test_a_restarted_agent_checks_and_undoes_with_what_it_did(node: Node) -> None:
    """Also when the configuration is another by then, or gone."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]})
    made = await node.network.add("u-1", PodRequest("shop", "web"))
    node.configure({"type": "two", "gives": ["10.1.2.4/24"]})
    node.calls()
    restarted = node.network
    await restarted.setup()
    await node.asked("CHECK")
    assert node.verbs() == [("CHECK", "one")]
    assert await restarted.attachments() == {"u-1": made}
    (node.conf / "10.conflist").unlink()
    await node.network.remove("u-1")
    assert node.verbs() == [("DEL", "one")]


async def test_old_versions_are_neither_checked_nor_told(node: Node) -> None:
    """0.3.1 knows no CHECK, and its DEL no result."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]}, version="0.3.1")
    await node.network.add("u-1")
    await node.network.setup()
    await node.network.remove("u-1")
    *_, undone = calls = node.calls()
    assert [call["CNI_COMMAND"] for call in calls] == ["ADD", "DEL"]
    assert "prevResult" not in undone["told"]


async def test_what_fails_is_undone_and_told(node: Node) -> None:
    """In the plugin's own words, which the pod's event has."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]}, {"type": "two", "fails": ["ADD"]})
    with pytest.raises(CniError) as refused:
        await node.network.add("u-1")
    text = 'failed to setup network for sandbox "u-1": plugin type="two" failed (add): no luck; today'
    assert str(refused.value) == text
    assert node.verbs() == [("ADD", "one"), ("ADD", "two"), ("DEL", "two"), ("DEL", "one")]
    assert await node.network.attachments() == {}
    assert not node.settings.namespace_path("u-1").exists()


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        ({"type": "three"}, 'failed (add): failed to find plugin "three" in path ['),
        ({"type": "one", "breaks": True}, 'netplugin failed: "panic: oh"'),
        ({"type": "one", "killed": True}, "netplugin failed with no error message: signal: killed"),
        ({"type": "one"}, 'failed to find network info for sandbox "u-1"'),
    ],
)
async def test_each_refusal_says_why(node: Node, plugin: Tree, why: str) -> None:
    """A plugin that isn't there, one that crashes, one that is killed, and one that gives no address."""
    node.configure(plugin)
    with pytest.raises(CniError) as refused:
        await node.network.add("u-1")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("[1]", "its answer is no object: '[1]"),
        ('{"ips": [{"addr', "its answer is no JSON: "),
        ('{"ips": 3}', "the result of network 'net' can't be read: "),
        ('{"ips": [{"address": "nowhere"}]}', "the result of network 'net' can't be read: "),
        ('{"ips": [{"interface": 0, "address": "10.1.2.3/24"}], "interfaces": ["eth0"]}', "can't be read: "),
    ],
)
async def test_garbage_is_no_network(node: Node, answer: str, why: str) -> None:
    """The pod is told, and what the plugin may have made is taken away; what it says to that does not matter."""
    node.configure({"type": "one", "says": {"ADD": answer, "DEL": answer}})
    with pytest.raises(CniError, match='failed to setup network for sandbox "u-1": ') as refused:
        await node.network.add("u-1")
    assert why in str(refused.value)
    assert node.verbs() == [("ADD", "one"), ("DEL", "one")]
    assert await node.network.attachments() == {} and not node.settings.namespace_path("u-1").exists()


async def test_who_is_broken_off_does_not_wait_for_the_end(node: Node) -> None:
    """A plugin that hangs is killed, and may hang as well when it is to take away what it has made: that is `remove`'s."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"], "hangs": ["ADD", "DEL"]})
    node.hang()
    network = node.network
    adding = asyncio.ensure_future(network.add("u-1"))
    await node.asked("ADD")
    adding.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait({adding})
    assert adding.cancelled() and node.verbs() == [("ADD", "one")]
    async with asyncio.timeout(60):
        while node.programs():
            await asyncio.sleep(0.01)
    node.hang(is_so=False)
    await network.remove("u-1")
    assert node.verbs() == [("DEL", "one")]
    assert not node.settings.namespace_path("u-1").exists()
    assert not (node.settings.state_dir / "cni").exists()


async def test_a_check_that_hangs_holds_nobody(node: Node) -> None:
    """Neither the agent's start nor the pod's end, which ends the check first."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"], "hangs": ["CHECK"]})
    await node.network.add("u-1")
    node.hang()
    restarted = node.network
    async with asyncio.timeout(60):
        await restarted.setup()
        await node.asked("CHECK")
        await restarted.remove("u-1")
        while node.programs():
            await asyncio.sleep(0.01)
    assert node.verbs() == [("ADD", "one"), ("CHECK", "one"), ("DEL", "one")]


async def test_the_node_goes_though_plugins_hang(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a time, all together, and then what they made goes with the namespaces."""
    monkeypatch.setattr(cni_network, "TEARDOWN_SECONDS", 0.5)
    node.configure({"type": "one", "gives": ["10.1.2.3/24"], "hangs": ["DEL"]})
    network = node.network
    for uid in ("u-1", "u-2"):
        await network.add(uid)
    node.hang()
    async with asyncio.timeout(60):
        await network.teardown()
        while node.programs():
            await asyncio.sleep(0.01)
    assert not node.settings.state_dir.exists() or not list(node.settings.state_dir.rglob("*.json"))
    assert not node.settings.namespaces_dir.exists()


async def test_half_made_pods_are_undone_before_they_are_made(node: Node) -> None:
    """What an agent that was killed began is taken away first."""
    node.configure({"type": "one", "fails": ["ADD", "DEL"]})
    with pytest.raises(CniError):
        await node.network.add("u-1")
    node.calls()
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]})
    record = node.settings.state_dir / "cni" / "u-1.json"
    record.write_text(record.read_text().replace('"fails":["ADD","DEL"]', '"was":"broken"'))
    assert (await node.network.add("u-1")).ip == "10.1.2.3"
    assert node.verbs() == [("DEL", "one"), ("ADD", "one")]


async def test_a_namespace_that_is_gone(node: Node) -> None:
    """As after a reboot, of which its file is left: plugins are asked without it to take away the rest."""
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]})
    made = await node.network.add("u-1")
    namespaces.remove(Path(made.netns_path))
    Path(made.netns_path).touch()
    node.calls()
    await node.network.remove("u-1")
    (asked,) = node.calls()
    assert (asked["CNI_COMMAND"], asked["CNI_NETNS"]) == ("DEL", "")
    assert not Path(made.netns_path).exists()


async def test_pods_of_the_built_in_network_stay(node: Node) -> None:
    """Those that are there when configuration comes keep their addresses, and go as they came."""
    old = await PodNetwork(node.settings).add("old")
    node.configure({"type": "one", "gives": ["10.1.2.3/24"]})
    network = node.network
    await network.setup()
    assert await network.add("old") == old
    new = await network.add("new")
    assert await network.attachments() == {"old": old, "new": new}
    async with server(old, "old", 80):
        assert await ask(old.ip, 80) == f"old {node.settings.gateway}"
    await network.remove("old")
    assert set(await network.attachments()) == {"new"}


def chain(*main: Tree) -> list[Tree]:
    """With ports of the node and rates."""
    return [
        *main,
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ]


def ranges(folder: Path, **more: Any) -> Tree:
    return {"type": "host-local", "dataDir": str(folder), "routes": [{"dst": "0.0.0.0/0"}], **more}


@pytest.fixture
async def same_tables() -> AsyncIterator[None]:
    """portmap leaves its chains behind, in tables that may be of its own making."""
    before = (await run("nft", "list", "tables")).splitlines()
    yield None
    for table in (await run("nft", "list", "tables")).splitlines():
        if table not in before and table.split()[-1] in ("nat", "filter", "mangle", "raw"):
            await run("nft", "delete", *table.split())


@needs_plugins
@pytest.mark.skipif(not which("iptables"), reason="portmap needs iptables")
@pytest.mark.usefixtures("same_tables")
async def test_debians_bridge(node: Node, tmp_path: Path) -> None:
    """bridge, host-local, portmap and bandwidth: pods reach each other and the host, ports and rates hold, all goes again."""
    ipam = ranges(tmp_path, ranges=[[{"subnet": SUBNET}]])
    node.configure(*chain({"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": ipam}))
    network = node.network
    try:
        web, other = await network.add("u-1", WEB), await network.add("u-2", PodRequest("shop", "other"))
        async with server(web, "web", 80):
            assert await ask(web.ip, 80, other) == f"web {other.ip}"
            assert await ask(web.ip, 80) == f"web {SUBNET.replace('.0/24', '.1')}"
            assert (await ask(node.settings.gateway, PORT, other)).startswith("web ")
        assert "tbf" in await run("tc", "qdisc")
        await node.network.setup()
        await network.remove("u-1")
        await network.remove("u-2")
        assert await ask(node.settings.gateway, PORT) == "Connection refused"
        assert not [name for name in os.listdir(tmp_path / "net") if name[0].isdigit()]
    finally:
        await run("ip", "link", "del", BRIDGE)


@needs_plugins
async def test_debians_ptp_and_loopback(node: Node, tmp_path: Path) -> None:
    """A cable for each pod, with the node's own range by `ipRanges`; older results are read as well."""
    ptp = {"type": "ptp", "ipam": ranges(tmp_path), "capabilities": {"ipRanges": True, "ips": True}}
    node.configure(ptp, {"type": "loopback"}, version="0.3.1")
    network = node.network
    wished = str(node.settings.network[200])
    web = await network.add("u-1", PodRequest("shop", "web", ips=(f"{wished}/24",)))
    other = await network.add("u-2", PodRequest("shop", "other"))
    assert web.ip == wished
    async with server(web, "web", 80):
        assert await ask(web.ip, 80, other) == f"web {other.ip}"
        assert await ask(web.ip, 80) == f"web {node.settings.gateway}"
    await network.remove("u-1")
    await network.remove("u-2")
