"""Rollouts that are tried again, that go on after what was inconclusive, and that grow while they are held."""

from typing import Any

import pytest

from sampan.control.view import Snapshot, View
from sampan.kit.frozen import freeze
from sampan.platform.rollouts import analysis_run, kinds, rules, validation
from sampan.testing.cluster import Cluster
from tests.platform.test_rollouts import (
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

__all__ = ["base", "cluster"]

Object = dict[str, Any]
GIVEN = {"templates": [{"templateName": "success-rate"}]}
slow = pytest.mark.slow


@slow
def test_a_canary_is_tried_again(cluster: Cluster) -> None:
    """What was measured before the retry doesn't abort it again."""
    values = [0.1]
    measured(cluster, lambda: values)
    cluster.apply(template(metric(interval="5s"), args=[{"name": "service", "value": "web"}]))
    steps = [{"setWeight": 25}, {"pause": {}}]
    started(cluster, rollout({"canary": {"steps": steps, "analysis": GIVEN}}))
    change(cluster, "web:2")
    cluster.run_until(lambda: status(cluster)["phase"] == "Degraded")
    values[:] = [1.0]
    patch_status(cluster, abort=False)
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    cluster.advance(40)
    assert status(cluster)["phase"] == "Paused"
    assert len(cluster.list("analysisruns", "default")) == 2


@slow
def test_a_blue_green_update_is_tried_again(cluster: Cluster) -> None:
    """The analysis before the promotion is made anew."""
    values = [0.1]
    measured(cluster, lambda: values)
    cluster.apply(template(metric(), args=[{"name": "service", "value": "web"}]), service("active"))
    started(cluster, rollout({"blueGreen": {"activeService": "active", "prePromotionAnalysis": GIVEN}}))
    change(cluster, "web:2")
    cluster.run_until(lambda: status(cluster)["phase"] == "Degraded")
    values[:] = [1.0]
    patch_status(cluster, abort=False)
    cluster.wait_for("rollout/web", phase("Healthy"), within=60)


@slow
def test_what_was_inconclusive_is_measured_anew(cluster: Cluster) -> None:
    """The user goes on once, and isn't asked about the same run again."""
    values = [0.9]
    measured(cluster, lambda: values)
    given = metric(interval="20s", failureCondition="result[0] < 0.5")
    cluster.apply(template(given, args=[{"name": "service", "value": "web"}]))
    steps = [{"setWeight": 25}, {"pause": {"duration": "10s"}}, {"setWeight": 50}, {"pause": {"duration": "10s"}}]
    started(cluster, rollout({"canary": {"steps": steps, "analysis": GIVEN}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "InconclusiveAnalysisRun"))
    values[:] = [1.0]
    patch_status(cluster, pauseConditions=None)
    cluster.wait_for("rollout/web", phase("Healthy"), within=200)


@slow
@pytest.mark.parametrize(("enabled", "ends"), [(True, "Healthy"), (False, "Paused")])
def test_seconds_until_the_promotion(cluster: Cluster, enabled: bool, ends: str) -> None:
    """They are waited for where it is promoted by itself, and don't matter where a person does it."""
    cluster.apply(service("active"))
    seconds = {"autoPromotionEnabled": enabled, "autoPromotionSeconds": 300}
    started(cluster, rollout({"blueGreen": {"activeService": "active", **seconds}}))
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "BlueGreenPause"))
    cluster.advance(200)
    assert status(cluster)["phase"] == "Paused"
    cluster.advance(200)
    assert status(cluster)["phase"] == ends


@slow
def test_one_that_is_held_grows(cluster: Cluster) -> None:
    """What waits for its new template still has as many pods as it is to have."""
    started(cluster, rollout({"canary": {"steps": [{"setWeight": 50}]}}))
    cluster.patch("rollout/web", {"spec": {"paused": True}})
    change(cluster, "web:2")
    cluster.wait_for("rollout/web", phase("Paused", "manually paused"))
    for replicas in (8, 3, 0, 5):
        cluster.patch("rollout/web", {"spec": {"replicas": replicas}})
        cluster.run_until(lambda: sum(pods(cluster).values()) == status(cluster)["HPAReplicas"] == replicas)  # noqa: B023
    assert pods(cluster) == {"web:1": 5}


def run_of(*names: str, **spec: Any) -> Object:
    return {"spec": {"metrics": [{"name": name} for name in names], **spec}}


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (run_of(), "no metrics specified"),
        (run_of("a", "b", "a"), "spec.metrics[2].name: two metrics have the same name 'a'"),
        (run_of("a", dryRun=[{"metricName": "b"}]), "spec.dryRun[0]: Rule didn't match any metric name(s)"),
        (run_of("a", measurementRetention=[{"metricName": "(", "limit": 3}]), "missing closing )"),
        (run_of("a", "b", dryRun=[{"metricName": ".*"}]), ""),
    ],
)
def test_rules_about_metrics(run: Object, why: str) -> None:
    """Each metric has a name of its own, and each rule is about one of them."""
    found = rules.wrong(run, run["spec"]["metrics"])
    assert why in found
    assert bool(found) == bool(why)


def test_rules_are_patterns() -> None:
    """One may be about all metrics."""
    run = run_of(
        "errors", "latency", dryRun=[{"metricName": ".*"}], measurementRetention=[{"metricName": "lat", "limit": 3}]
    )
    metrics = run["spec"]["metrics"]
    assert rules.dry(run, metrics) == {"errors", "latency"}
    assert [rules.kept(run, each, 10) for each in metrics] == [10, 3]


def test_a_run_without_metrics_is_an_error() -> None:
    """Nothing that was measured is no success."""
    metadata = {"name": "x", "namespace": "default", "uid": "1", "resourceVersion": "1"}
    run = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": metadata, "spec": {"metrics": []}}
    sources = {each.resource: Snapshot([]) for each in analysis_run.CONTROLLER.kinds}
    sources[kinds.ANALYSISRUN.resource] = Snapshot([freeze(run)])
    found = analysis_run.reconcile(View(sources), ("default", "x"), 0.0)
    assert "'phase': 'Error'" in str(found)
    assert "no metrics specified" in str(found)


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        ({"weight": 1000}, "setCanaryScale.weight: Invalid value: 1000"),
        ({"replicas": -5}, "setCanaryScale.replicas: Invalid value: -5"),
        ({"replicas": 5}, ""),
    ],
)
def test_scales_of_canaries(scale: Object, why: str) -> None:
    """Counts and shares that can be had."""
    routed = {
        "canaryService": "a",
        "stableService": "b",
        "trafficRouting": {"plugins": {validation.GATEWAY_API: {"httpRoute": "web"}}},
    }
    made = rollout({"canary": {**routed, "steps": [{"setCanaryScale": scale}]}})
    made["metadata"]["namespace"] = "default"
    services = [{**service(name), "metadata": {"name": name, "namespace": "default"}} for name in "ab"]
    snapshot = Snapshot([freeze(each) for each in services])
    found = validation.wrong(View({"services": snapshot}), made)
    assert why in found
    assert bool(found) == bool(why)
