"""A Rollout behind the gateway, with real pods and a real Envoy: shares of requests, what a person decides, what figures do."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import container
from tests.clients.test_gateway import HOST, Load, ask, enabled

pytestmark = [needs_root, pytest.mark.root]

__all__ = ["enabled"]

Tree = dict[str, Any]
REQUESTS = 500
STATUS = ("patch", "rollout", "web", "--subresource=status", "--type=merge", "-p")


def pods_of(version: str, code: int = 200) -> Tree:
    """The container of a version, which answers with its name and this code."""
    page = f"#!/bin/sh\necho Status: {code} said\necho Content-Type: text/plain\necho\necho {version}\n"
    serve = 'mkdir -p /www/cgi-bin; cd /www/cgi-bin; printf "$PAGE" > index.cgi; chmod 755 index.cgi; exec httpd -f -p 8080 -h /www'
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    return container(serve, env=[{"name": "PAGE", "value": page.replace("\n", "\\n")}], readinessProbe=probe)


def objects(ns: str) -> list[Tree]:
    """The Rollout with its analysis, two Services, a Gateway and the route whose shares it moves."""
    rate = {"service": "canary", "measure": "successRate", "window": "3s"}
    metric = {"name": "rate", "interval": "1s", "count": 0, "successCondition": "len(result) == 0 || result[0] >= 0.9"}
    canary = {
        "stableService": "stable",
        "canaryService": "canary",
        "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web", "namespace": ns}}},
        "analysis": {"templates": [{"templateName": "rate"}]},
        "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}],
    }
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [pods_of("v1")]},
    }
    workload = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": template,
        "strategy": {"canary": canary},
    }
    backends = [{"name": "stable", "port": 80}, {"name": "canary", "port": 80}]
    route = {"parentRefs": [{"name": "web"}], "hostnames": [HOST], "rules": [{"backendRefs": backends}]}
    gateway = {"gatewayClassName": "sampan", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    argo, api = "argoproj.io/v1alpha1", "gateway.networking.k8s.io/v1"
    analysis = {"metrics": [{**metric, "provider": {"plugin": {"sampan/gateway": rate}}}]}
    return [
        *(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": n}, "spec": service}
            for n in ("stable", "canary")
        ),
        {"apiVersion": api, "kind": "Gateway", "metadata": {"name": "web"}, "spec": gateway},
        {"apiVersion": api, "kind": "HTTPRoute", "metadata": {"name": "web"}, "spec": route},
        {"apiVersion": argo, "kind": "AnalysisTemplate", "metadata": {"name": "rate"}, "spec": analysis},
        {"apiVersion": argo, "kind": "Rollout", "metadata": {"name": "web"}, "spec": workload},
    ]


@pytest.fixture
def rollouts(cluster: Cluster, enabled: None) -> Iterator[None]:
    """Both layers."""
    cluster.sampan("enable", "rollouts")
    cluster.kubectl("wait", "crd/rollouts.argoproj.io", "--for=condition=Established", "--timeout=60s")
    yield
    cluster.sampan("disable", "rollouts")
    found = cluster.kubectl("get", "crd", "-o", "name").split()
    cluster.kubectl("delete", *(name for name in found if name.endswith(".argoproj.io")), "--timeout=60s")


def change(cluster: Cluster, version: str, code: int = 200) -> None:
    spec = {"spec": {"template": {"spec": {"containers": [pods_of(version, code)]}}}}
    cluster.kubectl("patch", "rollout", "web", "--type=merge", "-p", yaml.safe_dump(spec))


def wait(cluster: Cluster, phase: str, step: int | None = None) -> Tree:
    """The Rollout's status, once it is in the phase, at the step, and has seen its newest spec."""

    def found() -> Tree | None:
        rollout = cluster.get("rollout", "web")
        status: Tree = rollout.get("status") or {}
        is_seen = status.get("observedGeneration") == str(rollout["metadata"]["generation"])
        is_there = status.get("phase") == phase and (step is None or status.get("currentStepIndex") == step)
        return status if is_seen and is_there else None

    status: Tree = cluster.until(f"the rollout is {phase} at {step}", found)
    return status


def shares(address: str) -> Counter[tuple[int, str]]:
    """Of so many requests, who answered how many with which code."""
    return Counter(ask(address) for _ in range(REQUESTS))


def weights(cluster: Cluster) -> list[int]:
    return [each.get("weight", 1) for each in cluster.get("httproute", "web")["spec"]["rules"][0]["backendRefs"]]


def test_a_canary_behind_a_real_envoy(cluster: Cluster, rollouts: None, ns: str) -> None:
    """Each weight is a share of the requests; people promote and abort; a bad version goes back by itself, for its figures."""
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects(ns)))
    wait(cluster, "Healthy")
    cluster.kubectl("wait", "--for=condition=Programmed", "gateway/web", "--timeout=60s")
    address = cluster.get("gateway", "web")["status"]["addresses"][0]["value"]
    cluster.until("it serves", lambda: ask(address) == (200, "v1"))
    change(cluster, "v2")
    wait(cluster, "Paused", 1)
    cluster.until("the canary is asked", lambda: ask(address) == (200, "v2"))
    found = shares(address)
    assert (set(found), weights(cluster)) == ({(200, "v1"), (200, "v2")}, [80, 20])
    assert abs(found[200, "v2"] / REQUESTS - 0.2) < 0.09  # five times what chance does
    cluster.kubectl(*STATUS, '{"status":{"pauseConditions":null}}')
    wait(cluster, "Paused", 3)
    cluster.until("Envoy knows", lambda: abs(shares(address)[200, "v2"] / REQUESTS - 0.5) < 0.11)
    assert weights(cluster) == [50, 50]
    cluster.kubectl(*STATUS, '{"status":{"abort":true}}')
    wait(cluster, "Degraded")
    cluster.until("all is as before", lambda: set(shares(address)) == {(200, "v1")})
    cluster.kubectl(*STATUS, '{"status":{"abort":false}}')
    wait(cluster, "Paused", 1)
    cluster.kubectl(*STATUS, '{"status":{"promoteFull":true}}')
    wait(cluster, "Healthy")
    cluster.until("all have the new one", lambda: set(shares(address)) == {(200, "v2")})
    with Load(address) as load:
        change(cluster, "v3", code=500)
        message = wait(cluster, "Degraded")["message"]
    assert 'Metric "rate" assessed Failed due to failed (1) > failureLimit (0)' in message
    assert {who for _, who in load.found} == {"v2", "v3"}
    assert load.found[500, "v3"] < 0.4 * load.found[200, "v2"]
    cluster.until("the old one is back", lambda: set(shares(address)) == {(200, "v2")})
    assert weights(cluster) == [100, 0]
