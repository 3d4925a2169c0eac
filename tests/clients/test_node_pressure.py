"""Pods that take more of a node's disk than they may, and a node that is low on memory: evicted, and told why."""

import os
import signal
from typing import Any

import pytest
import yaml

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

FILL = "dd if=/dev/zero of=PLACE bs=1M count=3 2>/dev/null; " + pods.FOREVER
CONFIG = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def filling(place: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return pods.container(FILL.replace("PLACE", place), name, **more)


def limit(amount: str) -> dict[str, Any]:
    return {"limits": {"ephemeral-storage": amount}}


def events(cluster: Cluster, name: str, reason: str) -> list[str]:
    found = cluster.get("events", "--field-selector", f"involvedObject.name={name},reason={reason}")
    return [event["message"] for event in found["items"]]


def why(status: dict[str, Any]) -> tuple[str, str, str]:
    return status["phase"], status["reason"], status["message"]


def test_limits_of_the_disk(cluster: Cluster, ns: str) -> None:
    """An emptyDir over its limit, a container over its own, a pod over all of its containers'; who keeps them stays."""
    volume = {"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}
    into = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    made = (
        pods.pod("volume", filling("/data/file", **into), volumes=[volume]),
        pods.pod("quiet", pods.container(**into, resources=limit("1Mi")), volumes=[volume]),
        pods.pod("whole", filling("/tmp/file", resources=limit("1Mi"))),
        pods.pod("one", filling("/tmp/file", resources=limit("1Mi")), pods.container(name="b", resources=limit("9Mi"))),
    )
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(made))
    wanted = {
        "volume": 'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
        "whole": "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        "one": 'Container main exceeded its local ephemeral storage limit "1Mi". ',
    }
    for name, message in wanted.items():
        cluster.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
        assert why(cluster.get("pod", name)["status"]) == ("Failed", "Evicted", message)
        cluster.until("its event", lambda name=name, text=message: events(cluster, name, "Evicted") == [text])
    quiet = cluster.get("pod", "quiet")["status"]
    assert quiet["phase"] == "Running", quiet


def restart_agent(cluster: Cluster, node: str) -> None:
    os.kill(cluster.pid(f"node-{node}"), signal.SIGKILL)
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")


def ended_at(status: dict[str, Any]) -> str:
    """When the node had ended the pod."""
    (found,) = (c["lastTransitionTime"] for c in status["conditions"] if c["type"] == "DisruptionTarget")
    return str(found)


def test_memory_pressure(cluster: Cluster, ns: str) -> None:
    """The least valued pod goes; the node says so and is tainted; best-effort pods are turned away until it is over."""
    lowly = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "lowly"}}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump({**lowly, "value": -1000}))
    made = (pods.pod("lowly", pods.container(), priorityClassName="lowly"), pods.pod("usual", pods.container()))
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(made))
    cluster.kubectl("wait", "pod/lowly", "pod/usual", f"--for={pods.READY}", "--timeout=60s")
    node = cluster.get("pod", "lowly")["spec"]["nodeName"]
    before = {key: cluster.get("node", node)["status"][key] for key in ("allocatable", "capacity")}
    assert before["allocatable"]["memory"] != before["capacity"]["memory"]
    config = cluster.directory / "kubelet.yaml"
    thresholds = {"evictionHard": {"memory.available": "99%"}, "evictionPressureTransitionPeriod": "1s"}
    config.write_text(yaml.safe_dump({**CONFIG, **thresholds}))
    try:
        restart_agent(cluster, node)
        cluster.kubectl("wait", "pod/lowly", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
        status = cluster.get("pod", "lowly")["status"]
        assert status["reason"] == "Evicted"
        assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: ")
        (disruption,) = (c for c in status["conditions"] if c["type"] == "DisruptionTarget")
        assert disruption["reason"] == "TerminationByKubelet"
        cluster.kubectl("wait", f"node/{node}", "--for=condition=MemoryPressure", "--timeout=60s")
        cluster.until("the taint", lambda: "memory-pressure" in str(cluster.get("node", node)["spec"].get("taints")))
        late = pods.pod("late", pods.container(), nodeName=node)
        cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(late))
        cluster.kubectl("wait", "pod/late", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
        rejected = "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert why(cluster.get("pod", "late")["status"]) == ("Failed", "Evicted", rejected)
        usual = cluster.get("pod", "usual")["status"]  # its turn comes too, but in a later round
        assert usual["phase"] == "Running" or ended_at(status) < ended_at(usual)
    finally:
        config.unlink()
        restart_agent(cluster, node)
        cluster.kubectl("delete", "priorityclass", "lowly")
    cluster.kubectl("wait", f"node/{node}", "--for=condition=MemoryPressure=false", "--timeout=60s")
    cluster.until("no taint", lambda: "memory-pressure" not in str(cluster.get("node", node)["spec"].get("taints")))
