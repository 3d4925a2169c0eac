"""metrics.k8s.io in virtual time: what simulated containers use, and what kubectl top makes of it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.meta.status import ApiError
from sampan.testing.cluster import Cluster

Tree = dict[str, Any]
ROOT = "/apis/metrics.k8s.io/v1beta1"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A pod with two containers and one with one, all of them at work for half a minute."""
    with Cluster(seed=1, nodes=1) as made:
        made.behave("web", {"stages": [{"cpu": "250m", "memory": "64Mi"}]})
        made.behave("aside", {"stages": [{"cpu": "1500u", "memory": "1Mi"}]})
        made.apply(pod("a", "web", "aside"), pod("b", "web"))
        made.advance(30)
        yield made


def pod(name: str, *images: str) -> Tree:
    containers = [{"name": image, "image": image} for image in images]
    metadata = {"name": name, "labels": {"name": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def get(cluster: Cluster, path: str, **query: str) -> Tree:
    found: Tree = cluster.run(cluster.client.call("GET", f"{ROOT}/{path}", tuple(query.items())))
    return found


def test_pods(cluster: Cluster) -> None:
    """One by one, by namespace and by labels, as metrics-server shows them."""
    made = get(cluster, "namespaces/default/pods/a")
    assert made["metadata"]["labels"] == {"name": "a"}
    del made["metadata"]
    assert made == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "timestamp": "2026-01-01T00:00:30Z",
        "window": "10s",
        "containers": [
            {"name": "aside", "usage": {"cpu": "1500u", "memory": "1Mi"}},
            {"name": "web", "usage": {"cpu": "250m", "memory": "64Mi"}},
        ],
    }
    listed = get(cluster, "namespaces/default/pods")
    assert (listed["kind"], [item["metadata"]["name"] for item in listed["items"]]) == ("PodMetricsList", ["a", "b"])
    chosen = get(cluster, "pods", labelSelector="name=b")
    assert [item["metadata"]["name"] for item in chosen["items"]] == ["b"]
    assert get(cluster, "namespaces/other/pods")["items"] == []
    with pytest.raises(ApiError, match=re.escape('podmetrics.metrics.k8s.io "default/none" not found')):
        get(cluster, "namespaces/default/pods/none")
    with pytest.raises(ApiError, match="not allow this method"):
        cluster.run(cluster.client.call("DELETE", f"{ROOT}/namespaces/default/pods/a"))


def test_nodes(cluster: Cluster) -> None:
    """A node uses what its containers do; one that does not answer has no figures, nor have its pods."""
    (node,) = get(cluster, "nodes")["items"]
    assert node["usage"] == {"cpu": "501500u", "memory": "129Mi"}
    name = node["metadata"]["name"]
    assert get(cluster, f"nodes/{name}")["usage"] == node["usage"]
    cluster.crash_node(name)
    cluster.advance(11)
    assert get(cluster, "nodes")["items"] == get(cluster, "pods")["items"] == []
    with pytest.raises(ApiError, match=re.escape(f'nodemetrics.metrics.k8s.io "{name}" not found')):
        get(cluster, f"nodes/{name}")


def test_the_average_of_the_last_ten_seconds(cluster: Cluster) -> None:
    """Of a load that grows; of a container that is younger, of its life."""
    cluster.behave("grows", {"stages": [{"run": 20, "cpu": "0..2"}, {"cpu": "2"}]})
    cluster.apply(pod("g", "grows"))
    cluster.wait_for("pod/g", "Ready")
    cluster.advance(4)
    young = get(cluster, "namespaces/default/pods/g")
    assert young["window"] == "4s"
    assert young["containers"][0]["usage"]["cpu"] == "200m"
    cluster.advance(36)
    assert get(cluster, "namespaces/default/pods/g")["containers"][0]["usage"]["cpu"] == "2"


def test_an_agent_is_not_asked_again_at_once(cluster: Cluster) -> None:
    """What it said stands for ten seconds, however many ask."""
    before = get(cluster, "pods")["items"]
    cluster.behave("web", {"stages": [{"cpu": "500m"}]})
    cluster.advance(5)
    assert get(cluster, "pods")["items"][0]["containers"] == before[0]["containers"]
    cluster.advance(6)
    assert get(cluster, "pods")["items"][0]["containers"][1]["usage"]["cpu"] == "500m"


def test_discovery(cluster: Cluster) -> None:
    """The group is there, with its APIService, after all others."""
    listed = cluster.run(cluster.client.call("GET", ROOT))["resources"]
    assert [(r["name"], r["kind"], r["verbs"]) for r in listed] == [
        ("nodes", "NodeMetrics", ["get", "list"]),
        ("pods", "PodMetrics", ["get", "list"]),
    ]
    service = cluster.wait_for("apiservice/v1beta1.metrics.k8s.io", "Available")
    assert service["spec"]["groupPriorityMinimum"] == service["spec"]["versionPriority"] == 100


def test_kubectl_top(cluster: Cluster) -> None:
    """Nodes and pods, with their containers, sorted and summed up; and the figures as a table."""

    def kubectl(*words: str) -> list[list[str]]:
        command = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(cluster.kubeconfig), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    heading, row = kubectl("top", "node")
    assert heading == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert (row[1], row[3]) == ("502m", "129Mi")
    assert kubectl("top", "pod", "--sort-by=cpu")[1:] == [["a", "252m", "65Mi"], ["b", "250m", "64Mi"]]
    rows = kubectl("top", "pod", "--containers", "--no-headers")
    assert rows == [["a", "aside", "2m", "1Mi"], ["a", "web", "250m", "64Mi"], ["b", "web", "250m", "64Mi"]]
    assert kubectl("get", "podmetrics", "b") == [["NAME", "CPU", "MEMORY", "WINDOW"], ["b", "250m", "64Mi", "10s"]]
    assert kubectl("get", "pods")[0][0] == "NAME"
