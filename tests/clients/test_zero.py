"""An app at zero replicas behind the gateway: woken by requests of which none is lost, and back to zero afterwards."""

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sampan.gateway import kinds
from sampan.platform import zero
from sampan.platform.elastic import cron_horizontal_pod_autoscaler as cron
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import container
from tests.clients.test_gateway import HOST, Load, ask
from tests.kernel import require_envoy

pytestmark = [needs_root, pytest.mark.root]

LAYERS = ("gateway", "elastic")


def objects() -> list[dict[str, Any]]:
    """A Deployment of no replicas with its Service, autoscaler, Gateway and route."""
    serve = "trap 'exit 0' TERM; mkdir -p /www; echo web > /www/index.html; httpd -f -p 8080 -h /www & wait"
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    pod = {"terminationGracePeriodSeconds": 2, "containers": [container(serve, readinessProbe=probe)]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    workload = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    metric = {"name": "gateway_requests_per_second", "selector": {"matchLabels": {"service": "web"}}}
    average = {"type": "External", "external": {"metric": metric, "target": _average(100)}}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaling = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 2, "metrics": [average]}
    gateway = {"gatewayClassName": "sampan", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    rules = [{"backendRefs": [{"name": "web", "port": 80}]}]
    route = {"parentRefs": [{"name": "web"}], "hostnames": [HOST], "rules": rules}
    api = kinds.GATEWAY.api_version
    return [
        _named("apps/v1", "Deployment", workload),
        _named("v1", "Service", service),
        _named("autoscaling/v2", "HorizontalPodAutoscaler", scaling, {zero.AFTER_SECONDS: "5"}),
        _named(api, "Gateway", gateway),
        _named(api, "HTTPRoute", route),
    ]


def _average(value: int) -> dict[str, str]:
    return {"type": "AverageValue", "averageValue": str(value)}


def _named(api_version: str, kind: str, spec: Any, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": "web", **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def enabled(cluster: Cluster) -> Iterator[None]:
    """Both layers, which leave nothing behind."""
    require_envoy()
    for layer in LAYERS:
        cluster.sampan("enable", layer)
    names = [definition["metadata"]["name"] for definition in (*kinds.DEFINITIONS, *cron.DEFINITIONS)]
    cluster.until(
        "their definitions are there", lambda: not cluster.run("kubectl", "get", "crd", *names, check=False).returncode
    )
    yield
    for layer in reversed(LAYERS):
        cluster.sampan("disable", layer)
    cluster.kubectl("delete", "crd", *names, "--timeout=60s")
    cluster.kubectl("delete", "ingressclass", "sampan")
    left = ("sampan-gateway", "sampan-elastic-metrics")
    cluster.kubectl("delete", "service", "-n", "kube-system", *left, "--ignore-not-found")


def replicas(cluster: Cluster) -> int:
    return int(cluster.get("deployment", "web")["spec"]["replicas"])


def test_an_app_at_zero_answers_every_request(cluster: Cluster, enabled: None, ns: str) -> None:
    """Fifty at once wake it; it is taken down again and again under load; left alone it goes back to zero."""
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects()))
    cluster.kubectl("wait", "--for=condition=Programmed", "gateway/web", "--timeout=60s")
    address = cluster.get("gateway", "web")["status"]["addresses"][0]["value"]
    assert replicas(cluster) == 0
    with concurrent.futures.ThreadPoolExecutor(50) as many:
        found = list(many.map(lambda _: ask(address), range(50)))
    assert set(found) == {(200, "web")}
    assert replicas(cluster) >= 1
    with Load(address) as load:
        for _ in range(3):
            before = sum(load.found.values())
            cluster.kubectl("scale", "deployment", "web", "--replicas=0")
            cluster.until("it is woken", lambda: replicas(cluster) > 0)
            cluster.until("it answers", lambda before=before: sum(load.found.values()) > before + 20)
    assert set(load.found) == {(200, "web")}
    cluster.until("nobody asks, and it goes", lambda: replicas(cluster) == 0)
    assert ask(address) == (200, "web")
