"""Autoscaling in virtual time: load comes, pods are added; it goes, and after five minutes so do they."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.meta import conditions
from sampan.testing.cluster import Cluster

Tree = dict[str, Any]
CPU = "cpu resource utilization (percentage of request)"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made


def deployment(replicas: int = 1, requests: Tree | None = None, name: str = "web") -> Tree:
    container: Tree = {"name": "c", "image": "web", "resources": {"requests": requests or {"cpu": "500m"}}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": replicas, "selector": selector, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def autoscaler(name: str = "web", **spec: Any) -> Tree:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    cpu = {"type": "Utilization", "averageUtilization": 50}
    usual = {"minReplicas": 1, "maxReplicas": 10, "metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]}
    usual["metrics"][0]["resource"]["target"] = cpu  # type: ignore[index]
    whole = {**usual, "scaleTargetRef": ref, **spec}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": whole,
    }


def load(cluster: Cluster, cores: float) -> None:
    cluster.behave("web", {"stages": [{"cpu": f"{round(cores * 1000)}m", "memory": "64Mi"}]})


def replicas(cluster: Cluster) -> int:
    return int((cluster.get("deployment/web") or {})["spec"]["replicas"])


def condition(cluster: Cluster, type: str, name: str = "web") -> tuple[str, str, str]:
    found = conditions.get(cluster.get(f"hpa/{name}") or {}, type) or {}
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def texts(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in cluster.events("hpa/web") if event["reason"] == reason]


def begin(cluster: Cluster, cores: float, count: int = 1) -> None:
    """So many pods that have run for so long that all they use counts."""
    load(cluster, cores)
    cluster.apply(deployment(count))
    cluster.advance(minutes=5)


def sizes(cluster: Cluster) -> list[int]:
    """How many replicas the deployment came to want, one after the other."""
    found = [c.tree["spec"]["replicas"] for c in cluster.history("deployment/web") if c.tree]
    return [n for place, n in enumerate(found) if place == 0 or n != found[place - 1]]


def test_load_comes_and_goes(cluster: Cluster) -> None:
    """Looked at every 15 seconds: up as far as it may, by twice at most; down when that was right for five minutes."""
    begin(cluster, 0.2)
    cluster.apply(autoscaler(maxReplicas=6))
    cluster.advance(14.9)
    assert not (cluster.get("hpa/web") or {})["status"].get("conditions")
    cluster.advance(0.2)
    found = "the HPA was able to successfully calculate a replica count from " + CPU
    assert condition(cluster, "ScalingActive") == ("True", "ValidMetricFound", found)
    load(cluster, 0.5)
    cluster.advance(120)
    assert sizes(cluster) == [1, 2, 4, 6]
    up = f"reason: {CPU} above target"
    assert texts(cluster, "SuccessfulRescale") == [f"New size: {n}; {up}" for n in (2, 4, 6)]
    limited = ("True", "TooManyReplicas", "the desired replica count is more than the maximum replica count")
    assert condition(cluster, "ScalingLimited") == limited
    load(cluster, 0.02)
    cluster.advance(240)
    assert replicas(cluster) == 6
    held = "recent recommendations were higher than current one, applying the highest recent recommendation"
    assert condition(cluster, "AbleToScale") == ("True", "ScaleDownStabilized", held)
    cluster.advance(120)
    assert sizes(cluster) == [1, 2, 4, 6, 1]
    assert texts(cluster, "SuccessfulRescale")[3:] == ["New size: 1; reason: All metrics below target"]
    cluster.advance(15)
    status = (cluster.get("hpa/web") or {})["status"]
    current = {"averageValue": "20m", "averageUtilization": 4}
    assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    assert (status["currentReplicas"], status["desiredReplicas"]) == (1, 1)
    assert condition(cluster, "AbleToScale")[1] == "ReadyForNewScale"
    assert condition(cluster, "ScalingLimited")[:2] == ("False", "DesiredWithinRange")


def test_behaviour_sets_the_pace(cluster: Cluster) -> None:
    """One pod a minute up; half of them at most each two minutes down, after a window of its own."""
    begin(cluster, 1.0)
    up = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    policy = {"type": "Percent", "value": 50, "periodSeconds": 120}
    down = {"stabilizationWindowSeconds": 30, "policies": [policy]}
    cluster.apply(autoscaler(maxReplicas=4, behavior={"scaleUp": up, "scaleDown": down}))
    cluster.advance(240)
    changes = [(round(c.time), c.tree["spec"]["replicas"]) for c in cluster.history("deployment/web") if c.tree]
    firsts = {n: min(at for at, m in changes if m == n) for n in (2, 3, 4)}
    assert firsts == {2: 315, 3: 375, 4: 435}
    fast = "the desired replica count is increasing faster than the maximum scale rate"
    shown = [c.tree["status"].get("conditions", []) for c in cluster.history("hpa/web") if c.tree]
    assert any(found["reason"] == "ScaleUpLimit" and found["message"] == fast for each in shown for found in each)
    load(cluster, 0.01)
    cluster.advance(400)
    assert sizes(cluster) == [1, 2, 3, 4, 2, 1]


def test_a_disabled_direction(cluster: Cluster) -> None:
    begin(cluster, 0.01, count=3)
    cluster.apply(autoscaler(behavior={"scaleDown": {"selectPolicy": "Disabled"}}))
    cluster.advance(400)
    assert replicas(cluster) == 3
    assert condition(cluster, "ScalingLimited")[:2] == ("True", "ScaleDownLimit")


def test_what_is_tolerated_changes_nothing(cluster: Cluster) -> None:
    """Up to a tenth more than the target; where the behaviour says so, none at all."""
    begin(cluster, 0.26, count=4)
    cluster.apply(autoscaler())
    cluster.advance(60)
    assert replicas(cluster) == 4
    cluster.patch("hpa/web", {"spec": {"behavior": {"scaleUp": {"tolerance": "0"}}}})
    cluster.advance(60)
    assert replicas(cluster) > 4


def test_bounds_and_zero(cluster: Cluster) -> None:
    """Outside of its bounds it is brought back whatever is measured; one that wants none is left alone."""
    load(cluster, 0.1)
    cluster.apply(deployment(7), autoscaler(minReplicas=2, maxReplicas=5))
    cluster.advance(15.1)
    assert texts(cluster, "SuccessfulRescale") == [
        "New size: 5; reason: Current number of replicas above Spec.MaxReplicas"
    ]
    told = "the HPA controller was able to update the target scale to 5"
    assert condition(cluster, "AbleToScale") == ("True", "SucceededRescale", told)
    cluster.scale("deployment/web", 1)
    cluster.advance(15.1)
    assert texts(cluster, "SuccessfulRescale")[1:] == [
        "New size: 2; reason: Current number of replicas below Spec.MinReplicas"
    ]
    cluster.scale("deployment/web", 0)
    cluster.advance(15.1)
    off = "scaling is disabled since the replica count of the target is zero"
    assert condition(cluster, "ScalingActive") == ("False", "ScalingDisabled", off)
    assert replicas(cluster) == 0


def test_no_request_no_scaling(cluster: Cluster) -> None:
    """What a pod requests must be known; the event, the condition and the event about the whole tell."""
    load(cluster, 0.3)
    cluster.apply(deployment(requests={"memory": "64Mi"}))
    cluster.advance(minutes=5)
    cluster.apply(autoscaler())
    cluster.advance(31)
    (pod,) = cluster.list("pod")
    inner = f"failed to get cpu utilization: missing request for cpu in container c of Pod {pod['metadata']['name']}"
    assert texts(cluster, "FailedGetResourceMetric") == [inner]
    whole = "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: "
    assert texts(cluster, "FailedComputeMetricsReplicas") == [whole + inner]
    told = f"the HPA was unable to compute the replica count: {inner}"
    assert condition(cluster, "ScalingActive") == ("False", "FailedGetResourceMetric", told)
    assert (cluster.get("hpa/web") or {})["status"]["currentMetrics"] == [{"type": ""}]


def test_a_target_that_is_not_there(cluster: Cluster) -> None:
    cluster.apply(autoscaler())
    cluster.advance(16)
    assert texts(cluster, "FailedGetScale") == ['deployments.apps "web" not found']
    told = "the HPA controller was unable to get the target's current scale: "
    assert condition(cluster, "AbleToScale") == ("False", "FailedGetScale", told + 'deployments.apps "web" not found')
    cluster.apply(autoscaler(scaleTargetRef={"apiVersion": "apps/v1", "kind": "Nothing", "name": "web"}))
    cluster.advance(16)
    assert condition(cluster, "AbleToScale")[2] == told + 'no matches for kind "Nothing" in group "apps"'


def test_two_for_the_same_pods_scale_nothing(cluster: Cluster) -> None:
    begin(cluster, 0.5)
    cluster.apply(autoscaler(), autoscaler("other"))
    cluster.advance(31)
    text = "pods by selector app=web are controlled by multiple HPAs: [{other default} {web default}]"
    assert condition(cluster, "ScalingActive") == ("False", "AmbiguousSelector", text)
    assert replicas(cluster) == 1
    cluster.delete("hpa/other")
    cluster.advance(16)
    assert replicas(cluster) == 2


def test_a_container_of_several(cluster: Cluster) -> None:
    """What the others use does not count; where it is not there, it is told."""
    begin(cluster, 0.5)
    metric = {"name": "cpu", "container": "c", "target": {"type": "AverageValue", "averageValue": "200m"}}
    cluster.apply(autoscaler(metrics=[{"type": "ContainerResource", "containerResource": metric}]))
    cluster.advance(31)
    assert texts(cluster, "SuccessfulRescale")[0] == "New size: 3; reason: cpu resource above target"
    cluster.delete("hpa/web")
    metric = {**metric, "container": "none"}
    cluster.apply(autoscaler("second", metrics=[{"type": "ContainerResource", "containerResource": metric}]))
    cluster.advance(16)
    told = condition(cluster, "ScalingActive", "second")
    assert told[1] == "FailedGetContainerResourceMetric"
    assert "failed to get container metrics: container none not present in metrics for pod default/web-" in told[2]


def provider(cluster: Cluster, group: str, path: str, items: list[Tree]) -> None:
    """Registers a metrics API of which this test is the server."""
    name = group.partition(".")[0]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}}
    labels = {"kubernetes.io/service-name": name}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4", "ports": [{"port": 443}], "endpoints": [{"addresses": ["10.0.0.9"]}],
    }  # fmt: skip
    where = {"namespace": "default", "name": name}
    spec = {"group": group, "version": "v1beta1", "service": where, "insecureSkipTLSVerify": True}
    spec |= {"groupPriorityMinimum": 100, "versionPriority": 100}
    head = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    registered = {**head, "metadata": {"name": f"v1beta1.{group}"}, "spec": spec}
    root = f"https://{name}.default.svc/apis/{group}/v1beta1"
    listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/v1beta1", "resources": []}
    outbound = cluster.sim.outbound
    outbound.serve(root, lambda _: listed)
    outbound.serve(f"{root}/{path}", lambda _: {"kind": "MetricValueList", "metadata": {}, "items": items})
    cluster.apply(service, endpoints, registered)
    cluster.wait_for(f"apiservice/v1beta1.{group}", "Available")


def test_metrics_that_others_provide(cluster: Cluster) -> None:
    """Of pods and of an object by custom.metrics.k8s.io, of the world outside by external.metrics.k8s.io."""
    begin(cluster, 0.1, count=2)
    target = {"type": "AverageValue", "averageValue": "10"}
    pods = {"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": target}}
    cluster.apply(autoscaler(metrics=[pods]))
    cluster.advance(16)
    inner = (
        "unable to get metric requests: unable to fetch metrics from custom metrics API: "
        "no custom metrics API (custom.metrics.k8s.io) registered"
    )
    assert texts(cluster, "FailedGetPodsMetric") == [inner]
    about = [{"kind": "Pod", "name": pod["metadata"]["name"], "apiVersion": "/v1"} for pod in cluster.list("pod")]
    now = cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    values = [{"describedObject": each, "metricName": "requests", "timestamp": now, "value": "20"} for each in about]
    provider(cluster, "custom.metrics.k8s.io", "namespaces/default/pods/*/requests", values)
    cluster.advance(16)
    assert texts(cluster, "SuccessfulRescale") == ["New size: 4; reason: pods metric requests above target"]
    source = {"metric": {"name": "requests"}, "current": {"averageValue": "20"}}
    assert (cluster.get("hpa/web") or {})["status"]["currentMetrics"] == [{"type": "Pods", "pods": source}]

    queue = [{"metricName": "queue", "metricLabels": {}, "timestamp": now, "value": "30"}] * 2
    provider(cluster, "external.metrics.k8s.io", "namespaces/default/queue", queue)
    external = {"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}
    cluster.apply(autoscaler(metrics=[external]))
    cluster.advance(16)
    assert texts(cluster, "SuccessfulRescale")[1:] == ["New size: 6; reason: external metric queue(nil) above target"]

    value = [{"describedObject": {}, "metricName": "hits", "timestamp": now, "value": "3"}]
    path = "namespaces/default/services/front/hits"
    url = f"https://custom.default.svc/apis/custom.metrics.k8s.io/v1beta1/{path}"
    cluster.sim.outbound.serve(url, lambda _: {"kind": "MetricValueList", "metadata": {}, "items": value})
    described = {"apiVersion": "v1", "kind": "Service", "name": "front"}
    half = {"type": "Value", "value": "2"}
    hits = {"type": "Object", "object": {"metric": {"name": "hits"}, "describedObject": described, "target": half}}
    cluster.apply(autoscaler(metrics=[hits]))
    cluster.advance(16)
    assert texts(cluster, "SuccessfulRescale")[2:] == ["New size: 9; reason: Service metric hits above target"]


def test_a_scale_that_is_refused(cluster: Cluster) -> None:
    """It is told, nothing counts as changed, and the next look tries again."""
    begin(cluster, 0.5)
    rule = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    hook = {
        "name": "no.example.com", "clientConfig": {"url": "https://hooks.example.com/no"}, "rules": [rule],
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    config = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    verdict = {"allowed": False, "status": {"message": "not today"}}
    cluster.sim.outbound.serve("https://hooks.example.com/no", lambda _: verdict)
    cluster.apply({**config, "metadata": {"name": "no"}, "webhooks": [hook]})
    pace = {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}]}}
    cluster.apply(autoscaler(behavior=pace))
    cluster.advance(16)
    refusal = 'admission webhook "no.example.com" denied the request: not today'
    assert texts(cluster, "FailedRescale") == [f"New size: 2; reason: {CPU} above target; error: {refusal}"]
    told = f"the HPA controller was unable to update the target scale: {refusal}"
    assert condition(cluster, "AbleToScale") == ("False", "FailedUpdateScale", told)
    assert condition(cluster, "ScalingActive")[:2] == ("True", "ValidMetricFound")
    assert "lastScaleTime" not in (cluster.get("hpa/web") or {})["status"]
    cluster.delete("validatingwebhookconfiguration/no")
    cluster.advance(30)
    assert sizes(cluster) == [1, 2]


def test_a_control_plane_that_is_killed_goes_on(cluster: Cluster) -> None:
    """What was recommended is forgotten with it, but the target is scaled as before."""
    begin(cluster, 0.5)
    cluster.apply(autoscaler(maxReplicas=4))
    cluster.advance(16)
    cluster.sim.crash_control_plane()
    cluster.advance(5)
    cluster.sim.start_control_plane()
    cluster.advance(90)
    assert sizes(cluster)[-1] == 4
