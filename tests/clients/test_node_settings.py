"""A node with a kubelet configuration of its own: static pods, limits, and a shutdown that waits for its pods."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Cluster, needs_root, pod
from tests.node.fake_logind import FakeLogind

pytestmark = [needs_root, pytest.mark.root]

SETTINGS = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 50
podPidsLimit: 20
allowedUnsafeSysctls: ["kernel.msg*"]
kubeReserved: {cpu: 100m}
staticPodPath: FOLDER
shutdownGracePeriod: 10s
shutdownGracePeriodCriticalPods: 5s
"""
STATIC = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "busybox:1.36", command: [sh, -c, "echo TEXT; sleep 1000"]}]
"""


def restart_agent(cluster: Cluster) -> None:
    os.kill(cluster.pid(f"node-{node_name(cluster)}"), signal.SIGKILL)
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")


def node_name(cluster: Cluster) -> str:
    return str(cluster.get("nodes")["items"][0]["metadata"]["name"])


@pytest.fixture(scope="module")
def folder(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the node's static pods; afterwards the node is as others are."""
    made = tmp_path_factory.mktemp("static")
    settings = cluster.directory / "kubelet.yaml"
    settings.write_text(SETTINGS.replace("FOLDER", str(made)))
    yield made
    settings.unlink()
    restart_agent(cluster)


@pytest.fixture(scope="module")
def logind(cluster: Cluster, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeLogind]:
    """What the agent takes for the machine's logind."""
    place = tmp_path_factory.mktemp("bus")
    made = FakeLogind(place, 60.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
        restart_agent(cluster)
    yield made
    made.close()
    shutil.rmtree(place)


@pytest.mark.usefixtures("logind")
def test_limits_of_the_node(cluster: Cluster, ns: str) -> None:
    """What pods may use, how many processes each may have, which kernel settings they may ask for."""
    status = cluster.get("node", node_name(cluster))["status"]
    assert status["allocatable"]["pods"] == "50"
    assert status["allocatable"]["cpu"] == f"{int(status['capacity']['cpu']) * 1000 - 100}m"
    script = "cat /proc/sys/kernel/msgmax; for i in $(seq 40); do sleep 1 & done; wait"
    settings = '\n  securityContext: {sysctls: [{name: kernel.msgmax, value: "65536"}]}\n'
    cluster.kubectl("apply", "-f", "-", stdin=pod("many", script) + settings)
    cluster.until("an end", lambda: cluster.get("pod", "many")["status"]["phase"] in ("Succeeded", "Failed"))
    log = cluster.kubectl("logs", "many")
    assert log.startswith("65536\n")
    assert "can't fork" in log


def test_static_pods(cluster: Cluster, folder: Path, logind: FakeLogind) -> None:
    """They run as their files say; the API shows them, and who deletes what it shows ends nothing."""
    node = node_name(cluster)
    name, file = f"web-{node}", folder / "web.yaml"
    file.write_text(STATIC.replace("TEXT", "first"))
    cluster.until("a mirror", lambda: cluster.run("kubectl", "get", "pod", name, check=False).returncode == 0)
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    assert cluster.kubectl("logs", name) == "first\n"
    assert cluster.kubectl("exec", name, "--", "hostname") == f"{name}\n"
    before = cluster.get("pod", name)
    assert "Container started" in cluster.kubectl("describe", "pod", name)
    cluster.kubectl("delete", "pod", name)

    def again() -> bool:
        done = cluster.run("kubectl", "get", "pod", name, "-o", "jsonpath={.metadata.uid} {.status.phase}", check=False)
        return done.stdout.endswith(" Running") and before["metadata"]["uid"] not in done.stdout

    cluster.until("another mirror", again)
    after = cluster.get("pod", name)
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    file.write_text(STATIC.replace("TEXT", "second"))
    cluster.until("the other text", lambda: cluster.run("kubectl", "logs", name, check=False).stdout == "second\n")
    file.unlink()
    cluster.kubectl("wait", f"pod/{name}", "--for=delete", "--timeout=60s")


def test_a_shutdown_waits_for_pods(cluster: Cluster, logind: FakeLogind, ns: str) -> None:
    """They are ended and say why, no other begins, and then the machine may go down; unless it is called off."""
    cluster.until("the delay", lambda: logind.is_delayed)
    script = "trap 'sleep 0.5; exit 0' TERM; while true; do sleep 0.1; done"
    cluster.kubectl("apply", "-f", "-", stdin=pod("plain", script))
    cluster.kubectl("wait", "pod/plain", "--for=condition=Ready", "--timeout=60s")
    node = node_name(cluster)
    logind.shut_down()
    cluster.kubectl("wait", f"node/{node}", "--for=condition=Ready=false", "--timeout=60s")
    ready = next(c for c in cluster.get("node", node)["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("KubeletNotReady", "node is shutting down")
    cluster.until("the end of the delay", lambda: not logind.is_delayed)
    status = cluster.get("pod", "plain")["status"]
    text = "Pod was terminated in response to imminent node shutdown."
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Terminated", text)
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    late = pod("late", "true") + f"\n  nodeName: {node}\n"
    cluster.kubectl("apply", "-f", "-", stdin=late)
    cluster.kubectl("wait", "pod/late", "--for=jsonpath={.status.reason}=NodeShutdown", "--timeout=60s")
    told = cluster.get("pod", "late")["status"]["message"]
    assert told == "Pod was rejected: Pod was rejected as the node is shutting down."
    assert 'container "main" in pod "late" is not available' in cluster.refused("logs", "late")
    logind.shut_down(is_beginning=False)
    cluster.kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=60s")
