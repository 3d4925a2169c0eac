"""Sizes by the clock in a cluster, in virtual time."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.testing.cluster import Cluster

Tree = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """It is midnight of 2026-01-01, a Thursday."""
    with Cluster(layers=["elastic"]) as made:
        yield made


def workload(kind: str = "Deployment", replicas: int = 2) -> Tree:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
    spec: Tree = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    api_version = "v1" if kind == "ReplicationController" else "apps/v1"
    if kind == "ReplicationController":
        spec["selector"] = {"app": "web"}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def job(name: str, schedule: str, size: int, **more: Any) -> Tree:
    return {"name": name, "schedule": schedule, "targetSize": size, **more}


def cron(*jobs: Tree, target: tuple[str, str] = ("apps/v1", "Deployment"), dates: tuple[str, ...] = ()) -> Tree:
    spec: Tree = {"scaleTargetRef": {"apiVersion": target[0], "kind": target[1], "name": "web"}, "jobs": [*jobs]}
    if dates:
        spec["excludeDates"] = [*dates]
    metadata = {"name": "web", "namespace": "default"}
    api_version = "autoscaling.alibabacloud.com/v1beta1"
    return {"apiVersion": api_version, "kind": "CronHorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def conditions(cluster: Cluster) -> dict[str, Tree]:
    found = cluster.get("cronhorizontalpodautoscaler/web") or {}
    return {each["name"]: each for each in (found.get("status") or {}).get("conditions") or ()}


def replicas(cluster: Cluster, what: str = "deployment/web") -> int:
    return int((cluster.get(what) or {})["spec"]["replicas"])


def until(cluster: Cluster, seconds: float) -> None:
    cluster.advance(seconds - cluster.time)


@pytest.mark.parametrize(
    ("api_version", "kind", "what"),
    [
        ("apps/v1", "Deployment", "deployment/web"),
        ("apps/v1", "StatefulSet", "statefulset/web"),
        ("v1", "ReplicationController", "replicationcontroller/web"),
    ],
)
def test_jobs_scale_what_has_a_scale_on_time(cluster: Cluster, api_version: str, kind: str, what: str) -> None:
    """To the second, up and down; the condition tells of the last time, and so does an event."""
    up, down = job("up", "30 0 9 * * *", 5), job("down", "0 0 18 * * *", 1)
    cluster.apply(workload(kind), cron(up, down, target=(api_version, kind)))
    cluster.advance(1)
    submitted = conditions(cluster)["up"]
    expected = {"name": "up", "schedule": "30 0 9 * * *", "targetSize": 5, "runOnce": False, "state": "Submitted"}
    assert {key: submitted[key] for key in expected} == expected
    until(cluster, 9 * 3600 + 29)
    assert replicas(cluster, what) == 2
    until(cluster, 9 * 3600 + 31)
    assert replicas(cluster, what) == 5
    done = conditions(cluster)["up"]
    text = "cron hpa job up executed successfully. current replicas:2, desired replicas:5."
    assert (done["state"], done["message"], done["lastProbeTime"]) == ("Succeed", text, "2026-01-01T09:00:30Z")
    assert done["jobId"] == submitted["jobId"]
    assert conditions(cluster)["down"]["state"] == "Submitted"
    until(cluster, 18 * 3600 + 1)
    assert replicas(cluster, what) == 1
    events = [(e["reason"], e["type"]) for e in cluster.events("cronhorizontalpodautoscaler/web")]
    assert events == [("Succeed", "Normal")]
    until(cluster, 33 * 3600 + 60)
    assert replicas(cluster, what) == 5


def test_an_autoscaler_s_bounds_are_moved(cluster: Cluster) -> None:
    """Up: min and max and the workload; down: only min, and the workload stays until the load says so."""
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 10,
        },
    }
    up, down = job("up", "0 1 * * * *", 12), job("down", "0 3 * * * *", 1)
    target = ("autoscaling/v2", "HorizontalPodAutoscaler")
    cluster.apply(workload(), hpa, cron(up, down, target=target))
    until(cluster, 61)
    spec = (cluster.get("hpa/web") or {})["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], replicas(cluster)) == (12, 12, 12)
    until(cluster, 181)
    spec = (cluster.get("hpa/web") or {})["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], replicas(cluster)) == (1, 12, 12)
    text = "Skip scale replicas because HPA web current replicas:12 >= desired replicas:1."
    assert conditions(cluster)["down"]["message"] == f"cron hpa job down executed successfully. {text}"


def test_once_is_once(cluster: Cluster) -> None:
    """A job that shall run once, and a date, are over when they have been."""
    date = job("date", "@date 2026-01-01 02:00:00", 7)
    cluster.apply(workload(), cron(job("once", "0 0 1 * * *", 4, runOnce=True), date))
    until(cluster, 3601)
    assert replicas(cluster) == 4
    until(cluster, 7201)
    assert replicas(cluster) == 7
    cluster.apply(workload())
    cluster.advance(days=2)
    assert replicas(cluster) == 2


def test_excluded_days(cluster: Cluster) -> None:
    """On such a day the job succeeds by doing nothing, and says why."""
    cluster.apply(workload(), cron(job("up", "0 0 9 * * *", 5), dates=("* * * 1 1 *", "nonsense")))
    until(cluster, 9 * 3600 + 1)
    text = "cron hpa job up executed successfully. skip scaling activity,because of excludeDate (* * * 1 1 *)."
    assert (replicas(cluster), conditions(cluster)["up"]["message"]) == (2, text)
    until(cluster, 33 * 3600 + 1)
    assert replicas(cluster) == 5


def test_a_failure_is_tried_again_and_told(cluster: Cluster) -> None:
    """Ten seconds long; the next time is another chance."""
    cluster.apply(cron(job("up", "0 0 * * * *", 5)))
    until(cluster, 3605)
    assert conditions(cluster)["up"]["state"] == "Submitted"
    until(cluster, 3620)
    failed = conditions(cluster)["up"]
    assert failed["state"] == "Failed"
    assert failed["message"].startswith(
        "cron hpa failed to execute, because of failed to scale Deployment web in default namespace to 5 after retrying"
    )
    assert 'deployments.apps "web" not found' in failed["message"]
    (event,) = cluster.events("cronhorizontalpodautoscaler/web")
    assert (event["type"], event["reason"]) == ("Warning", "Failed")
    cluster.apply(workload())
    until(cluster, 7201)
    assert (replicas(cluster), conditions(cluster)["up"]["state"]) == (5, "Succeed")


def test_a_schedule_that_cannot_be_read(cluster: Cluster) -> None:
    """The job says so, and the others run."""
    cluster.apply(workload(), cron(job("bad", "61 * * * * *", 9), job("up", "0 1 * * * *", 5)))
    cluster.advance(61)
    why = "Failed to add job to cronExecutor,because of End of range (61) above maximum (59): 61"
    bad = conditions(cluster)["bad"]
    assert (bad["state"], bad["message"]) == ("Failed", f"Failed to update cron hpa job bad,because of {why}")
    assert replicas(cluster) == 5


def test_a_changed_job_begins_anew(cluster: Cluster) -> None:
    """It gets another id; one that is gone loses its condition; another target lets all begin anew."""
    up, down = job("up", "0 0 9 * * *", 5), job("down", "0 0 18 * * *", 1)
    cluster.apply(workload(), cron(up, down))
    cluster.advance(1)
    before = conditions(cluster)
    cluster.apply(cron({**up, "targetSize": 6}))
    cluster.advance(1)
    after = conditions(cluster)
    assert list(after) == ["up"]
    assert (after["up"]["targetSize"], after["up"]["jobId"] != before["up"]["jobId"]) == (6, True)
    cluster.apply(workload("StatefulSet"), cron({**up, "targetSize": 6}, target=("apps/v1", "StatefulSet")))
    cluster.advance(1)
    assert conditions(cluster)["up"]["jobId"] != after["up"]["jobId"]
    assert (cluster.get("cronhorizontalpodautoscaler/web") or {})["status"]["scaleTargetRef"]["kind"] == "StatefulSet"


def test_what_was_missed_is_made_up_for_in_order(cluster: Cluster) -> None:
    """Nobody was there for a quarter of an hour: the size is the last one's, and it is told that it came late."""
    cluster.apply(workload(), cron(job("up", "0 5 * * * *", 5), job("down", "0 10 * * * *", 3)))
    cluster.advance(10)
    cluster.sim.crash_control_plane()
    cluster.advance(17 * 60)
    cluster.sim.start_control_plane()
    cluster.run_until(lambda: cluster.sim.plane.layers.is_ready("elastic"))
    cluster.advance(5)
    assert replicas(cluster) == 3
    late = [e["message"] for e in cluster.events("cronhorizontalpodautoscaler/web") if e["reason"] == "OutOfDate"]
    assert late == ["rerun out of date job: up", "rerun out of date job: down"]


def test_many_jobs_at_one_second(cluster: Cluster) -> None:
    """All of them run, the last one counts, and nothing runs twice."""
    cluster.apply(workload(), cron(*(job(f"j{n}", "0 0 1 * * *", n) for n in range(3, 8))))
    until(cluster, 3605)
    assert replicas(cluster) == 7
    assert {c["state"] for c in conditions(cluster).values()} == {"Succeed"}
    changes = [c for c in cluster.history("deployment/web") if c.type == "MODIFIED"]
    cluster.advance(600)
    assert len([c for c in cluster.history("deployment/web") if c.type == "MODIFIED"]) == len(changes)
