"""Autoscalers that follow the gateway's traffic, in virtual time."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.meta.status import ApiError
from sampan.testing.cluster import Cluster
from sampan.web.message import Response
from tests.platform.elastic.test_cron_cluster import replicas, workload

Tree = dict[str, Any]
CLASS: Tree = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "gatewayclasses.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/2466"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Cluster",
        "names": {"kind": "GatewayClass", "plural": "gatewayclasses"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
OURS: Tree = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "sampan", "annotations": {"gateway.sampan.dev/proxy-address": "192.0.2.1"}},
}


class Gateway:
    """Counters of requests to Service `web` at a rate that may change; those above `capacity` take long."""

    def __init__(self, cluster: Cluster) -> None:
        self.per_second, self.slow_share = 0.0, 0.0
        self._cluster, self._at = cluster, cluster.time
        self._fast = self._slow = 0.0
        cluster.apply(CLASS)
        cluster.wait_for("customresourcedefinition/gatewayclasses.gateway.networking.k8s.io", "Established")
        cluster.apply(OURS)
        cluster.sim.outbound.serve("http://192.0.2.1/metrics", lambda asked: Response(200, self.text().encode()))

    def text(self) -> str:
        gone = (self._cluster.time - self._at) * self.per_second
        self._at = self._cluster.time
        self._slow += gone * self.slow_share
        self._fast += gone * (1 - self.slow_share)
        labels, total = 'namespace="default",service="web"', round(self._fast + self._slow)
        start = "sampan_gateway_service_request"
        return "\n".join(
            (
                f'{start}s_total{{{labels},code="2xx"}} {total}',
                f'{start}_duration_seconds_bucket{{{labels},le="0.1"}} {round(self._fast)}',
                f'{start}_duration_seconds_bucket{{{labels},le="+Inf"}} {total}',
                f'{start}_duration_seconds_bucket{{{labels},le="1"}} {total}',
            )
        )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(layers=["elastic"]) as made:
        yield made


def autoscaler(*metrics: Tree) -> Tree:
    down = {"stabilizationWindowSeconds": 0}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 20,
        "behavior": {"scaleDown": down},
        "metrics": [*metrics],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": spec,
    }


def external(name: str, selector: dict[str, str], **target: str) -> Tree:
    metric = {"name": name, "selector": {"matchLabels": selector}}
    return {"type": "External", "external": {"metric": metric, "target": target}}


def test_requests_per_second_scale_a_workload(cluster: Cluster) -> None:
    """Ten requests a second for each pod, by the name that Alibaba's adapter gives it; up in a minute, and down again."""
    gateway = Gateway(cluster)
    route = {"sls.ingress.route": "default-web-80"}
    metric = external("sls_ingress_qps", route, type="AverageValue", averageValue="10")
    cluster.apply(workload(), autoscaler(metric))
    cluster.advance(30)
    gateway.per_second = 80.0
    cluster.advance(90)
    assert replicas(cluster) == 8
    gateway.per_second = 25.0
    cluster.advance(90)
    assert replicas(cluster) == 3
    gateway.per_second = 0.0
    cluster.advance(90)
    assert replicas(cluster) == 1


def test_latency_and_objects_scale_a_workload(cluster: Cluster) -> None:
    """By the p99 of what is slow, and by the custom metric of the Service."""
    gateway = Gateway(cluster)
    p99 = external("gateway_request_duration_p99", {"service": "web"}, type="Value", value="500m")
    about = {"apiVersion": "v1", "kind": "Service", "name": "web"}
    target = {"type": "AverageValue", "averageValue": "100"}
    by_object = {
        "type": "Object",
        "object": {"metric": {"name": "requests_per_second"}, "describedObject": about, "target": target},
    }
    cluster.apply(workload(), autoscaler(p99, by_object))
    gateway.per_second = 50.0
    cluster.advance(60)
    assert replicas(cluster) == 1
    gateway.slow_share = 0.3
    cluster.advance(60)
    slow = replicas(cluster)
    assert slow >= 2
    gateway.slow_share, gateway.per_second = 0.0, 900.0
    cluster.advance(120)
    assert replicas(cluster) == 9


def test_without_a_gateway_nothing_is_measured(cluster: Cluster) -> None:
    """The autoscaler says that there are no metrics, and leaves the workload alone."""
    metric = external("gateway_requests_per_second", {"service": "web"}, type="AverageValue", averageValue="10")
    cluster.apply(workload(), autoscaler(metric))
    cluster.advance(60)
    assert replicas(cluster) == 2
    status = (cluster.get("hpa/web") or {})["status"]
    told = {c["type"]: c for c in status["conditions"]}["ScalingActive"]
    assert (told["status"], told["reason"]) == ("False", "FailedGetExternalMetric")
    assert "no metrics returned from external metrics API" in told["message"]


def test_both_groups_are_in_discovery(cluster: Cluster) -> None:
    """As other API servers are, and they are available."""
    for name in ("v1beta1.external.metrics.k8s.io", "v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io"):
        cluster.wait_for(f"apiservice/{name}", "Available")
    listed = cluster.run(cluster.client.call("GET", "/apis/external.metrics.k8s.io/v1beta1"))["resources"]
    assert "sls_ingress_latency_p99" in {entry["name"] for entry in listed}
    with pytest.raises(ApiError, match="no such metric"):
        cluster.run(cluster.client.call("GET", "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/unheard_of"))
