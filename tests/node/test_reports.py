"""What the agent's port tells of the node, to whom, and what it refuses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.kinds.core.pod import POD
from sampan.node import cadvisor, host_logs, kubelet_config
from sampan.node.access import wanted
from sampan.node.cgroup_details import Details
from sampan.node.housekeeping import Housekeeping
from sampan.node.kubelet_config import KubeletConfig
from sampan.node.machine import PodSpace
from sampan.node.pod_use import Space
from sampan.node.server import NodeServer
from sampan.node.thresholds import MEMORY, PIDS, Amount
from sampan.web.message import Peer, Request
from tests.node.machines import MIB, PLENTY, FakeMachine, Meter

ADMIN = Peer("kube-apiserver-kubelet-client", ("system:masters",))
NOBODY, SOMEBODY = Peer(), Peer("somebody", ("devs",))
PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 1}

Ask = Callable[..., Any]


@pytest.fixture
def ask(node: Any) -> Ask:
    """Sends a request to the server of a node with one running pod, and somebody who looks after the machine."""
    pod = {"name": "web", "namespace": "default", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    container = {"name": "app", "image": "app:1", "livenessProbe": PROBE}
    spec = {"containers": [container], "nodeName": "node-1", "volumes": [{"name": "data", "emptyDir": {}}]}
    node.client.put(POD, {"metadata": pod, "spec": spec, "status": {"phase": "Pending"}})
    node.loop.advance(3)
    node.agent.parts = dataclasses.replace(node.agent.parts, meter=Meter())
    machine = FakeMachine()
    machine.left = {MEMORY: PLENTY, PIDS: Amount(30, 100)}
    node.agent.records["u1"].volumes = {"data": "/"}
    machine.volumes["data"] = 7 * MIB

    async def remove(image_id: str) -> bool:
        return True

    async def forget_builds() -> int:
        return 0

    node.housekeeping = Housekeeping(node.agent, machine, remove, forget_builds)
    server = NodeServer(node.agent, node.housekeeping)

    def send(path: str, peer: Peer = ADMIN, method: str = "GET", query: tuple[tuple[str, str], ...] = ()) -> Any:
        return node.loop.run_until_complete(server.handle(Request(method, path, query, {}, b"", peer)))

    return send


@pytest.mark.parametrize(
    ("path", "subresources"),
    [
        ("/healthz", "healthz proxy"), ("/healthz/ping", "healthz proxy"), ("/pods/", "pods proxy"),
        ("/runningpods/", "pods proxy"), ("/configz", "configz proxy"), ("/stats/summary", "stats"),
        ("/metrics", "metrics"), ("/metrics/cadvisor", "metrics"), ("/metrics/resource", "metrics"),
        ("/metrics/probes", "metrics"), ("/logs/", "log"), ("/logs/syslog", "log"), ("/debug/pprof/", "proxy"),
        ("/containerLogs/default/web/app", "proxy"), ("/nothing", "proxy"),
    ],
)  # fmt: skip
def test_rights(ask: Ask, node: Any, path: str, subresources: str) -> None:
    """Nobody gets anything; an authenticated caller needs one of the path's subresources of this very node."""
    assert ask(path, NOBODY).status == 401
    refused = ask(path, SOMEBODY)
    text = f"Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[{subresources}])\n"
    assert (refused.status, refused.body.decode()) == (403, text)
    asked = [o["spec"]["resourceAttributes"] for k, o in node.client.objects.items() if k[0] == "subjectaccessreviews"]
    assert (asked[-1]["subresource"], asked[-1]["name"]) == (subresources.rsplit(maxsplit=1)[-1], "node-1")
    assert wanted(Request("GET", path)) == ("get", tuple(subresources.split()))


@pytest.mark.parametrize("path", ["/run/default/web/app", "/exec/default/web/app", "/attach/default/web/app"])
def test_rights_to_open(path: str) -> None:
    """Whoever opens a process needs to be allowed to create, whatever the method."""
    assert wanted(Request("GET", path)) == ("create", ("proxy",))
    assert wanted(Request("POST", "/checkpoint/default/web/app")) == ("create", ("checkpoint",))


def test_pods_that_run(ask: Ask, node: Any) -> None:
    """By name and image, as the runtime knows them."""
    (pod,) = ask("/runningpods/").body["items"]
    assert pod["metadata"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert pod["spec"]["containers"] == [{"name": "app", "image": "docker.io/library/app:1", "resources": {}}]
    node.runtime.end(next(iter(node.runtime.states)), 0)
    node.loop.advance(0.01)
    assert ask("/runningpods/").body["items"] == []
    assert len(ask("/pods/").body["items"]) == 1


def test_configuration(ask: Ask, node: Any) -> None:
    """All of it, with the defaults, in the words of the file, which reads it back."""
    found = ask("/configz").body["kubeletconfig"]
    assert found["evictionHard"]["memory.available"] == "100Mi"
    assert found["imageGCHighThresholdPercent"] == 85
    assert found["evictionPressureTransitionPeriod"] == "300s"
    again = kubelet_config.parse(found)
    assert dataclasses.replace(again, eviction_hard=None, image_gc_high_threshold_percent=None) == KubeletConfig()


def test_summary(ask: Ask) -> None:
    """Disks, networks and process ids beside cpu and memory; only those when nothing else is asked for."""
    told = ask("/stats/summary").body
    assert told["node"]["fs"]["capacityBytes"] == 1000 * MIB
    assert told["node"]["runtime"]["imageFs"]["availableBytes"] == 900 * MIB
    assert told["node"]["rlimit"].items() >= {"maxpid": 100, "curproc": 70}.items()
    (pod,) = told["pods"]
    assert pod["ephemeral-storage"]["usedBytes"] == 7 * MIB
    assert [(v["name"], v["usedBytes"]) for v in pod["volume"]] == [("data", 7 * MIB)]
    assert pod["containers"][0]["rootfs"]["capacityBytes"] == 1000 * MIB
    assert "logs" in pod["containers"][0]
    assert pod["containers"][0]["memory"].items() >= {"rssBytes": 5, "pageFaults": 5, "majorPageFaults": 5}.items()
    assert pod["process_stats"] == {"process_count": 5}
    less = ask("/stats/summary", query=(("only_cpu_and_memory", "true"),)).body
    assert "fs" not in less["node"]
    assert less["pods"][0]["containers"][0]["memory"]["workingSetBytes"] == MIB


def test_own_metrics(ask: Ask, node: Any) -> None:
    """What the agent has and did; probes by result."""
    node.housekeeping.evictions.counts["memory.available"] += 1
    record = node.agent.records["u1"]
    claim = {"name": "disk", "persistentVolumeClaim": {"claimName": "mine"}}
    record.pod = {**record.pod, "spec": {**record.pod["spec"], "volumes": [claim]}}
    record.volumes = {"disk": "/"}
    lines = ask("/metrics").body.decode().splitlines()
    assert 'kubelet_running_containers{container_state="running"} 1' in lines
    assert 'kubelet_node_name{node="node-1"} 1' in lines
    build = next(line for line in lines if line.startswith("kubernetes_build_info{"))
    assert build.startswith('kubernetes_build_info{git_version="v1.') and 'platform="linux/' in build
    claimed = 'namespace="default",persistentvolumeclaim="mine"'
    assert f"kubelet_volume_stats_capacity_bytes{{{claimed}}} {1000 * MIB}" in lines
    assert 'kubelet_evictions{eviction_signal="memory.available"} 1' in lines
    assert "# TYPE kubelet_running_pods gauge" in lines
    probes = ask("/metrics/probes").body.decode()
    assert 'namespace="default",pod="web",pod_uid="u1",probe_type="Liveness",result="successful"} ' in probes


def test_commands(ask: Ask, node: Any) -> None:
    """A command's output; its failure is an error; a checkpoint is refused."""
    path = "/run/default/web/app"
    assert ask(path).status == 405
    assert ask(path, method="POST", query=(("cmd", "true"),)).status == 200
    node.runtime.exec_code = 3
    refused = ask(path, method="POST", query=(("cmd", "ls /nothing"),))
    assert (refused.status, refused.body) == (500, b"command 'ls /nothing' exited with 3: said no\n")
    assert ask("/run/default/none/app", method="POST").status == 404
    refused = ask("/checkpoint/default/web/app", method="POST")
    assert (refused.status, refused.body[:49]) == (500, b"checkpointing of default/web/app failed (runc con")


def test_what_is_not_there(ask: Ask) -> None:
    """Profiles and flags are told by nobody; reports only answer GET."""
    for path in ("/debug/pprof/", "/debug/pprof/heap", "/debug/flags/v"):
        assert ask(path).status == 405
    assert ask("/pods", method="POST").status == 405
    assert ask("/healthz/nothing").status == 404


def test_host_logs(ask: Ask, node: Any) -> None:
    """Served unless the configuration says otherwise."""
    assert ask("/logs/no-such-file").status == 404
    assert ask("/logs/../../etc/passwd").status == 404
    kubelet = KubeletConfig(enable_system_log_handler=False)
    node.agent.settings = dataclasses.replace(node.agent.settings, kubelet=kubelet)
    refused = ask("/logs/")
    assert (refused.status, refused.body) == (405, b"logs endpoint is disabled.\n")


async def test_nothing_outside_the_folder_of_logs(tmp_path: Path) -> None:
    """Links and dots lead nowhere else; what is no file is not opened."""
    logs = tmp_path / "log"
    (logs / "below").mkdir(parents=True)
    (tmp_path / "secret").write_text("no")
    (logs / "syslog").write_text("line\n")
    (logs / "way-out").symlink_to(tmp_path / "secret")
    (logs / "up").symlink_to("../secret")
    (logs / "again").symlink_to("syslog")
    page = host_logs.serve("", str(logs)).body
    assert page == (
        b'<pre>\n<a href="again">again</a>\n<a href="below/">below/</a>\n<a href="syslog">syslog</a>\n'
        b'<a href="up">up</a>\n<a href="way-out">way-out</a>\n</pre>\n'
    )
    for name in ("syslog", "again", "below/../syslog", "../../syslog"):
        body = host_logs.serve(name, str(logs)).body
        assert not isinstance(body, bytes | dict)
        assert b"".join([piece async for piece in body]) == b"line\n"
    for name in ("way-out", "up", "../secret", "below/../../secret", "nothing", "a\0b"):
        with pytest.raises(host_logs.NoSuchFile):
            host_logs.serve(name, str(logs))


def test_containers_figures(ask: Ask, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """cAdvisor's names and labels: the machine, the pod without a container's name, the container."""
    numbers = {field.name: 5 for field in dataclasses.fields(Details) if field.type in ("int", "float", int, float)}
    details = Details(**numbers, disks={("8:0", "rbytes"): 9}, pressure={("cpu", "some"): 1.5})
    monkeypatch.setattr("sampan.node.cgroup_details.read", lambda cgroup: details)
    machine = node.housekeeping.machine
    monkeypatch.setattr(machine, "cgroup", lambda container_id: f"sampan-test/besteffort/podu1/{container_id}")
    pods = cadvisor.chosen(node.agent, machine, {"u1": PodSpace(layers={"app": Space(3 * MIB)})})
    text = cadvisor.metrics(pods, machine, node.agent.heartbeat.facts, 1767225630.0).decode()
    where = 'image="",name="",namespace="default",pod="web"} 5 1767225630000'
    assert f'container_memory_working_set_bytes{{container="",id="/sampan-test/besteffort/podu1",{where}' in text
    state = next(iter(node.runtime.states.values()))
    of_container = (
        f'{{container="app",cpu="total",id="/sampan-test/besteffort/podu1/{state.id}",'
        f'image="docker.io/library/app:1",name="{state.id}",namespace="default",pod="web"}} 5 1767225630000'
    )
    assert f"container_cpu_usage_seconds_total{of_container}" in text
    for name in (
        "container_cpu_cfs_throttled_seconds_total", "container_memory_rss", "container_fs_reads_bytes_total",
        "container_fs_usage_bytes", "container_spec_memory_limit_bytes", "container_pressure_cpu_waiting_seconds_total",
        "container_memory_failures_total", "container_oom_events_total", "container_start_time_seconds",
        "machine_cpu_cores", "machine_memory_bytes", "container_scrape_error",
    ):  # fmt: skip
        assert f"\n# TYPE {name} " in f"\n{text}", name
