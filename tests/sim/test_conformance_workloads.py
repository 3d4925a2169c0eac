"""The conformance tests of upstream for Deployments, ReplicaSets, Jobs and budgets that are walks through their doors.

A number is the test's position in upstream's list of conformance tests.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def status(cluster: Cluster, what: str) -> Tree:
    found: Tree = (cluster.get(what) or {}).get("status") or {}
    return found


def wait_ready(cluster: Cluster, what: str, count: int) -> None:
    """Until so many replicas are ready, and no pod of another is left."""

    def is_so() -> bool:
        found = status(cluster, what)
        return found.get("readyReplicas", 0) == found.get("replicas", 0) == count == len(cluster.list("pods"))

    cluster.run_until(is_so, within=120)


def scale_door(cluster: Cluster, what: str) -> None:
    """Read, replaced and patched: two replicas, then four."""
    obj = cluster.get(what) or {}
    kind = next(k for k in cluster.kinds if (k.name, k.api_version) == (obj["kind"], obj["apiVersion"]))
    path = kind.path(*objects.key(obj)) + "/scale"
    scale = cluster.run(cluster.client.call("GET", path))
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert scale["status"] == {"replicas": 1, "selector": f"app={objects.name(obj)}"}
    written = cluster.run(cluster.client.call("PUT", path, body={**scale, "spec": {"replicas": 2}}))
    assert written["spec"] == {"replicas": 2}
    wait_ready(cluster, what, 2)
    assert cluster.scale(what, 4)["spec"] == {"replicas": 4}
    wait_ready(cluster, what, 4)


def status_door(cluster: Cluster, what: str) -> None:
    """A status of one's own, replaced and patched; what the controller says of the rest stands beside it."""
    obj = cluster.get(what) or {}
    kind = next(k for k in cluster.kinds if (k.name, k.api_version) == (obj["kind"], obj["apiVersion"]))
    path = kind.path(*objects.key(obj)) + "/status"
    found = cluster.run(cluster.client.call("GET", path))
    own = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    listed = [*(found["status"].get("conditions") or ()), own]
    cluster.run(cluster.client.call("PUT", path, body={**found, "status": {**found["status"], "conditions": listed}}))
    assert conditions.is_true(cluster.get(what) or {}, "StatusUpdate")
    cluster.patch(what, {"status": {"conditions": [{**own, "type": "StatusPatched"}]}}, subresource="status")
    assert conditions.is_true(cluster.get(what) or {}, "StatusPatched")
    cluster.advance(30)
    assert conditions.is_true(cluster.get(what) or {}, "StatusPatched")


# Deployments


def test_a_deployment_is_scaled_by_its_door(cluster: Cluster) -> None:
    """112."""
    cluster.create(trees.deployment(1))
    wait_ready(cluster, "deployment/web", 1)
    scale_door(cluster, "deployment/web")


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
def test_a_deployment_takes_over_and_rolls_what_was_there(cluster: Cluster, strategy: str) -> None:
    """113 and 114: an adopted ReplicaSet of another template ends at zero, with the revision that it had."""
    old = trees.replica_set(1)
    old["metadata"]["labels"] = {"app": "web"}
    old["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3546343826724305832"}
    cluster.create(old)
    wait_ready(cluster, "replicaset/web", 1)
    made = trees.deployment(1, template=trees.template(image="web:2"), strategy={"type": strategy})
    cluster.create(made)
    cluster.wait_for("deployment/web", lambda d: d["status"].get("updatedReplicas") == 1 == d["status"].get("replicas"))
    revisions = {
        trees.image(r): objects.annotations(r)["deployment.kubernetes.io/revision"] for r in cluster.list("rs")
    }
    assert revisions == {"web:1": "3546343826724305832", "web:2": "3546343826724305833"}
    assert {trees.image(r): r["spec"]["replicas"] for r in cluster.list("rs")} == {"web:1": 0, "web:2": 1}
    wait_ready(cluster, "deployment/web", 1)


def test_without_a_history_old_replica_sets_go_at_once(cluster: Cluster) -> None:
    """115: revisionHistoryLimit 0."""
    old = trees.replica_set(1)
    old["metadata"]["labels"] = {"app": "web"}
    cluster.create(old)
    cluster.create(trees.deployment(1, template=trees.template(image="web:2"), revisionHistoryLimit=0))
    cluster.run_until(lambda: [trees.image(r) for r in cluster.list("rs")] == ["web:2"], within=120)
    wait_ready(cluster, "deployment/web", 1)


def test_the_life_of_a_deployment(cluster: Cluster) -> None:
    """118: each change is seen by who watches, in its order, up to the end with all of its label."""
    made = trees.deployment(1)
    made["metadata"]["labels"] = {"test": "static"}
    cluster.create(made)
    wait_ready(cluster, "deployment/web", 1)
    cluster.patch("deployment/web", {"metadata": {"labels": {"step": "patched"}}, "spec": {"replicas": 2}})
    wait_ready(cluster, "deployment/web", 2)
    patch = {"status": {"readyReplicas": 0, "availableReplicas": 0}}
    cluster.patch("deployment/web", patch, subresource="status", type="strategic")
    wait_ready(cluster, "deployment/web", 2)
    cluster.patch("deployment/web", {"spec": {"template": trees.template(image="web:2")}})
    cluster.run_until(lambda: {trees.image(p) for p in cluster.list("pods")} == {"web:2"}, within=120)
    kind = next(k for k in cluster.kinds if k.name == "Deployment")
    path = kind.path("default")
    chosen = (("labelSelector", "test=static"),)
    cluster.run(cluster.client.call("DELETE", path, chosen, body={"propagationPolicy": "Background"}))
    cluster.run_until(lambda: not [*cluster.list(kind), *cluster.list("rs"), *cluster.list("pods")], within=120)
    types = [change.type for change in cluster.history("deployment/web")]
    assert (types[0], types[-1], set(types[1:-1])) == ("ADDED", "DELETED", {"MODIFIED"})


def test_a_deployment_has_a_status_door(cluster: Cluster) -> None:
    """119."""
    cluster.create(trees.deployment(1))
    wait_ready(cluster, "deployment/web", 1)
    status_door(cluster, "deployment/web")


@pytest.mark.parametrize(("asked", "image"), [("1", "web:1"), ("0", "web:2"), ("3", ""), ("9", "")])
def test_an_annotation_of_old_days_rolls_back(cluster: Cluster, asked: str, image: str) -> None:
    """To a revision, to the last one for 0; the present one and one that is not there change nothing but are told."""
    cluster.create(trees.deployment(1))
    for number in (1, 2, 3):
        cluster.patch("deployment/web", {"spec": {"template": trees.template(image=f"web:{number}")}})
        cluster.run_until(lambda n=number: [trees.image(p) for p in cluster.list("pods")] == [f"web:{n}"], within=60)  # type: ignore[misc]
    annotation = "deprecated.deployment.rollback.to"
    cluster.patch("deployment/web", {"metadata": {"annotations": {annotation: asked}}})
    cluster.run_until(lambda: annotation not in objects.annotations(cluster.get("deployment/web") or {}), within=30)
    cluster.advance(30)
    assert trees.image(cluster.get("deployment/web") or {}) == (image or "web:3")
    assert [trees.image(p) for p in cluster.list("pods")] == [image or "web:3"]
    told = [e["message"] for e in cluster.events("deployment/web") if e["reason"].startswith("DeploymentRollback")]
    if image:
        assert told == [f'Rolled back deployment "web" to revision {image[-1]}']
    elif asked == "3":
        assert told == ['The rollback revision contains the same template as current deployment "web"']
    else:
        assert told == ["Unable to find the revision to rollback to."]


# ReplicaSets


def test_a_replica_set_is_replaced_and_patched(cluster: Cluster) -> None:
    """139."""
    cluster.create(trees.replica_set(1))
    wait_ready(cluster, "rs/web", 1)
    found = cluster.get("rs/web") or {}
    labelled = {**found["metadata"], "labels": {"test-rs": "patched"}}
    kind = next(k for k in cluster.kinds if k.name == "ReplicaSet")
    cluster.run(cluster.client.update(kind, {**found, "metadata": labelled, "spec": {**found["spec"], "replicas": 2}}))
    wait_ready(cluster, "rs/web", 2)
    template = {"spec": {"terminationGracePeriodSeconds": 0}}
    patch = {"metadata": {"labels": {"test-rs": "twice"}}, "spec": {"replicas": 3, "template": template}}
    cluster.patch("rs/web", patch, type="strategic")
    wait_ready(cluster, "rs/web", 3)
    (only,) = cluster.list("rs", labels="test-rs=twice")
    assert only["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 0


def test_a_replica_set_is_scaled_by_its_door(cluster: Cluster) -> None:
    """140."""
    cluster.create(trees.replica_set(1))
    wait_ready(cluster, "rs/web", 1)
    scale_door(cluster, "rs/web")


def test_replica_sets_are_listed_and_deleted_by_label(cluster: Cluster) -> None:
    """142: with their pods."""
    made = trees.replica_set(3)
    made["metadata"]["labels"] = {"e2e": "yes"}
    cluster.create(made)
    wait_ready(cluster, "rs/web", 3)
    cluster.create(trees.replica_set(0, "other"))
    assert trees.by_name(cluster.list("rs", labels="e2e=yes")) == ["web"]
    kind = next(k for k in cluster.kinds if k.name == "ReplicaSet")
    cluster.run(cluster.client.call("DELETE", kind.path("default"), (("labelSelector", "e2e=yes"),)))
    cluster.run_until(lambda: trees.by_name(cluster.list("rs")) == ["other"] and not cluster.list("pods"), within=120)


def test_a_replica_set_has_a_status_door(cluster: Cluster) -> None:
    """144."""
    cluster.create(trees.replica_set(1))
    wait_ready(cluster, "rs/web", 1)
    status_door(cluster, "rs/web")


def test_pods_that_have_ended_are_nobodys_replicas(cluster: Cluster) -> None:
    """A matching one without an owner is left alone, and one of its own is let be when its label goes."""
    cluster.create(trees.pod("ended", {"app": "web"}, restartPolicy="Never"))
    cluster.behave("web:1", {"run": "1s"}, pod="ended")
    cluster.wait_for("pod/ended", lambda p: p["status"]["phase"] == "Succeeded")
    cluster.create(trees.replica_set(1))
    cluster.run_until(lambda: status(cluster, "rs/web").get("readyReplicas") == 1, within=30)
    assert objects.controller_of(cluster.get("pod/ended") or {}) is None
    assert len(cluster.list("pods")) == 2


# Jobs


def job(**spec: Any) -> Tree:
    return trees.job(orders={"run_seconds": "600"}, parallelism=2, completions=2, **spec)


def test_a_job_adopts_and_releases(cluster: Cluster) -> None:
    """125: a pod that lost its owner is taken back; one that lost its labels is let go."""
    made = cluster.create(job(backoffLimit=6))
    cluster.run_until(lambda: status(cluster, "job/sum").get("ready") == 2, within=60)
    name = objects.name(cluster.list("pods")[0])
    cluster.patch(f"pod/{name}", {"metadata": {"ownerReferences": None}})

    def owner() -> Tree:
        return objects.controller_of(cluster.get(f"pod/{name}") or {}) or {}

    cluster.run_until(lambda: owner().get("uid") == objects.uid(made), within=30)
    cluster.patch(f"pod/{name}", {"metadata": {"labels": None}})
    cluster.run_until(lambda: not owner(), within=30)
    assert not objects.finalizers(cluster.get(f"pod/{name}") or {})


def test_a_jobs_status_is_patched_and_replaced(cluster: Cluster) -> None:
    """128: conditions of one's own are kept, and an annotation is written by that door too."""
    cluster.create(job())
    cluster.run_until(lambda: status(cluster, "job/sum").get("ready") == 2, within=60)
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}}
    cluster.patch("job/sum", patch, subresource="status")
    assert objects.annotations(cluster.get("job/sum") or {})["patchedstatus"] == "true"
    own = {"type": "CustomConditionType", "status": "True", "reason": "E2E", "message": "Set by e2e test"}
    found = status(cluster, "job/sum")
    listed = [*(found.get("conditions") or ()), own]
    cluster.patch("job/sum", {"status": {"conditions": listed}}, subresource="status")
    cluster.advance(30)
    path = "/apis/batch/v1/namespaces/default/jobs/sum/status"
    read = cluster.run(cluster.client.call("GET", path))
    assert conditions.is_true(read, "CustomConditionType")
    later = {**own, "lastTransitionTime": "2026-01-01T00:00:30Z"}
    body = {**read, "status": {**read["status"], "conditions": [*listed[:-1], later]}}
    cluster.run(cluster.client.call("PUT", path, body=body))
    cluster.advance(30)
    assert later in status(cluster, "job/sum")["conditions"]


def test_a_job_is_deleted_with_its_pods(cluster: Cluster) -> None:
    """130: in the foreground."""
    cluster.create(job(backoffLimit=6))
    cluster.run_until(lambda: status(cluster, "job/sum").get("ready") == 2, within=60)
    cluster.delete("job/sum", propagation="Foreground")
    cluster.wait_for("job/sum", "deleted", within=120)
    assert cluster.list("pods") == []


def test_jobs_and_replication_controllers_leave_their_pods_unless_told(cluster: Cluster) -> None:
    """As their first versions did: a deletion that says nothing of dependents leaves them behind."""
    cluster.create(job(backoffLimit=6))
    cluster.run_until(lambda: status(cluster, "job/sum").get("ready") == 2, within=60)
    cluster.delete("job/sum")
    cluster.wait_for("job/sum", "deleted", within=60)
    cluster.advance(60)
    assert [objects.owner_references(p) for p in cluster.list("pods")] == [[], []]


def test_an_index_is_told_to_its_pod(cluster: Cluster) -> None:
    """In its name, though the job's is long, as its host name and in the environment, where nobody says otherwise."""
    name = "j" * 60
    made = job(completionMode="Indexed")
    made["metadata"]["name"] = name
    spec = made["spec"]["template"]["spec"]
    spec["hostname"] = "mine"
    own = {"name": "JOB_COMPLETION_INDEX", "value": "mine"}
    spec["initContainers"] = [{**spec["containers"][0], "name": "first", "env": [own]}]
    cluster.create(made)
    cluster.advance(1)
    index = "batch.kubernetes.io/job-completion-index"
    for number, p in enumerate(sorted(cluster.list("pods"), key=lambda p: objects.labels(p)[index])):
        assert objects.name(p)[:-5] == f"{name[:55]}-{number}-"
        assert p["spec"]["hostname"] == f"{name}-{number}"
        assert p["spec"]["initContainers"][0]["env"] == [own]
        field = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{index}']"}}
        assert p["spec"]["containers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX", "valueFrom": field}]


def test_a_resumed_job_starts_anew(cluster: Cluster) -> None:
    """While it is suspended, its status tells when it had started; its deadline counts from when it is resumed."""
    cluster.create(job(backoffLimit=6))
    cluster.run_until(lambda: status(cluster, "job/sum").get("ready") == 2, within=60)
    cluster.patch("job/sum", {"spec": {"suspend": True}})
    cluster.advance(30)
    assert status(cluster, "job/sum")["startTime"] == "2026-01-01T00:00:00Z"
    cluster.patch("job/sum", {"spec": {"suspend": False}})
    cluster.advance(1)
    assert status(cluster, "job/sum")["startTime"] >= "2026-01-01T00:00:30Z"


# Budgets


def budget(name: str = "b", **spec: Any) -> Tree:
    wanted = {"selector": {"matchLabels": {"app": "web"}}}
    made = trees.tree("policy/v1", "PodDisruptionBudget", name, spec=wanted | spec)
    made["metadata"]["labels"] = {"test": "pdb"}
    return made


def test_budgets_are_counted_changed_and_deleted_together(cluster: Cluster) -> None:
    """120, 122 and 123: in all namespaces; a wish that changes is observed."""
    cluster.create(trees.tree("v1", "Namespace", "team", namespace=""))
    cluster.create(budget(minAvailable="1%"))
    cluster.create(budget("c", minAvailable="1%"))
    other = budget("d", minAvailable="1%")
    other["metadata"]["namespace"] = "team"
    cluster.create(other)
    cluster.run_until(lambda: all(b["status"]["observedGeneration"] == 1 for b in cluster.list("pdb")), within=30)
    cluster.create(trees.replica_set(2))
    cluster.run_until(lambda: status(cluster, "pdb/b").get("disruptionsAllowed") == 1, within=60)
    cluster.patch("pdb/b", {"spec": {"minAvailable": "2%"}})
    cluster.run_until(lambda: status(cluster, "pdb/b")["observedGeneration"] == 2, within=30)
    cluster.patch("pdb/b", {"spec": {"minAvailable": 2}})
    cluster.run_until(lambda: status(cluster, "pdb/b")["disruptionsAllowed"] == 0, within=30)
    kind = next(k for k in cluster.kinds if k.name == "PodDisruptionBudget")
    assert len(cluster.list(kind, labels="test=pdb")) == 3
    cluster.run(cluster.client.call("DELETE", kind.path("default"), (("labelSelector", "test=pdb"),)))
    assert trees.by_name(cluster.list(kind)) == ["d"]


def test_a_budgets_status_is_put_right(cluster: Cluster) -> None:
    """124: what somebody writes there, the controller corrects."""
    cluster.create(budget(minAvailable=1))
    cluster.create(trees.replica_set(3))
    cluster.run_until(lambda: status(cluster, "pdb/b").get("disruptionsAllowed") == 2, within=60)
    patch = {"status": {"disruptedPods": {"mypod": "2026-01-01T00:00:00Z"}, "disruptionsAllowed": 0}}
    cluster.patch("pdb/b", patch, subresource="status")
    cluster.run_until(lambda: status(cluster, "pdb/b")["disruptionsAllowed"] == 2, within=60)
    assert "disruptedPods" not in status(cluster, "pdb/b")
