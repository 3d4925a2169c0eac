"""Processes are killed at any moment: writes stay, pods never notice, and all goes on."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.clients.conftest import NAME, Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "busybox:1.36", command: [sh, -c, "while true; do date +%s.%N; sleep 0.1; done"]}]
"""


def started(cluster: Cluster, name: str) -> dict[str, object]:
    """The pod's container as its status has it."""
    status = cluster.get("pod", name)["status"]["containerStatuses"][0]
    return {"id": status["containerID"], "restarts": status["restartCount"], "running": "running" in status["state"]}


def make(cluster: Cluster, name: str) -> dict[str, object]:
    cluster.kubectl("apply", "-f", "-", stdin=POD.replace("NAME", name))
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    return started(cluster, name)


def test_a_killed_control_plane_loses_nothing(cluster: Cluster) -> None:
    """Every acknowledged write is there after kill -9 and a new start; pods have run on."""
    before = make(cluster, "steady")
    acknowledged: list[str] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            done = cluster.run("kubectl", "create", "configmap", f"w{number}", check=False)
            if done.returncode == 0:
                acknowledged.append(f"w{number}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    cluster.until("some writes", lambda: len(acknowledged) > 5)
    os.kill(cluster.pid("control-plane"), signal.SIGKILL)
    stop.set()
    writer.join()
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    names = {item["metadata"]["name"] for item in cluster.get("configmaps")["items"]}
    assert set(acknowledged) <= names
    assert started(cluster, "steady") == before
    cluster.kubectl("delete", "pod", "steady", "--wait")


def test_a_killed_agent_adopts_its_containers(cluster: Cluster) -> None:
    """Containers keep running, logs go on, and the new agent knows them."""
    before = make(cluster, "kept")
    node = cluster.get("pod", "kept")["spec"]["nodeName"]
    os.kill(cluster.pid(f"node-{node}"), signal.SIGKILL)
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    cluster.until("logs again", lambda: cluster.run("kubectl", "logs", "kept", "--tail=1", check=False).stdout)
    assert started(cluster, "kept") == before
    assert cluster.kubectl("exec", "kept", "--", "echo", "here") == "here\n"
    cluster.kubectl("delete", "pod", "kept", "--wait")


def test_a_killed_conmon_restarts_its_container(cluster: Cluster) -> None:
    """The container whose holder is gone is ended and started anew."""
    before = make(cluster, "held")
    identity = str(before["id"]).rpartition("/")[2]
    holders = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (entry / "comm").exists() and "conmon" in (entry / "comm").read_text()
        and identity in (entry / "cmdline").read_text()
    ]  # fmt: skip
    assert holders
    os.kill(holders[0], signal.SIGKILL)
    cluster.kubectl("wait", "pod/held", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s")
    cluster.kubectl("wait", "pod/held", "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl("delete", "pod", "held", "--wait")


def test_the_command_line_knows_the_cluster(cluster: Cluster) -> None:
    """ls, status, logs and a second up."""
    assert NAME in cluster.sampan("ls")
    status = cluster.sampan("status")
    assert "control-plane" in status and "running" in status and "Ready" in status
    assert cluster.sampan("logs", "control-plane", "--tail", "5")
    assert "already running" in cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig))
