"""A node's own port, as monitoring and curious people find it: figures of real containers, for those who may."""

import contextlib
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

Get = Callable[..., tuple[int, str]]

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules: [{apiGroups: [""], resources: RESOURCES, resourceNames: NODES, verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{kind: ServiceAccount, name: NAME, namespace: NAMESPACE}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME}
"""


@pytest.fixture
def get(cluster: Cluster) -> Get:
    """Asks the first node's port; status and text."""
    (node, *_) = cluster.get("nodes")["items"]
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask(path: str, token: str = "", method: str = "GET") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with contextlib.closing(http.client.HTTPSConnection(address, port, context=context, timeout=60)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    return ask


@pytest.fixture
def token(cluster: Cluster, ns: str) -> Iterator[Callable[..., str]]:
    """Makes a service account that may read these subresources of these nodes (of all: none named), and its token."""
    made = []

    def make(name: str, resources: list[str], nodes: list[str] | None = None) -> str:
        made.append(name)
        text = RIGHTS.replace("NAMESPACE", ns).replace("NAME", name)
        text = text.replace("RESOURCES", json.dumps(resources)).replace("NODES", json.dumps(nodes or []))
        cluster.kubectl("apply", "-f", "-", stdin=text)
        return cluster.kubectl("create", "token", name).strip()

    yield make
    for name in made:
        cluster.kubectl("delete", "clusterrole,clusterrolebinding", name)


def test_who_may(cluster: Cluster, get: Get, token: Callable[..., str]) -> None:
    """Nobody unnamed; an account what its role says, path by path, and only on the nodes that it names."""
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    paths = ("/healthz", "/pods", "/configz", "/stats/summary", "/metrics", "/metrics/cadvisor", "/logs/", "/nothing")
    for path in paths:
        assert get(path)[0] == 401, path
        assert get(path, "forged")[0] == 401, path
    nothing = token("nothing", ["pods"])
    assert [get(path, nothing)[0] for path in paths] == [403] * len(paths)
    user = "system:serviceaccount:" + cluster.get("serviceaccount", "nothing")["metadata"]["namespace"] + ":nothing"
    text = f"Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[stats])\n"
    assert get("/stats/summary", nothing) == (403, text)
    fine = token("fine", ["nodes/healthz", "nodes/pods", "nodes/stats", "nodes/log"])
    assert [get(path, fine)[0] for path in paths] == [200, 200, 403, 200, 403, 403, 200, 403]
    broad = token("broad", ["nodes/proxy", "nodes/metrics"], [node])
    assert [get(path, broad)[0] for path in paths] == [200, 200, 200, 403, 200, 200, 403, 404]
    elsewhere = token("elsewhere", ["nodes/proxy", "nodes/metrics", "nodes/stats"], ["another"])
    assert [get(path, elsewhere)[0] for path in paths] == [403] * len(paths)
    assert get("/run/default/web/app?cmd=id", broad, method="POST")[0] == 403
    for path in ("/logs/../../etc/passwd", "/logs/%2e%2e/%2e%2e/etc/passwd", "/logs/..%2f..%2fetc/passwd"):
        assert get(path, fine)[0] == 404, path


def test_figures(cluster: Cluster, ns: str) -> None:
    """Of a container that works, writes and talks: in the summary, for cAdvisor's and the kubelet's scrapers."""
    volume = {"volumes": [{"name": "data", "emptyDir": {}}]}
    script = (
        "dd if=/dev/zero of=/data/file bs=1M count=2; dd if=/dev/zero of=/file bs=1M count=1; touch /done; "
        + pods.FOREVER
    )
    written = {"exec": {"command": ["test", "-f", "/done"]}, "periodSeconds": 1}
    more: dict[str, Any] = {"volumeMounts": [pods.mount("data", "/data")], "readinessProbe": written}
    made = pods.pod("web", pods.container(script, **more), **volume)
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(made))
    cluster.kubectl("wait", "pod/web", f"--for={pods.READY}", "--timeout=60s")
    status = cluster.get("pod", "web")
    node = status["spec"]["nodeName"]
    identity = status["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]

    def raw(path: str) -> str:
        return cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}")

    mine = f'namespace="{ns}",pod="web"'
    whole = raw("metrics/cadvisor")
    lines = [line for line in whole.splitlines() if mine in line]
    for name in ("container_memory_working_set_bytes", "container_memory_rss", "container_spec_cpu_shares"):
        assert any(line.startswith(f'{name}{{container="main",') and identity in line for line in lines), name
    assert any(line.startswith('container_cpu_usage_seconds_total{container="main",cpu="total"') for line in lines)
    assert any(line.startswith("container_network_receive_bytes_total{") and 'container=""' in line for line in lines)
    assert 'container_cpu_usage_seconds_total{container="",cpu="total",id="/",' in whole
    assert whole.rstrip().count("container_scrape_error 0") == 1

    def pod_summary() -> dict[str, object] | None:
        told = json.loads(raw("stats/summary"))
        assert told["node"]["fs"]["capacityBytes"] > told["node"]["fs"]["availableBytes"] > 0
        assert told["node"]["rlimit"]["maxpid"] > 0
        return next((pod for pod in told["pods"] if pod["podRef"]["namespace"] == ns), None)

    found = cluster.until("the pod's figures", pod_summary)
    assert found["ephemeral-storage"]["usedBytes"] >= 3 << 20
    assert {v["name"]: v["usedBytes"] >= 2 << 20 for v in found["volume"]} == {"data": True}
    assert found["containers"][0]["rootfs"]["usedBytes"] >= 1 << 20
    assert found["network"]["name"] == "eth0"
    assert 'kubelet_running_containers{container_state="running"}' in raw("metrics")
    assert "web" in {pod["metadata"]["name"] for pod in json.loads(raw("runningpods/"))["items"]}
    assert json.loads(raw("configz"))["kubeletconfig"]["maxPods"] == 110
    assert "<pre>" in raw("logs/")
    words = ("create", "--raw", f"/api/v1/nodes/{node}/proxy/run/{ns}/web/main?cmd=echo+hello", "-f", "-")
    assert cluster.kubectl(*words) == "hello\n"
    refused = cluster.refused("create", "--raw", f"/api/v1/nodes/{node}/proxy/checkpoint/{ns}/web/main", "-f", "-")
    assert "checkpointing of" in refused
