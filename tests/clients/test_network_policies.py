"""Network policies with real pods: nothing unless it is allowed, by namespace, by a port's name, names of services, and back."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import FOREVER, READY, container, create, pod, said, status, wait

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
FRIENDS = "policy-friends"
WEB = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www"
API = "nc -w 1 $KUBERNETES_SERVICE_HOST 443 < /dev/null 2> /dev/null && echo open || echo closed"
DNS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": "UDP", "port": 53}],
}


@pytest.fixture
def friends(cluster: Cluster) -> Iterator[str]:
    """Another namespace, which bears a label."""
    cluster.kubectl("create", "namespace", FRIENDS)
    cluster.kubectl("label", "namespace", FRIENDS, "team=friends")
    yield FRIENDS
    cluster.kubectl("delete", "namespace", FRIENDS, "--timeout=60s")


def policy(name: str, types: list[str], run: str = "", **spec: Any) -> Tree:
    selector = {"matchLabels": {"run": run}} if run else {}
    made = {"podSelector": selector, "policyTypes": types, **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": made}


def test_pods_reach_what_policies_let_them(cluster: Cluster, ns: str, friends: str) -> None:
    """A pod's first packet is under them already; probes pass; rules add up; and all ends with the last policy."""

    def fetched(name: str, url: str, namespace: str) -> bool:
        command = ("exec", "-n", namespace, name, "--", "timeout", "1", "wget", "-q", "-O-", url)
        return cluster.run("kubectl", *command, check=False).stdout == "hello\n"

    ports = [{"name": "http", "containerPort": 8080}]
    ready = {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 1}
    create(cluster, policy("deny", ["Ingress", "Egress"]))
    near, far = pod("near", container(f"{API}; {FOREVER}")), pod("far", container())
    far["metadata"]["namespace"] = friends
    create(cluster, pod("web", container(WEB, ports=ports, readinessProbe=ready)), near, far)
    wait(cluster, READY, "web", "near")
    cluster.kubectl("wait", "-n", friends, "pod/far", "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl("expose", "pod", "web", "--port=80", "--target-port=http")
    web = f"http://web.{ns}"
    assert not fetched("far", f"http://{status(cluster, 'web')['podIP']}:8080", friends)
    assert policy_tables(cluster)
    assert cluster.until("near has tried", lambda: said(cluster, "near"))["near/main"] == ["closed"]

    team = {"namespaceSelector": {"matchLabels": {"team": "friends"}}}
    create(cluster, policy("from-friends", ["Ingress"], "web", ingress=[{"from": [team], "ports": [{"port": "http"}]}]))
    cluster.until("friends are let in", lambda: fetched("far", web, friends))
    assert not fetched("near", web, ns)

    to_web = {"to": [{"podSelector": {"matchLabels": {"run": "web"}}}], "ports": [{"port": "http"}]}
    from_near = {"from": [{"podSelector": {"matchLabels": {"run": "near"}}}]}
    create(
        cluster,
        policy("near", ["Egress"], "near", egress=[DNS, to_web]),
        policy("from-near", ["Ingress"], "web", ingress=[from_near]),
    )
    cluster.until("near finds the service by its name", lambda: fetched("near", "http://web", ns))
    assert cluster.kubectl("exec", "near", "--", "sh", "-c", API) == "closed\n"
    described = cluster.kubectl("describe", "networkpolicy", "from-friends")
    for line in ("PodSelector:     run=web", "To Port: http/TCP", "NamespaceSelector: team=friends"):
        assert line in described

    server = cluster.get("endpointslice", "kubernetes", "-n", "default")
    block = {"ipBlock": {"cidr": f"{server['endpoints'][0]['addresses'][0]}/32"}}
    to_api = {"to": [block], "ports": [{"port": server["ports"][0]["port"]}]}
    create(cluster, policy("api", ["Egress"], "near", egress=[to_api]))
    cluster.until("near reaches the API", lambda: cluster.kubectl("exec", "near", "--", "sh", "-c", API) == "open\n")
    assert cluster.kubectl("exec", "web", "--", "sh", "-c", API) == "closed\n"

    cluster.kubectl("delete", "networkpolicy", "--all")
    cluster.until("no rule is left", lambda: not policy_tables(cluster))
    assert cluster.kubectl("exec", "web", "--", "sh", "-c", API) == "open\n"


def policy_tables(cluster: Cluster) -> list[str]:
    """Those of policies, of the host's network or else of every node's own."""
    index = json.loads((cluster.directory / "cluster.json").read_text())["index"]
    namespaces = list((cluster.directory / "run/netns").glob("*")) or [Path("/proc/self/ns/net")]
    tables: list[str] = []
    for namespace in namespaces:
        command = ("nsenter", f"--net={namespace}", "nft", "list", "tables")
        tables += subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in tables if f" sampan-{index}-" in line and line.endswith("-policies")]
