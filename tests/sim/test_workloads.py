"""Workloads in virtual time: what a Deployment, a ReplicaSet and a Job do when it is not all plain."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.pod import POD, is_terminal
from sampan.meta import conditions, objects
from tests.sim import trees

REVISION = "deployment.kubernetes.io/revision"


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


# Deployment


def test_recreate_never_runs_two_templates(cluster: SimulatedCluster) -> None:
    """The old pods have ended before the first new one is made."""
    cluster.create(trees.deployment(3, strategy={"type": "Recreate"}))
    trees.settle(cluster)
    running: list[set[str]] = []
    cluster.observe(lambda change: running.append({trees.image(p) for p in cluster.list(POD) if not is_terminal(p)}))
    trees.set_template(cluster, trees.template(image="web:2"))
    trees.settle(cluster)
    assert all(len(images) <= 1 for images in running)
    assert set() in running
    assert trees.sizes(cluster) == {"web:1": 0, "web:2": 3}


def test_a_paused_one_scales_but_does_not_roll(cluster: SimulatedCluster) -> None:
    """And says so; once resumed it rolls."""
    cluster.create(trees.deployment(2))
    trees.settle(cluster)
    trees.set_template(cluster, trees.template(image="web:2"), paused=True)
    cluster.advance(30)
    paused = cluster.get(DEPLOYMENT, "web", "default")
    assert trees.condition(paused, "Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
    assert paused["status"].get("updatedReplicas") is None
    cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 4}})
    cluster.advance(30)
    assert trees.sizes(cluster) == {"web:1": 4}
    cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"paused": False}})
    trees.settle(cluster)
    assert trees.sizes(cluster) == {"web:1": 0, "web:2": 4}
    reason = trees.condition(cluster.get(DEPLOYMENT, "web", "default"), "Progressing")
    assert reason is not None
    assert reason[:2] == ("True", "NewReplicaSetAvailable")


def test_a_template_changed_in_mid_roll_goes_straight_to_the_last(cluster: SimulatedCluster) -> None:
    """What the second one had begun is taken down too, and there is never too much or too little."""
    cluster.create(trees.deployment(4))
    trees.settle(cluster)
    trees.set_template(cluster, trees.template(image="web:2", start_error="no such program"))
    cluster.run_until(lambda: trees.sizes(cluster).get("web:2", 0) > 0, within=30)
    cluster.advance(30)
    assert trees.sizes(cluster) == {"web:1": 3, "web:2": 2}
    least = []
    cluster.observe(lambda change: least.append(sum(conditions.is_true(p, "Ready") for p in trees.alive(cluster))))
    trees.set_template(cluster, trees.template(image="web:3"))
    trees.settle(cluster)
    assert min(least) >= 3
    assert trees.sizes(cluster) == {"web:1": 0, "web:2": 0, "web:3": 4}


def test_scaling_in_mid_roll_is_shared_in_proportion(cluster: SimulatedCluster) -> None:
    """As the documentation's example: 10 at 8 + 5, scaled to 15, are 11 + 7."""
    rolling = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    cluster.create(trees.deployment(10, strategy=rolling))
    trees.settle(cluster)
    trees.set_template(cluster, trees.template(image="web:2", start_error="no such image"))
    cluster.advance(30)
    assert trees.sizes(cluster) == {"web:1": 8, "web:2": 5}
    cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 15}})
    cluster.advance(30)
    assert trees.sizes(cluster) == {"web:1": 11, "web:2": 7}


def test_a_stuck_rollout_misses_its_deadline(cluster: SimulatedCluster) -> None:
    """The condition tells, with the name of the ReplicaSet; a good template puts it right again."""
    cluster.create(trees.deployment(2, progressDeadlineSeconds=60))
    trees.settle(cluster)
    trees.set_template(cluster, trees.template(image="web:2", start_error="no such program"))
    cluster.advance(55)
    assert (trees.condition(cluster.get(DEPLOYMENT, "web", "default"), "Progressing") or ("",))[0] == "True"
    cluster.advance(10)
    stuck = next(r for r in cluster.list(REPLICASET) if trees.image(r) == "web:2")
    message = f'ReplicaSet "{objects.name(stuck)}" has timed out progressing.'
    found = trees.condition(cluster.get(DEPLOYMENT, "web", "default"), "Progressing")
    assert found == ("False", "ProgressDeadlineExceeded", message)
    trees.set_template(cluster, trees.template(image="web:1"))
    trees.settle(cluster)
    found = trees.condition(cluster.get(DEPLOYMENT, "web", "default"), "Progressing")
    assert found is not None
    assert found[:2] == ("True", "NewReplicaSetAvailable")


def test_a_ready_pod_is_available_only_after_min_ready_seconds(cluster: SimulatedCluster) -> None:
    """So a rollout of three, one at a time, takes three times as long."""
    rolling = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    cluster.create(trees.deployment(3, strategy=rolling, minReadySeconds=20))
    cluster.advance(15)
    status = cluster.get(DEPLOYMENT, "web", "default")["status"]
    assert (status["readyReplicas"], status.get("availableReplicas"), status["unavailableReplicas"]) == (3, None, 3)
    trees.settle(cluster)
    began = cluster.time
    trees.set_template(cluster, trees.template(image="web:2"))
    trees.settle(cluster)
    assert 60 <= cluster.time - began <= 80


def test_old_revisions_go_and_a_return_takes_a_new_number(cluster: SimulatedCluster) -> None:
    """revisionHistoryLimit old ones stay, the oldest go; a template that comes back keeps its ReplicaSet."""
    cluster.create(trees.deployment(1, revisionHistoryLimit=2))
    for number in (1, 2, 3, 4):
        trees.set_template(cluster, trees.template(image=f"web:{number}"))
        trees.settle(cluster)
    cluster.advance(5)
    assert set(trees.sizes(cluster)) == {"web:2", "web:3", "web:4"}
    trees.set_template(cluster, trees.template(image="web:3"))
    trees.settle(cluster)
    cluster.advance(5)
    revisions = {trees.image(r): objects.annotations(r)[REVISION] for r in cluster.list(REPLICASET)}
    assert revisions == {"web:2": "2", "web:3": "5", "web:4": "4"}
    returned = next(r for r in cluster.list(REPLICASET) if trees.image(r) == "web:3")
    assert objects.annotations(returned)["deployment.kubernetes.io/revision-history"] == "3"
    assert objects.annotations(cluster.get(DEPLOYMENT, "web", "default"))[REVISION] == "5"


def test_a_foreign_replica_set_of_the_same_name_means_another_hash(cluster: SimulatedCluster) -> None:
    """collisionCount goes up, and the foreign one stays as it was."""
    first = cluster.create(trees.deployment(1))
    trees.settle(cluster)
    name = objects.name(cluster.list(REPLICASET)[0])
    cluster.delete(DEPLOYMENT, "web", "default")
    cluster.run_until(lambda: not cluster.list(REPLICASET) and not cluster.list(POD), within=60)
    foreign = trees.replica_set(0, "other")
    foreign["metadata"]["name"] = name
    cluster.create(foreign)
    cluster.create(trees.deployment(1))
    trees.settle(cluster)
    found = cluster.get(DEPLOYMENT, "web", "default")
    assert found["status"]["collisionCount"] == 1
    assert objects.uid(found) != objects.uid(first)
    assert len(cluster.list(REPLICASET)) == 2
    assert cluster.get(REPLICASET, name, "default")["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [("0%", "50%", 4, 2), ("50%", "0%", 6, 4), ("0%", "1%", 4, 3), ("100%", "0%", 8, 4)],
)
def test_a_rollout_keeps_its_bounds(
    cluster: SimulatedCluster, surge: str, unavailable: str, most: int, least: int
) -> None:
    """Percentages: surge rounds up, unavailable down; when both are nothing, one may be away."""
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    cluster.create(trees.deployment(4, strategy=rolling))
    trees.settle(cluster)
    counts: list[tuple[int, int]] = []

    def count(change: object) -> None:
        found = trees.alive(cluster)
        counts.append((len(found), sum(conditions.is_true(p, "Ready") for p in found)))

    cluster.observe(count)
    trees.set_template(cluster, trees.template(image="web:2"))
    trees.settle(cluster)
    assert max(pods for pods, _ in counts) == most
    assert min(ready for _, ready in counts) == least


@pytest.mark.parametrize("policy", ["Orphan", "Background", "Foreground"])
def test_a_deployment_is_deleted_as_asked(cluster: SimulatedCluster, policy: str) -> None:
    """Orphans live on and are adopted by the next; foreground goes from the leaves to the root."""
    cluster.create(trees.deployment(2))
    trees.settle(cluster)
    pods = trees.by_name(cluster.list(POD))
    cluster.run(cluster.client.delete(DEPLOYMENT, ("default", "web"), propagation=policy))
    cluster.run_until(lambda: cluster.get(DEPLOYMENT, "web", "default") is None, within=60)
    if policy == "Orphan":
        cluster.advance(30)
        assert [objects.controller_of(r) for r in cluster.list(REPLICASET)] == [None]
        assert trees.by_name(cluster.list(POD)) == pods
        created = cluster.create(trees.deployment(2))
        trees.settle(cluster)
        adopted = objects.controller_of(cluster.list(REPLICASET)[0])
        assert adopted is not None
        assert adopted["uid"] == objects.uid(created)
        assert trees.by_name(cluster.list(POD)) == pods
        return
    if policy == "Foreground":
        assert cluster.list(REPLICASET) == []
        assert cluster.list(POD) == []
    cluster.run_until(lambda: not cluster.list(REPLICASET) and not cluster.list(POD), within=60)


def test_a_refused_replica_set_shows_in_the_deployment(cluster: SimulatedCluster) -> None:
    """Its name would be too long."""
    cluster.create(trees.deployment(1, "w" * 250, selector={"matchLabels": {"app": "web"}}, template=trees.template()))
    cluster.advance(20)
    found = trees.condition(cluster.get(DEPLOYMENT, "w" * 250, "default"), "Progressing")
    assert found is not None
    assert found[:2] == ("False", "ReplicaSetCreateError")
    assert "must be no more than 253" in found[2]
    (event,) = trees.events(cluster, "ReplicaSetCreateError")
    assert event.startswith('Failed to create new replica set "www')


# ReplicaSet


def test_labels_decide_whose_a_pod_is(cluster: SimulatedCluster) -> None:
    """A pod whose label goes is let go and replaced; when it comes back, the surplus is deleted."""
    cluster.create(trees.replica_set(2))
    cluster.run_until(lambda: sum(conditions.is_true(p, "Ready") for p in cluster.list(POD)) == 2, within=60)
    first = objects.name(cluster.list(POD)[0])
    cluster.patch(POD, first, "default", {"metadata": {"labels": {"app": "debug"}}})
    cluster.advance(10)
    assert objects.controller_of(cluster.get(POD, first, "default")) is None
    assert len(trees.alive(cluster, "web")) == 2
    cluster.patch(POD, first, "default", {"metadata": {"labels": {"app": "web"}}})
    cluster.advance(10)
    assert len(trees.alive(cluster, "web")) == 2
    status = cluster.get(REPLICASET, "web", "default")["status"]
    assert (status["replicas"], status["availableReplicas"]) == (2, 2)


def test_an_orphan_is_adopted_and_counts(cluster: SimulatedCluster) -> None:
    """A matching pod without a controller is one of the three."""
    cluster.create(trees.pod("lonely", {"app": "web"}))
    cluster.create(trees.replica_set(3))
    cluster.advance(10)
    assert len(trees.alive(cluster)) == 3
    adopted = objects.controller_of(cluster.get(POD, "lonely", "default"))
    assert adopted is not None
    assert (adopted["kind"], adopted["name"]) == ("ReplicaSet", "web")


def test_the_least_useful_pods_go_first(cluster: SimulatedCluster) -> None:
    """Pending before running, then the cheap one, then the youngest."""
    cluster.create(trees.replica_set(3))
    cluster.advance(10)
    dear = objects.name(cluster.list(POD)[0])
    cost = "controller.kubernetes.io/pod-deletion-cost"
    cluster.patch(POD, dear, "default", {"metadata": {"annotations": {cost: "100"}}})
    cluster.create(trees.pod("stuck", {"app": "web"}, nodeSelector={"no": "where"}))
    cluster.patch(REPLICASET, "web", "default", {"spec": {"replicas": 4}})
    cluster.advance(5)
    cluster.patch(REPLICASET, "web", "default", {"spec": {"replicas": 3}})
    cluster.advance(5)
    assert "stuck" not in trees.by_name(trees.alive(cluster))
    cluster.patch(REPLICASET, "web", "default", {"spec": {"replicas": 1}})
    cluster.advance(5)
    assert trees.by_name(trees.alive(cluster)) == [dear]


def test_a_refused_pod_shows_as_replica_failure(cluster: SimulatedCluster) -> None:
    """In the ReplicaSet, in its Deployment and as an event, until it is put right."""
    made = trees.template()
    made["spec"]["serviceAccountName"] = "missing"
    cluster.create(trees.deployment(2, template=made))
    cluster.advance(20)
    found = cluster.list(REPLICASET)[0]
    failure = trees.condition(found, "ReplicaFailure")
    assert failure is not None
    assert failure[:2] == ("True", "FailedCreate")
    assert 'serviceaccount "missing" not found' in failure[2]
    changes = [c for c in cluster.history if c.resource in ("replicasets.apps", "deployments.apps")]
    assert len(changes) < 12, "a repeated refusal changes nothing"
    assert trees.condition(cluster.get(DEPLOYMENT, "web", "default"), "ReplicaFailure") == failure
    assert f"Error creating: {failure[2]}" in trees.events(cluster, "FailedCreate")
    cluster.create(trees.tree("v1", "ServiceAccount", "missing"))
    trees.settle(cluster, within=1000)
    assert trees.condition(cluster.get(DEPLOYMENT, "web", "default"), "ReplicaFailure") is None
    assert trees.condition(cluster.list(REPLICASET)[0], "ReplicaFailure") is None


# Job


def finished(cluster: SimulatedCluster, within: float = 300) -> str:
    """Waits for the job's end; returns its last condition's type."""

    def end() -> str:
        found = cluster.get(JOB, "sum", "default")
        return next((t for t in ("Complete", "Failed") if found and conditions.is_true(found, t)), "")

    cluster.run_until(lambda: bool(end()), within=within)
    return end()


def test_a_job_runs_so_many_at_once_until_all_are_done(cluster: SimulatedCluster) -> None:
    """Five completions, two at a time: three rounds of ten seconds; no finalizer stays."""
    cluster.create(trees.job(completions=5, parallelism=2, orders={"run_seconds": "10"}))
    busiest: list[int] = []
    cluster.observe(
        lambda c: busiest.append((cluster.get(JOB, "sum", "default") or {}).get("status", {}).get("active", 0))
    )
    assert finished(cluster) == "Complete"
    assert max(busiest) == 2
    assert 30 <= cluster.time <= 40
    found = cluster.get(JOB, "sum", "default")
    status = found["status"]
    assert (status["succeeded"], status.get("failed"), status.get("active")) == (5, None, None)
    reached = ("True", "CompletionsReached", "Reached expected number of succeeded pods")
    assert trees.condition(found, "Complete") == trees.condition(found, "SuccessCriteriaMet") == reached
    assert [objects.finalizers(p) for p in cluster.list(POD)] == [[]] * 5
    assert trees.events(cluster, "Completed", "sum") == ["Job completed"]
    assert len(trees.events(cluster, "SuccessfulCreate", "sum")) == 5


def test_an_indexed_job_does_each_index_once(cluster: SimulatedCluster) -> None:
    """Its pods know their index by name, annotation, label, host name and environment."""
    orders = {"run_seconds": "10"}
    cluster.create(trees.job(completions=4, parallelism=3, completionMode="Indexed", orders=orders))
    cluster.advance(2)
    index = "batch.kubernetes.io/job-completion-index"
    for number, each in enumerate(cluster.list(POD)):
        assert objects.name(each).startswith(f"sum-{number}-")
        assert objects.annotations(each)[index] == objects.labels(each)[index] == str(number)
        assert each["spec"]["hostname"] == f"sum-{number}"
        reference = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{index}']"}}
        assert each["spec"]["containers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX", "valueFrom": reference}]
    assert finished(cluster) == "Complete"
    status = cluster.get(JOB, "sum", "default")["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (4, "0-3")


def test_an_indexed_job_shrinks_at_its_end(cluster: SimulatedCluster) -> None:
    """The highest indexes go, whoever works on the others works on."""
    orders = {"run_seconds": "60"}
    cluster.create(trees.job(completions=4, parallelism=4, completionMode="Indexed", backoffLimit=0, orders=orders))
    cluster.advance(10)
    cluster.patch(JOB, "sum", "default", {"spec": {"completions": 2, "parallelism": 2}})
    assert finished(cluster) == "Complete"
    assert cluster.time < 70
    status = cluster.get(JOB, "sum", "default")["status"]
    assert (status["succeeded"], status["completedIndexes"], status.get("failed")) == (2, "0,1", None)


def test_failures_are_retried_later_and_later_until_the_limit(cluster: SimulatedCluster) -> None:
    """10, 20, 40 seconds between the attempts; then the job has failed."""
    cluster.create(trees.job(backoffLimit=3, orders={"run_seconds": "1", "exit_code": "1"}))
    assert finished(cluster) == "Failed"
    found = cluster.get(JOB, "sum", "default")
    exceeded = ("True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert trees.condition(found, "Failed") == trees.condition(found, "FailureTarget") == exceeded
    assert found["status"]["failed"] == 4
    assert "completionTime" not in found["status"]
    made = [c.time for c in cluster.history if c.resource == "pods" and c.type == "ADDED"]
    waits = [later - earlier for earlier, later in zip(made, made[1:], strict=False)]
    assert [round(wait / 10) * 10 for wait in waits] == [10, 20, 40]
    assert trees.events(cluster, "BackoffLimitExceeded") == [exceeded[2]]
    assert all(not objects.finalizers(p) for p in cluster.list(POD))


def test_a_job_that_restarts_its_containers_counts_restarts(cluster: SimulatedCluster) -> None:
    """With OnFailure one pod restarts; at the limit it is deleted."""
    cluster.create(trees.job(restart="OnFailure", backoffLimit=2, orders={"run_seconds": "1", "exit_code": "1"}))
    assert finished(cluster) == "Failed"
    found = cluster.get(JOB, "sum", "default")
    assert (trees.condition(found, "Failed") or ("", ""))[1] == "BackoffLimitExceeded"
    assert found["status"]["failed"] == 1
    cluster.advance(60)
    assert cluster.list(POD) == []


def test_a_job_ends_with_its_deadline(cluster: SimulatedCluster) -> None:
    """What still runs is deleted and counts as failed."""
    cluster.create(trees.job(activeDeadlineSeconds=30))
    cluster.advance(29)
    assert cluster.get(JOB, "sum", "default")["status"]["active"] == 1
    assert finished(cluster, within=60) == "Failed"
    found = cluster.get(JOB, "sum", "default")
    exceeded = ("True", "DeadlineExceeded", "Job was active longer than specified deadline")
    assert trees.condition(found, "Failed") == exceeded
    assert (found["status"]["failed"], found["status"].get("active")) == (1, None)
    assert trees.events(cluster, "DeadlineExceeded") == [exceeded[2]]
    cluster.run_until(lambda: not cluster.list(POD), within=60)


def test_a_job_over_its_deadline_waits_for_a_lost_node_in_peace() -> None:
    """Its pod can't end there, so it has not failed yet, and nobody asks for it again and again meanwhile."""
    with SimulatedCluster(seed=1, nodes=2) as cluster:
        made = trees.job(activeDeadlineSeconds=30)
        made["spec"]["template"]["spec"]["nodeName"] = "sampan-2"
        cluster.create(made)
        cluster.advance(5)
        cluster.stop_node("sampan-2")
        cluster.advance(60)
        found = cluster.get(JOB, "sum", "default")
        assert conditions.is_true(found, "FailureTarget")
        assert not conditions.is_true(found, "Failed")
        assert found["status"]["terminating"] == 1
        cluster.start_node("sampan-2")
        assert finished(cluster) == "Failed"
        assert cluster.get(JOB, "sum", "default")["status"]["failed"] == 1


def test_a_suspended_job_has_no_pods_and_no_failures(cluster: SimulatedCluster) -> None:
    """Those it ended itself don't count; resumed, its time starts again."""
    cluster.create(trees.job(completions=2, parallelism=2, backoffLimit=0, orders={"run_seconds": "60"}))
    cluster.advance(20)
    cluster.patch(JOB, "sum", "default", {"spec": {"suspend": True}})
    cluster.run_until(lambda: not cluster.list(POD), within=60)
    cluster.advance(5)
    found = cluster.get(JOB, "sum", "default")
    assert trees.condition(found, "Suspended") == ("True", "JobSuspended", "Job suspended")
    assert (found["status"].get("active"), found["status"].get("failed")) == (None, None)
    cluster.patch(JOB, "sum", "default", {"spec": {"suspend": False}})
    assert finished(cluster) == "Complete"
    found = cluster.get(JOB, "sum", "default")
    assert trees.condition(found, "Suspended") == ("False", "JobResumed", "Job resumed")
    assert found["status"]["succeeded"] == 2
    assert trees.events(cluster, "Suspended", "sum") == ["Job suspended"]
    assert trees.events(cluster, "Resumed", "sum") == ["Job resumed"]


def test_a_failed_job_counts_what_it_ended(cluster: SimulatedCluster) -> None:
    """One pod of three fails: the two others are stopped, and all three count."""
    orders = {"run_seconds.main": "100"}
    made = trees.job(completions=3, parallelism=3, completionMode="Indexed", backoffLimit=0, orders=orders)
    cluster.create(made)
    cluster.advance(5)
    status = {"status": {"phase": "Failed"}}
    bad = objects.name(cluster.list(POD)[1])
    cluster.run(cluster.client.patch(POD, ("default", bad), status, subresource="status"))
    assert finished(cluster) == "Failed"
    status = cluster.get(JOB, "sum", "default")["status"]
    assert (status["failed"], status.get("succeeded"), status.get("completedIndexes")) == (3, None, None)
    assert all(not objects.finalizers(p) for p in cluster.list(POD))


def test_less_parallelism_is_no_failure(cluster: SimulatedCluster) -> None:
    """The surplus pods go without being counted."""
    cluster.create(trees.job(completions=4, parallelism=4, backoffLimit=0, orders={"run_seconds": "60"}))
    cluster.advance(10)
    cluster.patch(JOB, "sum", "default", {"spec": {"parallelism": 1}})
    cluster.run_until(lambda: len(cluster.list(POD)) == 1, within=60)
    cluster.patch(JOB, "sum", "default", {"spec": {"parallelism": 4}})
    assert finished(cluster) == "Complete"
    status = cluster.get(JOB, "sum", "default")["status"]
    assert (status["succeeded"], status.get("failed")) == (4, None)


def test_a_finished_job_goes_when_its_time_is_over(cluster: SimulatedCluster) -> None:
    """ttlSecondsAfterFinished after its end, with its pods."""
    cluster.create(trees.job(ttlSecondsAfterFinished=100, orders={"run_seconds": "5"}))
    finished(cluster)
    cluster.advance(95)
    assert cluster.get(JOB, "sum", "default") is not None
    cluster.advance(10)
    assert cluster.get(JOB, "sum", "default") is None
    assert cluster.list(POD) == []


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_a_deleted_job_lets_its_pods_go(cluster: SimulatedCluster, policy: str) -> None:
    """No finalizer holds them, and orphans run on."""
    cluster.create(trees.job(completions=3, parallelism=3))
    cluster.advance(10)
    cluster.run(cluster.client.delete(JOB, ("default", "sum"), propagation=policy))
    cluster.run_until(lambda: cluster.get(JOB, "sum", "default") is None, within=120)
    cluster.advance(60)
    left = [(objects.finalizers(p), objects.owner_references(p)) for p in cluster.list(POD)]
    assert left == ([([], [])] * 3 if policy == "Orphan" else [])


def test_an_index_that_fails_too_often_is_given_up(cluster: SimulatedCluster) -> None:
    """Each index has its own limit and its own waits; the job fails when all are done or given up."""
    orders = {"run_seconds": "1", "exit_code": "1"}
    per_index = {"backoffLimitPerIndex": 1, "completionMode": "Indexed"}
    cluster.create(trees.job(completions=2, parallelism=2, orders=orders, **per_index))
    assert finished(cluster) == "Failed"
    found = cluster.get(JOB, "sum", "default")
    assert found is not None
    assert trees.condition(found, "Failed") == ("True", "FailedIndexes", "Job has failed indexes")
    assert found["status"]["failedIndexes"] == "0,1"
    assert found["status"]["failed"] == 4
    notes = sorted(objects.annotations(p)["batch.kubernetes.io/job-index-failure-count"] for p in cluster.list(POD))
    assert notes == ["0", "0", "1", "1"]
    cluster.advance(5)
    assert all(not objects.finalizers(p) for p in cluster.list(POD))


def test_too_many_failed_indexes_end_the_job(cluster: SimulatedCluster) -> None:
    """One more than maxFailedIndexes, and no other index is begun."""
    orders = {"run_seconds": "1", "exit_code": "1"}
    per_index = {"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "completionMode": "Indexed"}
    cluster.create(trees.job(completions=9, parallelism=1, orders=orders, **per_index))
    assert finished(cluster) == "Failed"
    found = cluster.get(JOB, "sum", "default")
    assert found is not None
    reason = trees.condition(found, "Failed")
    assert reason is not None
    assert reason[1] == "MaxFailedIndexesExceeded"
    assert found["status"]["failedIndexes"] == "0,1"


def test_an_exit_code_may_fail_the_whole_job(cluster: SimulatedCluster) -> None:
    """FailJob ends it at the first such pod, whatever the limit."""
    policy = {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}
    cluster.create(trees.job(backoffLimit=6, podFailurePolicy=policy, orders={"run_seconds": "1", "exit_code": "42"}))
    assert finished(cluster) == "Failed"
    found = cluster.get(JOB, "sum", "default")
    assert found is not None
    (only,) = cluster.list(POD)
    text = f"Container {only['spec']['containers'][0]['name']} for pod default/{objects.name(only)} failed with exit code 42 matching FailJob rule at index 0"
    assert trees.condition(found, "Failed") == ("True", "PodFailurePolicy", text)


def test_an_ignored_failure_does_not_count(cluster: SimulatedCluster) -> None:
    """The pod is replaced, later and later, and the limit is not touched."""
    policy = {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}}]}
    cluster.create(trees.job(backoffLimit=0, podFailurePolicy=policy, orders={"run_seconds": "1", "exit_code": "3"}))
    cluster.advance(80)
    found = cluster.get(JOB, "sum", "default")
    assert found is not None
    assert "failed" not in found["status"]
    assert not conditions.is_true(found, "Failed")
    starts = [c.time for c in cluster.history if c.resource == "pods" and c.type == "ADDED"]
    assert [round(b - a) for a, b in pairwise(starts)] == [11, 21, 41]


def test_a_job_may_be_enough_before_all_is_done(cluster: SimulatedCluster) -> None:
    """The success policy ends it, and what still runs is deleted."""
    policy = {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}
    orders = {"run_seconds": "10"}
    spec = {"completionMode": "Indexed", "successPolicy": policy}
    cluster.create(trees.job(completions=5, parallelism=1, orders=orders, **spec))
    assert finished(cluster) == "Complete"
    found = cluster.get(JOB, "sum", "default")
    assert found is not None
    met = ("True", "SuccessPolicy", "Matched rules at index 0")
    assert trees.condition(found, "SuccessCriteriaMet") == trees.condition(found, "Complete") == met
    assert found["status"]["completedIndexes"] == "0"


def test_a_job_of_another_manager_is_left_alone(cluster: SimulatedCluster) -> None:
    """Nothing is made for it, and nothing is said about it."""
    cluster.create(trees.job(managedBy="example.com/other"))
    cluster.advance(10)
    assert cluster.list(POD) == []
    found = cluster.get(JOB, "sum", "default")
    assert found is not None
    assert found["status"] == {}
