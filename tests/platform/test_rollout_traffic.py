"""Rollouts that move traffic: shares of an HTTPRoute, blue-green Services, and what is refused."""

from typing import Any

import pytest

from sampan.meta import objects
from sampan.testing.cluster import Cluster
from tests.platform.test_rollouts import (
    Object,
    base,
    change,
    cluster,
    measured,
    metric,
    patch_status,
    phase,
    pods,
    rollout,
    service,
    started,
    status,
    template,
)

pytestmark = pytest.mark.slow

__all__ = ["base", "cluster"]

ROUTE_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "httproutes.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/3328"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "names": {"kind": "HTTPRoute", "plural": "httproutes"},
        "scope": "Namespaced",
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
REFS = [{"name": "stable", "port": 80}, {"name": "canary", "port": 80}]
ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "web"},
    "spec": {"rules": [{"backendRefs": REFS}, {"backendRefs": [{"name": "other", "port": 80}]}]},
}
ROUTING = {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web", "namespace": "default"}}}
ROUTED = {"canaryService": "canary", "stableService": "stable", "trafficRouting": ROUTING}


def weights(cluster: Cluster) -> tuple[int, int]:
    """(stable, canary) as the route has them."""
    route = cluster.get("httproute/web")
    assert route is not None
    stable, canary = route["spec"]["rules"][0]["backendRefs"]
    return stable.get("weight", 1), canary.get("weight", 1)


def told(cluster: Cluster, reason: str) -> list[str]:
    """What events say with this reason, in their order."""
    return [event["message"] for event in cluster.events("rollout/web") if event["reason"] == reason]


def selected(cluster: Cluster, name: str) -> str:
    """The images of the pods that a Service selects."""
    found = cluster.get(f"service/{name}")
    assert found is not None
    wanted = found["spec"]["selector"].items()
    images = {
        pod["spec"]["containers"][0]["image"]
        for pod in cluster.list("pods", "default")
        if wanted <= objects.labels(pod).items()
    }
    return " ".join(sorted(images))


def routed(cluster: Cluster, steps: list[Object], **more: Any) -> None:
    cluster.apply(ROUTE_DEFINITION)
    cluster.wait_for("customresourcedefinition/httproutes.gateway.networking.k8s.io", "Established")
    cluster.apply(ROUTE, service("stable"), service("canary"))
    started(cluster, rollout({"canary": {**ROUTED, "steps": steps, **more}}, replicas=10))


def test_a_canary_by_routes(cluster: Cluster) -> None:
    """The old version keeps all its pods until it has no traffic any more, and for a while longer."""
    routed(cluster, [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}])
    assert weights(cluster) == (100, 0)
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert weights(cluster) == (80, 20)
    assert pods(cluster) == {"web:1": 10, "web:2": 2}
    assert (selected(cluster, "stable"), selected(cluster, "canary")) == ("web:1", "web:2")
    patch_status(cluster, pauseConditions=None)
    cluster.run_until(lambda: weights(cluster) == (40, 60))
    assert pods(cluster) == {"web:1": 10, "web:2": 6}
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    patch_status(cluster, pauseConditions=None)
    cluster.wait_for("rollout/web", phase("Healthy"))
    assert weights(cluster) == (100, 0)
    assert told(cluster, "TrafficWeightUpdated")[-1] == "Traffic weight updated to 0"
    assert "Traffic weight updated to 100" in told(cluster, "TrafficWeightUpdated")
    assert (selected(cluster, "stable"), selected(cluster, "canary")) == ("web:2", "web:2")
    assert pods(cluster) == {"web:1": 10, "web:2": 10}
    cluster.advance(40)
    assert pods(cluster) == {"web:2": 10}


def test_no_traffic_goes_where_no_pod_is_ready(cluster: Cluster) -> None:
    """At each write of the route, whoever gets a share has pods for it."""
    routed(cluster, [{"setWeight": 50}, {"setWeight": 80}])
    seen: list[tuple[tuple[int, int], int]] = []

    def look(change: Any) -> None:
        if change.resource == "httproutes.gateway.networking.k8s.io":
            new = [r for r in cluster.list("replicasets", "default") if "web:2" in str(r["spec"])]
            stable, canary = (ref["weight"] for ref in change.tree["spec"]["rules"][0]["backendRefs"])
            seen.append(((stable, canary), new[0].get("status", {}).get("availableReplicas", 0) if new else 0))

    cluster.sim.observe(look)
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Healthy"), within=120)
    assert [share for share, _ in seen] == [(50, 50), (20, 80), (0, 100), (100, 0)]
    assert all(available * 10 >= canary for (_, canary), available in seen)


def test_a_bad_canary_loses_its_traffic_at_once(cluster: Cluster) -> None:
    """Its pods go a little later."""
    values = iter([1.0, 0.2])
    measured(cluster, lambda: [next(values)])
    cluster.apply(template(metric(interval="1m"), args=[{"name": "service", "value": "canary"}]))
    given = {"templates": [{"templateName": "success-rate"}]}
    routed(cluster, [{"setWeight": 30}, {"pause": {}}], analysis=given)
    change(cluster, "web:2")
    cluster.run_until(lambda: weights(cluster) == (70, 30))
    cluster.run_until(lambda: status(cluster)["phase"] == "Degraded", within=120)
    assert weights(cluster) == (100, 0)
    assert pods(cluster) == {"web:1": 10, "web:2": 3}
    cluster.advance(40)
    assert pods(cluster) == {"web:1": 10}


def test_a_scale_of_the_canary(cluster: Cluster) -> None:
    """Pods without traffic first, then as many as the traffic needs."""
    scale = {"setCanaryScale": {"replicas": 4}}
    steps = [scale, {"pause": {}}, {"setCanaryScale": {"matchTrafficWeight": True}}, {"setWeight": 10}, {"pause": {}}]
    routed(cluster, steps)
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert (pods(cluster), weights(cluster)) == ({"web:1": 10, "web:2": 4}, (100, 0))
    patch_status(cluster, pauseConditions=None)
    cluster.run_until(lambda: (pods(cluster), weights(cluster)) == ({"web:1": 10, "web:2": 1}, (90, 10)))


def test_a_route_that_is_not_there(cluster: Cluster) -> None:
    """The step is not over before the route has its share."""
    routed(cluster, [{"setWeight": 20}, {"pause": {}}])
    cluster.delete("httproute/web")
    change(cluster, "web:2")
    cluster.advance(60)
    assert status(cluster)["currentStepIndex"] == 0
    assert 'httproutes.gateway.networking.k8s.io "web" not found' in told(cluster, "TrafficRoutingError")
    cluster.apply(ROUTE)
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert weights(cluster) == (80, 20)


# Blue-green


def blue_green(cluster: Cluster, **given: Any) -> None:
    cluster.apply(service("active"), service("preview"))
    strategy = {"blueGreen": {"activeService": "active", "previewService": "preview", **given}}
    started(cluster, rollout(strategy))


def test_blue_green(cluster: Cluster) -> None:
    """The new version is tried on the preview's Service, and gets the active one's when it is promoted."""
    blue_green(cluster, autoPromotionEnabled=False)
    assert selected(cluster, "active") == "web:1"
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "BlueGreenPause"))
    assert pods(cluster) == {"web:1": 4, "web:2": 4}
    assert (selected(cluster, "active"), selected(cluster, "preview")) == ("web:1", "web:2")
    patch_status(cluster, pauseConditions=None)
    cluster.wait_for("rollout/web", phase("Healthy"))
    assert selected(cluster, "active") == "web:2"
    cluster.advance(40)
    assert pods(cluster) == {"web:2": 4}


def test_blue_green_by_itself(cluster: Cluster) -> None:
    """At once by default, or after some seconds; a smaller preview grows before it is active."""
    blue_green(cluster, autoPromotionSeconds=30, previewReplicaCount=1)
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "BlueGreenPause"))
    assert pods(cluster) == {"web:1": 4, "web:2": 1}
    cluster.wait_for("rollout/web", phase("Healthy"), within=60)
    assert selected(cluster, "active") == "web:2"


def test_blue_green_with_analyses(cluster: Cluster) -> None:
    """A bad one before keeps the old version active; a bad one after brings it back."""
    values = [0.5]
    measured(cluster, lambda: values)
    cluster.apply(template(metric(), args=[{"name": "service", "value": "preview"}]))
    given = {"templates": [{"templateName": "success-rate"}]}
    blue_green(cluster, prePromotionAnalysis=given, postPromotionAnalysis=given)
    change(cluster, "web:2")
    cluster.run_until(lambda: status(cluster)["phase"] == "Degraded")
    assert "Pre-promotion analysis phase error/failed: Metric" in status(cluster)["message"]
    cluster.advance(40)
    assert pods(cluster) == {"web:1": 4}
    answers = iter([[1.0], [0.5]])
    measured(cluster, lambda: next(answers))
    change(cluster, "web:3")
    cluster.run_until(lambda: status(cluster)["observedGeneration"] == "3" and status(cluster)["phase"] == "Degraded")
    switched = [text for text in told(cluster, "SwitchService") if "'active'" in text]
    assert switched[-1].partition("to ")[2] == f"'{status(cluster)['stableRS']}'"
    assert switched[-2].partition("to ")[2] == f"'{status(cluster)['currentPodHash']}'"
    assert "Post-promotion analysis phase error/failed: Metric" in status(cluster)["message"]
    assert selected(cluster, "active") == "web:1"
    cluster.advance(40)
    assert pods(cluster) == {"web:1": 4}


# What users do


def test_scaling_in_the_middle(cluster: Cluster) -> None:
    """By the scale subresource, as an autoscaler does it; the shares stay."""
    started(cluster, rollout({"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    cluster.scale("rollout/web", 8)
    cluster.run_until(lambda: pods(cluster) == {"web:1": 4, "web:2": 4})


def test_a_restart(cluster: Cluster) -> None:
    """All pods are new, and there were never too few."""
    started(cluster, rollout({"canary": {}}))
    before = {pod["metadata"]["name"] for pod in cluster.list("pods", "default")}
    cluster.advance(10)
    at = cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    cluster.patch("rollout/web", {"spec": {"restartAt": at}})
    cluster.run_until(lambda: status(cluster).get("restartedAt") == at, within=300)
    assert not before & {pod["metadata"]["name"] for pod in cluster.list("pods", "default")}


def test_paused_by_hand(cluster: Cluster) -> None:
    """Nothing goes on until it may."""
    started(cluster, rollout({"canary": {"steps": [{"setWeight": 50}]}}))
    cluster.patch("rollout/web", {"spec": {"paused": True}})
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "manually paused"))
    assert pods(cluster) == {"web:1": 4}
    cluster.patch("rollout/web", {"spec": {"paused": False}})
    cluster.run_until(lambda: pods(cluster) == {"web:2": 4})


def test_an_update_that_is_stuck(cluster: Cluster) -> None:
    """It says so in time, and goes back by itself where that is wanted."""
    canary = {"canary": {"steps": [{"setWeight": 50}]}}
    started(cluster, rollout(canary, progressDeadlineSeconds=60, progressDeadlineAbort=True, minReadySeconds=20))
    cluster.behave("web:2", {"run": "1s", "exit": 1})
    change(cluster, "web:2")
    cluster.run_until(lambda: "timed out progressing" in status(cluster).get("message", ""), within=200)
    cluster.run_until(lambda: pods(cluster) == {"web:1": 4})


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ({}, "spec.strategy.strategy: Required value: Rollout has missing field '.spec.strategy.canary or"),
        (
            {"canary": {"steps": [{"experiment": {"templates": []}, "setWeight": 1}]}},
            "experiment is not supported here",
        ),
        ({"canary": {"steps": [{"setWeight": 101}]}}, "spec.strategy.canary.steps[0].setWeight: Invalid value: 101"),
        ({"canary": {"steps": [{"pause": {"duration": "soon"}}]}}, "spec.strategy.canary.steps[0].pause.duration"),
        (
            {"canary": {"trafficRouting": {"istio": {"virtualService": {}}}}},
            "spec.strategy.canary.trafficRouting.istio",
        ),
        ({"canary": {"stableService": "gone"}}, 'stableService: Invalid value: "gone": service "gone" not found'),
        ({"canary": {"maxSurge": 0, "maxUnavailable": 0}}, "MaxSurge and MaxUnavailable both can not be zero"),
        ({"blueGreen": {}}, "spec.strategy.blueGreen.activeService: Required value"),
        ({"canary": {"analysis": {"templates": [{"templateName": "x"}]}}}, "AnalysisTemplate 'x' not found"),
    ],
)
def test_what_is_refused(cluster: Cluster, strategy: Object, why: str) -> None:
    """By the field, and nothing is done."""
    cluster.apply(rollout(strategy))
    cluster.wait_for("rollout/web", "InvalidSpec")
    found = status(cluster)
    assert found["phase"] == "Degraded"
    assert why in found["message"]
    assert not cluster.list("replicasets", "default")
