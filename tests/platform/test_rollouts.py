"""Rollouts over virtual time: canaries by pods and by routes, analyses, blue-green, and what users do to them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sampan.meta import conditions
from sampan.testing.cluster import Cluster
from sampan.web.message import Response

pytestmark = pytest.mark.slow

Object = dict[str, Any]

PROMETHEUS = "http://prometheus.monitoring:9090"


def rollout(strategy: Object, **spec: Any) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    made = {"replicas": 4, "selector": {"matchLabels": labels}, "template": template, "strategy": strategy, **spec}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": made}


def service(name: str) -> Object:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def template(*metrics: Object, name: str = "success-rate", **spec: Any) -> Object:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": name},
        "spec": {"metrics": list(metrics), **spec},
    }


def metric(**given: Any) -> Object:
    provider = {"prometheus": {"address": PROMETHEUS, "query": "rate({{args.service}})"}}
    return {"name": "success-rate", "successCondition": "result[0] >= 0.95", "provider": provider, **given}


@pytest.fixture(scope="module")
def base() -> Iterator[Cluster]:
    with Cluster(nodes=2, layers=["rollouts"]) as made:
        yield made


@pytest.fixture
def cluster(base: Cluster) -> Iterator[Cluster]:
    made = base.fork()
    yield made
    made.close()


def status(cluster: Cluster) -> Object:
    found = cluster.get("rollout/web")
    assert found is not None
    made: Object = found.get("status") or {}
    return made


def phase(wanted: str, message: str = "") -> Callable[[Object], bool]:
    def is_so(found: Object) -> bool:
        told = found.get("status") or {}
        seen = told.get("observedGeneration") == str(found["metadata"]["generation"])
        return seen and (told.get("phase"), told.get("message", "")) == (wanted, message)

    return is_so


def change(cluster: Cluster, image: str) -> None:
    container = [{"name": "web", "image": image}]
    cluster.patch("rollout/web", {"spec": {"template": {"spec": {"containers": container}}}})


def pods(cluster: Cluster) -> dict[str, int]:
    """How many pods there are of each image."""
    found: dict[str, int] = {}
    for pod in cluster.list("pods", "default"):
        image = pod["spec"]["containers"][0]["image"]
        found[image] = found.get(image, 0) + 1
    return found


def started(cluster: Cluster, made: Object) -> None:
    cluster.apply(made)
    cluster.wait_for("rollout/web", phase("Healthy"))


def patch_status(cluster: Cluster, **fields: Any) -> None:
    cluster.patch("rollout/web", {"status": fields}, subresource="status")


def measured(cluster: Cluster, values: Callable[[], list[float]]) -> None:
    """What Prometheus says."""

    def answer(asked: Object) -> Response:
        samples = [{"metric": {}, "value": [0, str(value)]} for value in values()]
        data = {"resultType": "vector", "result": samples}
        return Response(200, json.dumps({"status": "success", "data": data}).encode())

    cluster.sim.outbound.serve(f"{PROMETHEUS}/api/v1/query", answer)


STEPS = [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1m"}}]


def test_a_canary_by_pods(cluster: Cluster) -> None:
    """It waits at each pause, goes on when it is told to or when it is time, and ends with the new version alone."""
    started(cluster, rollout({"canary": {"steps": STEPS}}))
    assert pods(cluster) == {"web:1": 4}
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert pods(cluster) == {"web:1": 3, "web:2": 1}
    assert status(cluster)["currentStepIndex"] == 1
    cluster.advance(hours=1)
    assert pods(cluster) == {"web:1": 3, "web:2": 1}
    patch_status(cluster, pauseConditions=None)
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert pods(cluster) == {"web:1": 2, "web:2": 2}
    cluster.wait_for("rollout/web", phase("Healthy"), within=90)
    cluster.run_until(lambda: pods(cluster) == {"web:2": 4})
    found = status(cluster)
    assert found["stableRS"] == found["currentPodHash"]
    assert "pauseConditions" not in found
    assert conditions.is_true({"status": found}, "Completed")


def test_who_may_do_what(cluster: Cluster) -> None:
    """The usual roles are about rollouts too."""
    cluster.run_until(lambda: "rollouts" in str(cluster.get("clusterrole/view", namespace="")))
    rules = [rule for rule in (cluster.get("clusterrole/view") or {})["rules"] if "rollouts" in rule["resources"]]
    assert rules[0]["verbs"] == ["get", "list", "watch"]


def test_full_promotion(cluster: Cluster) -> None:
    """status.promoteFull leaves out all that is to come."""
    started(cluster, rollout({"canary": {"steps": STEPS}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    patch_status(cluster, promoteFull=True)
    cluster.wait_for("rollout/web", phase("Healthy"), within=30)
    cluster.run_until(lambda: pods(cluster) == {"web:2": 4})
    assert "promoteFull" not in status(cluster)


def test_abort_and_retry(cluster: Cluster) -> None:
    """An aborted update goes back to the old version and says so; retried, it begins again."""
    started(cluster, rollout({"canary": {"steps": STEPS}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    patch_status(cluster, abort=True)
    cluster.wait_for("rollout/web", phase("Degraded", "RolloutAborted: Rollout aborted update to revision 2"))
    cluster.run_until(lambda: pods(cluster) == {"web:1": 4})
    patch_status(cluster, abort=False)
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert pods(cluster) == {"web:1": 3, "web:2": 1}


def test_back_to_the_old_template(cluster: Cluster) -> None:
    """What is stable already needs no steps."""
    started(cluster, rollout({"canary": {"steps": STEPS}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    change(cluster, "web:1")
    cluster.wait_for("rollout/web", phase("Healthy"), within=30)
    cluster.run_until(lambda: pods(cluster) == {"web:1": 4})


def test_availability_is_kept(cluster: Cluster) -> None:
    """Never more than replicas + maxSurge, never fewer available than replicas - maxUnavailable."""
    given = rollout({"canary": {"maxSurge": 1, "maxUnavailable": 0, "steps": [{"setWeight": 50}]}}, replicas=6)
    started(cluster, given)
    seen: list[tuple[int, int]] = []

    def look(change: Any) -> None:
        if change.resource == "replicasets.apps" and change.type != "DELETED":
            found = cluster.list("replicasets", "default")
            wanted = sum(r["spec"]["replicas"] for r in found)
            seen.append((wanted, sum(r.get("status", {}).get("availableReplicas", 0) for r in found)))

    cluster.sim.observe(look)
    change(cluster, "web:2")
    cluster.run_until(lambda: pods(cluster) == {"web:2": 6}, within=300)
    assert max(wanted for wanted, _ in seen) == 7
    assert min(available for _, available in seen) >= 6


# Analyses


def test_a_canary_that_goes_bad_goes_back_by_itself(cluster: Cluster) -> None:
    """A background analysis fails; the old version has all pods again, and the message says why."""
    values = iter([1.0, 0.99, 0.5, 0.4, 0.3])
    measured(cluster, lambda: [next(values)])
    cluster.apply(template(metric(interval="30s", failureLimit=1), args=[{"name": "service"}]))
    given = {"templates": [{"templateName": "success-rate"}], "args": [{"name": "service", "value": "web"}]}
    started(cluster, rollout({"canary": {"steps": STEPS, "analysis": given}}))
    change(cluster, "web:2")
    why = 'Metric "success-rate" assessed Failed due to failed (2) > failureLimit (1)'
    told = f"RolloutAborted: Rollout aborted update to revision 2: Background analysis phase error/failed: {why}"
    cluster.wait_for("rollout/web", phase("Degraded", told), within=200)
    cluster.run_until(lambda: pods(cluster) == {"web:1": 4})
    (run,) = cluster.list("analysisruns", "default")
    assert (run["status"]["phase"], run["status"]["message"]) == ("Failed", why)
    (result,) = run["status"]["metricResults"]
    assert [m["value"] for m in result["measurements"]] == ["[1]", "[0.99]", "[0.5]", "[0.4]"]
    assert (result["successful"], result["failed"], result["count"]) == (2, 2, 4)


def test_a_step_of_analysis(cluster: Cluster) -> None:
    """It has to succeed before the next step; its arguments tell the new pods from the old ones."""
    asked: list[str] = []

    def answer(query: Object) -> Response:
        asked.append(query["query"])
        return Response(200, b'{"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}')

    cluster.sim.outbound.serve(f"{PROMETHEUS}/api/v1/query", answer)
    good = metric(successCondition="result == 1", interval="10s", count=3)
    cluster.apply(template(good, args=[{"name": "service"}]))
    arg = {"name": "service", "valueFrom": {"podTemplateHashValue": "Latest"}}
    given = {"templates": [{"templateName": "success-rate"}], "args": [arg]}
    started(cluster, rollout({"canary": {"steps": [{"setWeight": 25}, {"analysis": given}, {"pause": {}}]}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    assert asked == [f"rate({status(cluster)['currentPodHash']})"] * 3
    (run,) = cluster.list("analysisruns", "default")
    assert run["metadata"]["name"] == f"web-{status(cluster)['currentPodHash']}-2-1"


def test_inconclusive_and_errors(cluster: Cluster) -> None:
    """Neither good nor bad waits for the user; what can't be measured for too long aborts."""
    measured(cluster, lambda: [0.9])
    cluster.apply(template(metric(failureCondition="result[0] < 0.8"), args=[{"name": "service", "value": "a"}]))
    step = {"analysis": {"templates": [{"templateName": "success-rate"}]}}
    started(cluster, rollout({"canary": {"steps": [{"setWeight": 25}, step, {"pause": {}}, step]}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "InconclusiveAnalysisRun"))
    patch_status(cluster, pauseConditions=None)
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    cluster.sim.outbound.withdraw(f"{PROMETHEUS}/api/v1/query")
    patch_status(cluster, pauseConditions=None)
    cluster.run_until(lambda: status(cluster)["phase"] == "Degraded", within=120)
    assert (
        'assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): "Error Message: Get'
        in status(cluster)["message"]
    )


def test_web_and_job(cluster: Cluster) -> None:
    """A value out of a JSON document, and a Job that has to succeed."""
    cluster.sim.outbound.serve("http://web.default/health", lambda asked: Response(200, b'{"data": {"ok": "yes"}}'))
    web = {"url": "http://web.default/health", "jsonPath": "{$.data.ok}"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "smoke", "image": "smoke:1"}]}
    cluster.behave("smoke:1", {"run": "5s", "exit": 0})
    cluster.apply(
        template(
            {"name": "web", "successCondition": "result == 'yes'", "provider": {"web": web}},
            {"name": "smoke", "provider": {"job": {"spec": {"template": {"spec": pod}}}}},
        )
    )
    step = {"analysis": {"templates": [{"templateName": "success-rate"}]}}
    started(cluster, rollout({"canary": {"steps": [step, {"pause": {}}]}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"), within=120)
    (run,) = cluster.list("analysisruns", "default")
    assert [result["phase"] for result in run["status"]["metricResults"]] == ["Successful"] * 2


def test_the_control_plane_dies_in_the_middle(cluster: Cluster) -> None:
    """Whoever comes after goes on where the rollout was; no second run, no step left out."""
    measured(cluster, lambda: [1.0])
    cluster.apply(template(metric(interval="20s", count=3), args=[{"name": "service", "value": "a"}]))
    step = {"analysis": {"templates": [{"templateName": "success-rate"}]}}
    started(cluster, rollout({"canary": {"steps": [{"setWeight": 50}, step, {"pause": {"duration": 30}}]}}))
    change(cluster, "web:2")
    for _ in range(12):
        cluster.advance(7)
        cluster.sim.crash_control_plane()
        cluster.advance(1)
        cluster.sim.start_control_plane()
    cluster.wait_for("rollout/web", phase("Healthy"), within=120)
    cluster.run_until(lambda: pods(cluster) == {"web:2": 4})
    (run,) = cluster.list("analysisruns", "default")
    (result,) = run["status"]["metricResults"]
    assert (result["count"], result["phase"]) == (3, "Successful")
    steps = [e["message"] for e in cluster.events("rollout/web") if e["reason"] == "RolloutStepCompleted"]
    assert steps == [
        "Rollout step 1/3 completed (setWeight: 50)",
        "Rollout step 2/3 completed (analysis)",
        "Rollout step 3/3 completed (pause: 30)",
    ]


def test_what_the_gateway_counts(cluster: Cluster) -> None:
    """A canary whose requests fail is seen by the gateway's own counters, without any Prometheus."""
    counted = {"2xx": 100, "5xx": 0}

    def answer(asked: Object) -> Response:
        counted["2xx"] += 10
        counted["5xx"] += 10
        name = "sampan_gateway_service_requests_total"
        lines = [f'{name}{{namespace="default",service="canary",code="{c}"}} {n}' for c, n in counted.items()]
        return Response(200, "\n".join(lines).encode())

    cluster.apply(GATEWAY_CLASS_DEFINITION)
    cluster.wait_for("customresourcedefinition/gatewayclasses.gateway.networking.k8s.io", "Established")
    told = {"gateway.sampan.dev/proxy-address": "10.1.2.3", "gateway.sampan.dev/metrics-port": "9"}
    api = "gateway.networking.k8s.io/v1"
    cluster.apply({"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "sampan", "annotations": told}})
    cluster.sim.outbound.serve("http://10.1.2.3:9/metrics", answer)
    provider = {"plugin": {"sampan/gateway": {"service": "canary", "measure": "successRate", "window": "15s"}}}
    cluster.apply(template({"name": "rate", "successCondition": "result[0] >= 0.9", "provider": provider}))
    step = {"analysis": {"templates": [{"templateName": "success-rate"}]}}
    started(cluster, rollout({"canary": {"steps": [step]}}))
    before = cluster.time
    change(cluster, "web:2")
    cluster.run_until(lambda: status(cluster)["phase"] == "Degraded")
    assert 14 <= cluster.time - before <= 16
    (run,) = cluster.list("analysisruns", "default")
    (measurement,) = run["status"]["metricResults"][0]["measurements"]
    assert (measurement["phase"], measurement["value"]) == ("Failed", "[0.5]")


GATEWAY_CLASS_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "gatewayclasses.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/3328"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "names": {"kind": "GatewayClass", "plural": "gatewayclasses"},
        "scope": "Cluster",
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
