"""`sampan why` over real containers: images that nobody has, programs that crash, probes that nobody answers."""

import json
from typing import Any

import pytest

from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import container, mount, thing

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
EXPECTED = {
    "crash": ("Crash", "its last words: no license file"),
    "dns": ("NameNotResolved", "did you mean database"),
    "oom": ("OutOfMemory", "more memory than its limit of 20Mi"),
    "command": ("CommandNotFound", "its image has no program 'serv'"),
    "ready": ("ReadinessProbeFailing", "GET :9090/: connection refused"),
    "alive": ("LivenessProbeFailing", "its liveness probe fails (GET :8080/health: "),
    "files": ("ConfigMapMissing", "ConfigMap settings does not exist"),
    "image": ("RegistryUnreachable", "127.0.0.1:1/none:1"),
    "port": ("TargetPortMissing", "sends to the port named web"),
}


def deployment(name: str, *containers: Tree, **spec: Any) -> Tree:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": list(containers), **spec}}  # fmt: skip
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def probe(port: int, path: str = "/") -> Tree:
    return {"periodSeconds": 1, "failureThreshold": 1, "httpGet": {"port": port, "path": path}}


def planted() -> list[Tree]:
    serving = container("exec httpd -f -p 8080", ports=[{"name": "http", "containerPort": 8080}])
    return [
        deployment("crash", container("echo starting; echo no license file >&2; exit 3")),
        deployment("dns", container("nslookup databse.$NS.svc.cluster.local || exit 1", env=[{"name": "NS", "value": "NAMESPACE"}])),
        thing("Service", "database", spec={"selector": {"app": "fine"}, "ports": [{"port": 80, "targetPort": 8080}]}),
        deployment("oom", container("tail /dev/zero", resources={"limits": {"memory": "20Mi"}})),
        deployment("command", {**container(), "command": ["serv"]}),
        deployment("ready", {**serving, "readinessProbe": probe(9090)}),
        deployment("alive", {**serving, "livenessProbe": probe(8080, "/health")}),
        deployment("files", container(volumeMounts=[mount("conf", "/conf")]), volumes=[{"name": "conf", "configMap": {"name": "settings"}}]),
        deployment("image", {**container(), "image": "127.0.0.1:1/none:1"}),
        deployment("fine", serving),
        thing("Service", "port", spec={"selector": {"app": "fine"}, "ports": [{"port": 80, "targetPort": "web"}]}),
    ]  # fmt: skip


def test_why(cluster: Cluster, ns: str) -> None:
    """Each is explained by its own reason, in one answer about all of them; what works is left out."""
    manifest = "\n---\n".join(json.dumps(obj) for obj in planted()).replace("NAMESPACE", ns)
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    cluster.kubectl("wait", "deployment/fine", "--for=condition=Available", "--timeout=60s")

    restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    cluster.kubectl("wait", "pod", "-l", "app=alive", restarted, "--timeout=60s")

    def reasons() -> dict[str, tuple[str, str]]:
        found = json.loads(cluster.sampan("why", "-n", ns, "-o", "json", check=False))
        return {tree["subject"].partition("/")[2]: root(tree) for tree in found}

    def is_explained() -> bool:
        seen = reasons()
        return all(seen.get(name, ("", ""))[0] == reason for name, (reason, _) in EXPECTED.items())

    cluster.until("all of them explained", is_explained)
    found = reasons()
    assert sorted(found) == sorted(EXPECTED)
    assert [name for name, (_, words) in EXPECTED.items() if words not in found[name][1]] == [], found
    assert cluster.sampan("why", "deploy/fine", "-n", ns) == "deployment/fine is healthy: it has 1 of 1 pod available\n"


def root(tree: Tree) -> tuple[str, str]:
    """The reason and the message at the end of the chain of causes."""
    causes = tree.get("causes") or []
    return root(causes[0]) if causes else (tree["reason"], tree["message"])
