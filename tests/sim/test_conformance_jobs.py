"""The conformance tests of upstream for Jobs whose pods end as they are told, and what else decides about a Job's end.

A number is the test's position in upstream's list of conformance tests.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from sampan.kinds.batch.job import JOB
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

NAME = "job/sum"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILED_INDEXES = ("True", "FailedIndexes", "Job has failed indexes")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        made.behave("app=sum", {"run": "10s"})
        yield made


def indexed(**spec: Any) -> Tree:
    return trees.job(completionMode="Indexed", **spec)


def rule(action: str, *codes: int, **more: Any) -> Tree:
    """A policy of one rule, by exit codes."""
    return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": list(codes)}, **more}]}


def ends(cluster: Cluster, type: str, within: float = 600) -> Tree:
    """The status as the job's last condition comes, and no pod is left to be counted."""
    found: Tree = cluster.wait_for(NAME, type, within=within)["status"]
    cluster.advance(5)
    assert [objects.finalizers(p) for p in cluster.list("pods")] == [[]] * len(cluster.list("pods"))
    return found


def made(cluster: Cluster) -> list[float]:
    """When each pod was made."""
    return [c.time for c in cluster.history() if c.resource == "pods" and c.type == "ADDED"]


def test_an_evicted_pod_is_ignored(cluster: Cluster) -> None:
    """126: by its condition DisruptionTarget; with no failure allowed, the job completes all the same."""
    cluster.behave("app=sum", {"stop": {"takes": "1s", "exit": 143}})
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    cluster.create(trees.job(completions=2, parallelism=2, backoffLimit=0, podFailurePolicy=policy))
    cluster.run_until(lambda: sum(conditions.is_true(p, "Ready") for p in cluster.list("pods")) == 2, within=30)
    victim = cluster.list("pods")[0]
    eviction = trees.tree("policy/v1", "Eviction", objects.name(victim))
    cluster.run(cluster.client.create_subresource(POD, objects.key(victim), "eviction", eviction))
    told = ends(cluster, "Complete")
    assert (told["succeeded"], told.get("failed")) == (2, None)
    assert len(made(cluster)) == 3


def test_an_exit_code_fails_the_job_early(cluster: Cluster) -> None:
    """127: long before the limit, and what else runs is ended."""
    cluster.behave("app=sum", [{"chance": 0.5, "run": "5s", "exit": 1}, {"run": "1h"}])
    cluster.create(trees.job(completions=8, parallelism=8, backoffLimit=6, podFailurePolicy=rule("FailJob", 1)))
    ends(cluster, "Failed")
    status, reason, message = trees.condition(cluster.get(NAME), "Failed") or ("", "", "")
    assert (status, reason) == ("True", "PodFailurePolicy")
    assert message.endswith("failed with exit code 1 matching FailJob rule at index 0")
    assert trees.condition(cluster.get(NAME), "FailureTarget") == (status, reason, message)
    assert [e["message"] for e in cluster.events(NAME) if e["reason"] == "PodFailurePolicy"] == [message]
    assert cluster.time < 60


def test_pods_have_their_index_and_a_host_name(cluster: Cluster) -> None:
    """129."""
    cluster.create(indexed(completions=4, parallelism=2))
    told = ends(cluster, "Complete")
    assert told["completedIndexes"] == "0-3"
    found = {objects.annotations(p)[INDEX]: p["spec"]["hostname"] for p in cluster.list("pods")}
    assert found == {str(n): f"sum-{n}" for n in range(4)}


def test_every_index_is_tried_though_some_fail(cluster: Cluster) -> None:
    """131: odd ones fail twice, and the job fails when all is done."""
    cluster.behave("app=sum", {"run": "5s", "exit": 1}, pod="sum-[13]-*")
    cluster.create(indexed(completions=4, parallelism=2, backoffLimitPerIndex=1))
    told = ends(cluster, "Failed")
    assert trees.condition(cluster.get(NAME), "Failed") == FAILED_INDEXES
    assert (told["failedIndexes"], told["completedIndexes"]) == ("1,3", "0,2")
    assert (told["failed"], told["succeeded"]) == (4, 2)


def test_the_life_of_a_job(cluster: Cluster) -> None:
    """132: patched, updated, listed in all namespaces, and deleted with all of its label."""
    labelled = trees.job(suspend=True, completions=2, parallelism=2)
    labelled["metadata"]["labels"] = {"e2e-job-label": "sum"}
    cluster.create(labelled)
    cluster.wait_for(NAME, "Suspended")
    cluster.patch(NAME, {"metadata": {"labels": {"sum": "patched"}}}, type="strategic")
    found = cluster.get(NAME) or {}
    metadata = {**found["metadata"], "annotations": {"updated": "true"}}
    cluster.run(
        cluster.client.update(JOB, {**found, "metadata": metadata, "spec": {**found["spec"], "suspend": False}})
    )
    cluster.run_until(lambda: (cluster.get(NAME) or {})["status"].get("ready") == 2, within=60)
    assert trees.by_name(cluster.list("jobs", labels="e2e-job-label=sum,sum=patched")) == ["sum"]
    assert objects.annotations(cluster.get(NAME) or {})["updated"] == "true"
    call = cluster.client.delete_collection(JOB, "default", labels="e2e-job-label=sum", propagation="Background")
    cluster.run(call)
    cluster.run_until(lambda: not cluster.list("jobs") and not cluster.list("pods"), within=60)
    assert cluster.history(NAME)[-1].type == "DELETED"


def test_an_exit_code_gives_an_index_up(cluster: Cluster) -> None:
    """133: FailIndex, at the first failure, though more were allowed."""
    cluster.behave("app=sum", {"run": "5s", "exit": 42}, pod="sum-0-*")
    policy = rule("FailIndex", 42)
    cluster.create(indexed(completions=2, parallelism=2, backoffLimitPerIndex=1, podFailurePolicy=policy))
    told = ends(cluster, "Failed")
    assert trees.condition(cluster.get(NAME), "Failed") == FAILED_INDEXES
    assert (told["failedIndexes"], told["completedIndexes"], told["failed"]) == ("0", "1", 1)


def test_tasks_that_fail_where_they_are_run_again_there(cluster: Cluster) -> None:
    """134: with OnFailure the same pods go on, and the job completes."""
    cluster.behave("app=sum", [{"attempts": "1..2", "run": "2s", "exit": 1}, {"run": "2s"}])
    cluster.create(trees.job(restart="OnFailure", completions=4, parallelism=2, backoffLimit=999))
    ends(cluster, "Complete")
    assert {p["status"]["containerStatuses"][0]["restartCount"] for p in cluster.list("pods")} == {2}
    assert len(made(cluster)) == 4
    text = ("True", "CompletionsReached", "Reached expected number of succeeded pods")
    assert trees.condition(cluster.get(NAME), "Complete") == text


def test_too_many_failed_indexes_end_the_rest(cluster: Cluster) -> None:
    """135: one is too many here."""
    cluster.behave("app=sum", {"run": "5s", "exit": 1}, pod="sum-0-*")
    cluster.create(indexed(completions=4, parallelism=2, backoffLimitPerIndex=0, maxFailedIndexes=0))
    told = ends(cluster, "Failed")
    text = "Job has exceeded the specified maximal number of failed indexes"
    assert trees.condition(cluster.get(NAME), "Failed") == ("True", "MaxFailedIndexesExceeded", text)
    assert told["failedIndexes"] == "0"
    assert "completedIndexes" not in told
    assert len(made(cluster)) == 2


@pytest.mark.parametrize(
    ("success", "completed"),
    [
        ({"succeededIndexes": "0-1"}, "0,1"),
        ({"succeededIndexes": "0,1", "succeededCount": 1}, "0"),
        ({"succeededCount": 1}, "0"),
    ],
)
def test_what_is_enough_ends_the_rest(cluster: Cluster, success: Tree, completed: str) -> None:
    """136 to 138: by indexes, by a number, or both; some of the others never run."""
    cluster.behave("app=sum", {"run": "1h"}, pod="sum-[234]-*")
    if completed == "0":
        cluster.behave("app=sum", {"run": "1h"}, pod="sum-1-*")
    cluster.create(indexed(completions=5, parallelism=3, successPolicy={"rules": [success]}))
    told = ends(cluster, "Complete")
    met = ("True", "SuccessPolicy", "Matched rules at index 0")
    assert [trees.condition(cluster.get(NAME), type) for type in ("SuccessCriteriaMet", "Complete")] == [met, met]
    assert (told["completedIndexes"], told.get("failed"), told["terminating"]) == (completed, None, 0)
    assert cluster.time < 60


# How long it waits


def test_a_deleted_pod_is_a_failure_like_another(cluster: Cluster) -> None:
    """Its successor waits, though the pod itself is gone at once, and longer each time."""
    cluster.behave("app=sum", {"run": "1h", "stop": {"takes": "2s", "exit": 143}})
    cluster.create(trees.job(backoffLimit=6))
    for number in range(3):
        cluster.run_until(lambda n=number: len(made(cluster)) == n + 1 and cluster.list("pods"), within=60)  # type: ignore[misc]
        cluster.advance(5)
        cluster.delete(next(p for p in cluster.list("pods") if not objects.is_deleting(p)))
    assert [round(b - a) for a, b in pairwise(made(cluster))] == [15, 25]
    cluster.advance(5)
    assert (cluster.get(NAME) or {})["status"]["failed"] == 3


def test_an_index_waits_after_failures_that_do_not_count(cluster: Cluster) -> None:
    """Each as long as after one that does."""
    cluster.behave("app=sum", {"run": "1s", "exit": 3})
    policy = rule("Ignore", 3)
    cluster.create(indexed(completions=1, backoffLimitPerIndex=0, podFailurePolicy=policy))
    cluster.advance(80)
    assert [round(b - a) for a, b in pairwise(made(cluster))] == [11, 21, 41]
    notes = [
        objects.annotations(p).get("batch.kubernetes.io/job-index-ignored-failure-count") for p in made_pods(cluster)
    ]
    assert notes == [None, "1", "2", "3"]


def made_pods(cluster: Cluster) -> list[Tree]:
    return [c.tree for c in cluster.history() if c.resource == "pods" and c.type == "ADDED"]


def test_a_success_makes_the_waits_short_again(cluster: Cluster) -> None:
    """What failed before it is forgotten."""
    cluster.behave("app=sum", [{"run": "1s", "exit": 1}])
    cluster.create(trees.job(completions=2, backoffLimit=9))
    cluster.advance(15)
    good = cluster.behave("app=sum", {"run": "1s"})
    cluster.run_until(lambda: (cluster.get(NAME) or {})["status"].get("succeeded") == 1, within=60)
    cluster.end_behaviour(good)
    cluster.advance(15)
    first, second, after, last = [b - a for a, b in pairwise(made(cluster))]
    assert (round(first), round(second), after < 3, round(last)) == (11, 21, True, 11)
