"""CronJobs in virtual time: which runs are made, what becomes of those before, and what the status tells."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.batch.cron_job import CRONJOB
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.pod import POD
from sampan.kit.simloop import START
from sampan.meta import conditions, objects, timestamps
from tests.sim import trees
from tests.sim.trees import Tree

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MINUTE = 60.0
HOUR = 60 * MINUTE


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


def cron_job(schedule: str = "* * * * *", seconds: str = "10", **spec: Any) -> Tree:
    """Its jobs' pods run for so long; "" means for ever."""
    job = trees.job(orders={"run_seconds": seconds} if seconds else None)["spec"]
    return trees.tree("batch/v1", "CronJob", "tick", spec={"schedule": schedule, "jobTemplate": {"spec": job}} | spec)


def advance_to(cluster: SimulatedCluster, second: float) -> None:
    """To that second since the start."""
    cluster.advance(second - cluster.time)


def status(cluster: SimulatedCluster) -> Tree:
    found: Tree = (cluster.get(CRONJOB, "tick", "default") or {}).get("status", {})
    return found


def active(cluster: SimulatedCluster) -> list[str]:
    """Names of the jobs that it says are active."""
    return [ref["name"] for ref in status(cluster).get("active", ())]


def name(minute: int) -> str:
    """That of the job for a minute since the start."""
    return f"tick-{int(START) // 60 + minute}"


def made(cluster: SimulatedCluster) -> list[tuple[float, str]]:
    """When each job was made, and its name."""
    return [
        (round(c.time, 1), c.key.split("/")[1])
        for c in cluster.history
        if c.resource == "jobs.batch" and c.type == "ADDED"
    ]


def test_each_run_makes_a_job_that_ends_and_is_told(cluster: SimulatedCluster) -> None:
    """Every two minutes, just after the minute; the job is the cron job's, and the status and the events say all."""
    created = cluster.create(cron_job("*/2 * * * *"))
    advance_to(cluster, 7 * MINUTE)
    assert made(cluster) == [(120.1, name(2)), (240.1, name(4)), (360.1, name(6))]
    job = cluster.get(JOB, name(4), "default") or {}
    assert objects.annotations(job)[SCHEDULED_AT] == "2026-01-01T00:04:00Z"
    assert objects.owner_references(job) == [objects.owner_reference(created)]
    assert conditions.is_true(job, "Complete")
    told = status(cluster)
    assert "active" not in told
    assert told["lastScheduleTime"] == "2026-01-01T00:06:00Z"
    assert 370 <= timestamps.parse(told["lastSuccessfulTime"]) - START <= 372
    assert trees.events(cluster, "SuccessfulCreate", "tick") == [f"Created job {name(m)}" for m in (2, 4, 6)]
    texts = [f"Saw completed job: {name(m)}, condition: Complete" for m in (2, 4, 6)]
    assert trees.events(cluster, "SawCompletedJob", "tick") == texts
    assert not trees.events(cluster, "UnexpectedJob") + trees.events(cluster, "MissingJob")


@pytest.mark.slow
def test_a_day_of_one_every_five_minutes(cluster: SimulatedCluster) -> None:
    """All 288 runs, each once, and never more than the history left."""
    most: list[int] = []
    cluster.create(cron_job("*/5 * * * *"))
    cluster.observe(lambda change: most.append(len(cluster.list(JOB))) if change.resource == "jobs.batch" else None)
    advance_to(cluster, 24 * HOUR + MINUTE)
    assert [job for _, job in made(cluster)] == [name(minute) for minute in range(5, 24 * 60 + 1, 5)]
    assert len(cluster.list(JOB)) == len(cluster.list(POD)) == 3
    assert max(most) <= 5
    assert status(cluster)["lastScheduleTime"] == "2026-01-02T00:00:00Z"


# Upstream's conformance: 103, 101, 102, 100


def test_jobs_run_side_by_side(cluster: SimulatedCluster) -> None:
    """With the policy Allow, as long as they take."""
    cluster.create(cron_job("*/1 * * * ?", seconds="300", concurrencyPolicy="Allow"))
    cluster.run_until(lambda: len(active(cluster)) == 2, within=200)
    assert active(cluster) == [name(1), name(2)]
    assert [trees.by_name(cluster.list(JOB)), len(cluster.list(POD))] == [[name(1), name(2)], 2]
    for ref in status(cluster)["active"]:
        job = cluster.get(JOB, ref["name"], "default") or {}
        assert (ref["kind"], ref["apiVersion"], ref["uid"]) == ("Job", "batch/v1", objects.uid(job))


def test_no_new_job_while_one_runs(cluster: SimulatedCluster) -> None:
    """With the policy Forbid; the last run that waited is made as soon as the job ends."""
    cluster.create(cron_job("*/1 * * * ?", seconds="300", concurrencyPolicy="Forbid"))
    advance_to(cluster, 5 * MINUTE + 50)
    assert [active(cluster), len(cluster.list(JOB))] == [[name(1)], 1]
    text = "Not starting job because prior execution is running and concurrency policy is Forbid"
    assert set(trees.events(cluster, "JobAlreadyActive", "tick")) == {text}
    advance_to(cluster, 6 * MINUTE + 30)
    assert active(cluster) == [name(6)]
    assert [job for _, job in made(cluster)] == [name(1), name(6)]


def test_a_new_job_replaces_the_one_before(cluster: SimulatedCluster) -> None:
    """With the policy Replace: the one before goes with its pods, and is not missed."""
    cluster.create(cron_job("*/1 * * * ?", seconds="300", concurrencyPolicy="Replace"))
    advance_to(cluster, 2 * MINUTE + 50)
    assert [active(cluster), trees.by_name(cluster.list(JOB))] == [[name(2)], [name(2)]]
    assert [objects.labels(p)["job-name"] for p in cluster.list(POD)] == [name(2)]
    assert trees.events(cluster, "SuccessfulDelete", "tick") == [f"Deleted job {name(1)}"]
    assert trees.events(cluster, "MissingJob") == []


def test_nothing_runs_while_suspended(cluster: SimulatedCluster) -> None:
    """Afterwards the last of the missed runs is made, with a warning when they were more than a hundred."""
    cluster.create(cron_job("*/1 * * * ?", suspend=True))
    advance_to(cluster, 2 * HOUR + 30)
    assert [active(cluster), cluster.list(JOB)] == [[], []]
    cluster.patch(CRONJOB, "tick", "default", {"spec": {"suspend": False}})
    advance_to(cluster, 2 * HOUR + 50)
    assert [job for _, job in made(cluster)] == [name(120)]
    text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
    assert trees.events(cluster, "TooManyMissedTimes") == [text]


def test_a_deadline_forgets_what_is_older(cluster: SimulatedCluster) -> None:
    """Resumed two minutes after the run that allowed one minute, it waits for the next."""
    cluster.create(cron_job("0 * * * *", suspend=True, startingDeadlineSeconds=60))
    advance_to(cluster, HOUR + 2 * MINUTE)
    cluster.patch(CRONJOB, "tick", "default", {"spec": {"suspend": False}})
    advance_to(cluster, 2 * HOUR + MINUTE)
    assert [job for _, job in made(cluster)] == [name(120)]


# Changes


def test_another_schedule_counts_from_its_change(cluster: SimulatedCluster) -> None:
    """What it would have missed is not made up for; its next run comes on time, though it is sooner."""
    cluster.create(cron_job("0 12 * * *"))
    advance_to(cluster, HOUR)
    cluster.patch(CRONJOB, "tick", "default", {"spec": {"schedule": "*/10 * * * *"}})
    advance_to(cluster, HOUR + 21 * MINUTE)
    assert made(cluster) == [(HOUR + 600.1, name(70)), (HOUR + 1200.1, name(80))]


def test_a_time_zone_moves_the_runs(cluster: SimulatedCluster) -> None:
    """Nine o'clock in Kathmandu is a quarter past three."""
    cluster.create(cron_job("0 9 * * *", timeZone="Asia/Kathmandu"))
    advance_to(cluster, 4 * HOUR)
    assert [job for _, job in made(cluster)] == [name(3 * 60 + 15)]
    assert objects.annotations(cluster.list(JOB)[0])[SCHEDULED_AT] == "2026-01-01T09:00:00+05:45"


def test_history_keeps_three_good_and_a_bad_one(cluster: SimulatedCluster) -> None:
    """Older ones go with their pods; other limits hold at once."""
    cluster.create(cron_job())
    advance_to(cluster, 6 * MINUTE - 5)
    assert trees.by_name(cluster.list(JOB)) == [name(3), name(4), name(5)]
    failing = trees.job(backoffLimit=0, orders={"run_seconds": "1", "exit_code": "1"})["spec"]
    cluster.patch(CRONJOB, "tick", "default", {"spec": {"jobTemplate": {"spec": failing}}})
    advance_to(cluster, 9 * MINUTE - 5)
    assert trees.by_name(cluster.list(JOB)) == [name(3), name(4), name(5), name(8)]
    assert len(cluster.list(POD)) == 4
    limits = {"suspend": True, "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}
    cluster.patch(CRONJOB, "tick", "default", {"spec": limits})
    cluster.advance(30)
    assert trees.by_name(cluster.list(JOB)) == [name(5)]
    assert len(cluster.list(POD)) == 1
    text = f"Saw completed job: {name(8)}, condition: Failed"
    assert text in trees.events(cluster, "SawCompletedJob", "tick")


# Others' doings


def test_a_job_that_somebody_deletes_is_missed(cluster: SimulatedCluster) -> None:
    """And the next run comes, though it had to wait for that job."""
    cluster.create(cron_job(seconds="", concurrencyPolicy="Forbid"))
    cluster.run_until(lambda: active(cluster) == [name(1)], within=90)
    cluster.run(cluster.client.delete(JOB, ("default", name(1)), propagation="Background"))
    cluster.advance(5)
    assert active(cluster) == []
    assert trees.events(cluster, "MissingJob", "tick") == [f"Active job went missing: {name(1)}"]
    advance_to(cluster, 2 * MINUTE + 5)
    assert active(cluster) == [name(2)]


def test_a_job_made_by_hand_from_the_template_runs_and_counts(cluster: SimulatedCluster) -> None:
    """As `kubectl create job --from=cronjob/tick` makes it: unexpected, never active, but kept and deleted as others."""
    owner = cluster.create(cron_job("0 0 1 1 *", successfulJobsHistoryLimit=1))
    for number in (1, 2):
        by_hand = trees.job(f"by-hand-{number}", orders={"run_seconds": "10"})
        by_hand["metadata"]["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual"}
        by_hand["metadata"]["ownerReferences"] = [objects.owner_reference(owner, block=False)]
        cluster.create(by_hand)
        cluster.advance(5)
        assert active(cluster) == []
        cluster.advance(20)
    text = "Saw a job that the controller did not create or forgot: by-hand-"
    assert set(trees.events(cluster, "UnexpectedJob", "tick")) == {f"{text}1", f"{text}2"}
    assert trees.by_name(cluster.list(JOB)) == ["by-hand-2"]
    assert status(cluster).keys() == {"lastSuccessfulTime"}


def test_a_name_that_is_taken_is_left_to_its_owner(cluster: SimulatedCluster) -> None:
    """That run is not made; the next one is."""
    cluster.create(trees.job(name(1), orders={"run_seconds": "10"}))
    cluster.create(cron_job())
    advance_to(cluster, 2 * MINUTE + 30)
    assert [job for _, job in made(cluster)] == [name(1), name(2)]
    assert status(cluster)["lastScheduleTime"] == "2026-01-01T00:02:00Z"
    assert trees.events(cluster, "FailedCreate") == []


def test_a_refused_job_is_told_and_tried_again(cluster: SimulatedCluster) -> None:
    """Until there is room for it, in the same minute or in the next."""
    quota = trees.tree("v1", "ResourceQuota", "few", spec={"hard": {"count/jobs.batch": "0"}})
    cluster.create(quota)
    cluster.advance(1)
    cluster.create(cron_job("*/10 * * * *"))
    advance_to(cluster, 10 * MINUTE + 20)
    assert cluster.list(JOB) == []
    texts = trees.events(cluster, "FailedCreate", "tick")
    assert texts
    assert all(text.startswith(f'Error creating job: jobs.batch "{name(10)}" is forbidden: exceeded') for text in texts)
    cluster.run(cluster.client.delete(cluster._kind(quota), ("default", "few")))  # noqa: SLF001
    advance_to(cluster, 12 * MINUTE)
    assert trees.by_name(cluster.list(JOB)) == [name(10)]


def test_a_history_that_cannot_be_cleaned_delays_no_run(cluster: SimulatedCluster) -> None:
    """Somebody forbids to delete jobs: it is told, and every job is made on time all the same."""
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["DELETE"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false", "message": "no"}]}
    group = "admissionregistration.k8s.io/v1"
    binding = {"policyName": "keep", "validationActions": ["Deny"]}
    cluster.create(trees.tree(group, "ValidatingAdmissionPolicy", "keep", "", spec=spec | {"failurePolicy": "Fail"}))
    cluster.create(trees.tree(group, "ValidatingAdmissionPolicyBinding", "keep", "", spec=binding))
    cluster.create(cron_job("*/30 * * * *"))
    advance_to(cluster, 5 * HOUR + MINUTE)
    assert made(cluster) == [(number * 1800 + 0.1, name(number * 30)) for number in range(1, 11)]
    assert trees.events(cluster, "FailedDelete", "tick")
    assert trees.events(cluster, "SuccessfulDelete", "tick") == []


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_a_deleted_one_takes_its_jobs_along_unless_asked_not_to(cluster: SimulatedCluster, policy: str) -> None:
    """And makes no more of them."""
    cluster.create(cron_job(seconds=""))
    advance_to(cluster, MINUTE + 30)
    cluster.run(cluster.client.delete(CRONJOB, ("default", "tick"), propagation=policy))
    cluster.run_until(lambda: cluster.get(CRONJOB, "tick", "default") is None, within=100)
    cluster.advance(3 * MINUTE)
    left = [1, 1] if policy == "Orphan" else [0, 0]
    assert [len(cluster.list(JOB)), len(cluster.list(POD))] == left
    assert [objects.owner_references(job) for job in cluster.list(JOB)] == [[]] * left[0]


def test_the_same_name_again_is_another_one(cluster: SimulatedCluster) -> None:
    """It starts its own count, and the first one's jobs are not its own."""
    cluster.create(cron_job(seconds=""))
    advance_to(cluster, MINUTE + 30)
    cluster.run(cluster.client.delete(CRONJOB, ("default", "tick"), propagation="Background"))
    cluster.create(cron_job(seconds=""))
    advance_to(cluster, 2 * MINUTE + 30)
    assert active(cluster) == [name(2)]
    assert trees.by_name(cluster.list(JOB)) == [name(2)]


def test_what_happens_together_is_written_together(cluster: SimulatedCluster) -> None:
    """A job's status: when it starts, when its pod is ready, when that has ended, when it is over. A pod's end: once."""
    cluster.create(cron_job("*/5 * * * *"))
    cluster.advance(6 * MINUTE)
    writes: dict[str, list[str]] = {}
    for change in cluster.history:
        writes.setdefault(change.resource, []).append(f"{change.time:.1f} {change.type}")
    assert writes["jobs.batch"] == [
        "300.1 ADDED",
        "300.1 MODIFIED",
        "301.1 MODIFIED",
        "311.1 MODIFIED",
        "311.1 MODIFIED",
    ]
    assert writes["cronjobs.batch"][1:] == ["300.1 MODIFIED", "311.1 MODIFIED"]
    pods = ["300.1 ADDED", "300.1 MODIFIED", "300.1 MODIFIED", "310.1 MODIFIED", "311.1 MODIFIED"]
    assert writes["pods"] == pods  # bound, runs, has succeeded, is counted
