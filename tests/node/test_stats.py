"""What a node and its containers use: read from cgroups of both versions, and told as upstream's kubelet tells it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from sampan.kinds.core.pod import POD
from sampan.node import cgroup_meter
from sampan.node.cgroup_meter import CgroupMeter
from sampan.node.runtime import host
from sampan.node.runtime.protocol import RUNNING, ContainerState
from sampan.node.server import NodeServer
from sampan.node.usage import Figures
from sampan.web.message import Peer, Request

ADMIN = Peer("kube-apiserver-kubelet-client", ("system:masters",))
MIB = 1 << 20


class Meter:
    """Always the same."""

    def container(self, state: ContainerState) -> Figures:
        return Figures(1767225630.0, 1767225600.0, 0.25, 7.5, 64 * MIB, 60 * MIB)

    def node(self) -> Figures:
        return Figures(1767225630.0, 1767225000.0, 1.5, 900.0, 512 * MIB, 500 * MIB)


@pytest.fixture
def ask(node: Any) -> Callable[..., Any]:
    """Sends a request to the server of a node with one running pod."""
    pod = {"name": "web", "namespace": "default", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"containers": [{"name": "app", "image": "app:1"}], "nodeName": "node-1"}
    node.client.put(POD, {"metadata": pod, "spec": spec, "status": {"phase": "Pending"}})
    node.loop.advance(0.2)
    node.agent.parts = dataclasses.replace(node.agent.parts, meter=Meter())
    server = NodeServer(node.agent)

    def send(path: str, peer: Peer = ADMIN) -> Any:
        return node.loop.run_until_complete(server.handle(Request("GET", path, (), {}, b"", peer)))

    return send


def test_summary(ask: Callable[..., Any]) -> None:
    """The node, its pods and their containers."""
    answer = ask("/stats/summary").body
    told = answer if isinstance(answer, dict) else orjson.loads(answer)
    assert told["node"]["nodeName"] == "node-1"
    assert told["node"]["cpu"] == {
        "time": "2026-01-01T00:00:30Z", "usageNanoCores": 1_500_000_000, "usageCoreNanoSeconds": 900_000_000_000,
    }  # fmt: skip
    (pod,) = told["pods"]
    assert (pod["podRef"]["name"], pod["podRef"]["namespace"]) == ("web", "default")
    (container,) = pod["containers"]
    assert container["name"] == "app"
    assert container["startTime"] == "2026-01-01T00:00:00Z"
    assert container["cpu"]["usageNanoCores"] == pod["cpu"]["usageNanoCores"] == 250_000_000
    assert container["memory"]["workingSetBytes"] == 60 * MIB
    assert container["memory"]["usageBytes"] == 64 * MIB


def test_for_prometheus(ask: Callable[..., Any]) -> None:
    """The same as text, each sample with its time."""
    lines = ask("/metrics/resource").body.decode().splitlines()
    assert "# TYPE container_cpu_usage_seconds_total counter" in lines
    where = 'namespace="default",pod="web"'
    assert f'container_cpu_usage_seconds_total{{container="app",{where}}} 7.5 1767225630000' in lines
    assert f"pod_memory_working_set_bytes{{{where}}} {60 * MIB} 1767225630000" in lines
    assert "node_cpu_usage_seconds_total 900 1767225630000" in lines
    assert "resource_scrape_error 0" in lines


def test_only_for_those_who_may(ask: Callable[..., Any], node: Any) -> None:
    """Each path needs a subresource of its own."""
    assert ask("/stats/summary", Peer()).status == 401
    somebody = Peer("somebody", ("devs",))
    assert ask("/stats/summary", somebody).status == ask("/metrics/resource", somebody).status == 403
    asked = [o["spec"]["resourceAttributes"] for k, o in node.client.objects.items() if k[0] == "subjectaccessreviews"]
    assert {a["subresource"] for a in asked} <= {"stats", "metrics"}


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def use_v2(root: Path, usec: int) -> None:
    write(root / "cgroup.controllers", "cpu memory\n")
    write(root / "pods/c1/cpu.stat", f"usage_usec {usec}\nuser_usec 1\nsystem_usec 2\n")
    write(root / "pods/c1/memory.current", f"{10 * MIB}\n")
    write(root / "pods/c1/memory.stat", f"anon 1\ninactive_file {4 * MIB}\n")


def use_v1(root: Path, usec: int) -> None:
    write(root / "cpuacct/pods/c1/cpuacct.usage", f"{usec * 1000}\n")
    write(root / "memory/pods/c1/memory.usage_in_bytes", f"{10 * MIB}\n")
    write(root / "memory/pods/c1/memory.stat", f"inactive_file 1\ntotal_inactive_file {4 * MIB}\n")


@pytest.mark.parametrize("use", [use_v2, use_v1])
def test_from_cgroups(use: Callable[[Path, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average since the reading before; of a young container, since its start; nothing of one that is gone."""
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    clock, running = Clock(), {"c1": "pods/c1"}
    meter = CgroupMeter(clock, lambda: running)  # type: ignore[arg-type]
    state = ContainerState("c1", "u", "default", "web", "app", 0, "", "", RUNNING, started_at=995.0)
    assert meter.container(state) is None
    use(tmp_path, 2_000_000)
    meter.read()
    assert meter.container(state) == Figures(1000.0, 995.0, 0.4, 2.0, 10 * MIB, 6 * MIB)
    clock.time += 10
    use(tmp_path, 7_000_000)
    meter.read()
    assert meter.container(state) == Figures(1010.0, 995.0, 0.5, 7.0, 10 * MIB, 6 * MIB)
    whole = meter.node()
    assert whole is not None
    assert whole.memory > whole.working_set > 0
    running.clear()
    meter.read()
    assert meter.container(state) is None
    assert cgroup_meter.container("pods/none", 0.0) is None
