"""StatefulSets in virtual time: pods that keep their names, come and go in order, and are replaced by revisions."""

from collections.abc import Iterator

import pytest

from sampan.control import revisions
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects
from sampan.testing.cluster import Cluster
from tests.sim import stateful, trees
from tests.sim.stateful import WEB, stateful_set

UNREADY = {"stages": [{"readiness": False}]}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made


def test_pods_come_in_order_with_their_names(cluster: Cluster) -> None:
    """Each is made when the one before is ready; it has its name as host name, its index, and the revision."""
    cluster.behave("web", {"start": 2})
    made = cluster.create(stateful_set())
    cluster.advance(3)
    assert stateful.happenings(cluster) == ["+web-0", "+web-1"]
    stateful.wait_ready(cluster, 3)
    assert stateful.happenings(cluster) == ["+web-0", "+web-1", "+web-2"]
    pod = cluster.get("pod/web-1") or {}
    revision = stateful.revision(cluster, "web:1")
    assert objects.labels(pod) == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "1",
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": "web-1",
    }
    assert (pod["metadata"]["generateName"], pod["spec"]["hostname"], pod["spec"]["subdomain"]) == (
        "web-",
        "web-1",
        "web",
    )
    assert objects.owner_references(pod) == [objects.owner_reference(made)]
    assert stateful.status(cluster) == {
        "observedGeneration": 1,
        "replicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "currentReplicas": 3,
        "updatedReplicas": 3,
        "currentRevision": revision,
        "updateRevision": revision,
        "collisionCount": 0,
    }
    texts = [f"Normal SuccessfulCreate create Pod web-{n} in StatefulSet web successful" for n in range(3)]
    assert stateful.told(cluster) == texts
    assert {e["source"]["component"] for e in cluster.events(WEB)} == {"statefulset-controller"}


def test_a_revision_holds_the_template(cluster: Cluster) -> None:
    """It is the set's, with the template's labels and the set's annotations, and a patch that puts the template back."""
    wanted = stateful_set(1)
    wanted["metadata"]["annotations"] = {"why": "first"}
    made = cluster.create(wanted)
    stateful.wait_ready(cluster, 1)
    (found,) = cluster.list(CONTROLLERREVISION)
    code = objects.labels(found)[revisions.REVISION_LABEL]
    assert (objects.name(found), found["revision"]) == (f"web-{code}", 1)
    assert objects.labels(found) == {"app": "web", revisions.REVISION_LABEL: code}
    assert objects.annotations(found) == {"why": "first"}
    assert objects.owner_references(found) == [objects.owner_reference(made)]
    assert found["data"] == {"spec": {"template": {**made["spec"]["template"], "$patch": "replace"}}}


# Upstream's conformance: 154, 155, 158


def test_the_scale_subresource(cluster: Cluster) -> None:
    """It tells the size, and an update and a patch of it change it."""
    cluster.create(stateful_set(1))
    stateful.wait_ready(cluster, 1)
    path = STATEFULSET.path("default", "web") + "/scale"
    scale = cluster.run(cluster.client.call("GET", path))
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "app=web"})
    wanted = {**scale, "metadata": {**scale["metadata"], "resourceVersion": ""}, "spec": {"replicas": 2}}
    assert cluster.run(cluster.client.call("PUT", path, body=wanted))["spec"]["replicas"] == 2
    assert (cluster.get(WEB) or {})["spec"]["replicas"] == 2
    assert cluster.scale(WEB, 4)["spec"]["replicas"] == 4
    stateful.wait_ready(cluster, 4)
    assert list(stateful.pods(cluster)) == ["web-0", "web-1", "web-2", "web-3"]


def test_sets_are_listed_patched_and_deleted_together(cluster: Cluster) -> None:
    """By label; a patch that changes size and image is rolled out."""
    wanted = stateful_set(1)
    wanted["metadata"]["labels"] = {"test": "one"}
    cluster.create(wanted)
    cluster.create({**stateful_set(0), "metadata": {"name": "other", "namespace": "default"}})
    stateful.wait_ready(cluster, 1)
    assert trees.by_name(cluster.list(STATEFULSET, labels="test=one")) == ["web"]
    stateful.set_image(cluster, "web:2", replicas=2)
    stateful.wait_ready(cluster, 2)
    assert stateful.pods(cluster) == {"web-0": "web:2", "web-1": "web:2"}
    cluster.run(cluster.client.delete_collection(STATEFULSET, "default", labels="test=one"))
    cluster.advance(60)
    assert [len(cluster.list(kind)) for kind in (STATEFULSET, POD, CONTROLLERREVISION)] == [1, 0, 1]
    assert trees.by_name(cluster.list(STATEFULSET)) == ["other"]


def test_the_status_has_its_own_door(cluster: Cluster) -> None:
    """A condition that somebody sets stays until the controller has something new to say, as upstream."""
    cluster.create(stateful_set(1))
    found = stateful.wait_ready(cluster, 1)
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    body = {**found, "status": {**found["status"], "conditions": [condition]}}
    cluster.run(cluster.client.update(STATEFULSET, body, "status"))
    cluster.advance(60)
    assert trees.condition(cluster.get(WEB), "StatusUpdate") == ("True", "E2E", "Set from e2e test")
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    cluster.patch(WEB, patch, subresource="status")
    cluster.advance(60)
    assert conditions.is_true(cluster.get(WEB) or {}, "StatusPatched")
    cluster.scale(WEB, 2)
    stateful.wait_ready(cluster, 2)
    assert "conditions" not in stateful.status(cluster)


# Upstream's conformance: 151, 152, 153


def test_scaling_goes_in_order_and_halts_at_an_unhealthy_pod(cluster: Cluster) -> None:
    """Up from the lowest, down from the highest; while a pod is not ready nothing is made and nothing ends."""
    cluster.create(stateful_set(1, template=stateful.template(probed=True)))
    stateful.wait_ready(cluster, 1)
    sick = cluster.behave("web", UNREADY, pod="web-0")
    cluster.advance(10)
    cluster.scale(WEB, 3)
    cluster.advance(60)
    assert list(stateful.pods(cluster)) == ["web-0"]
    cluster.end_behaviour(sick)
    stateful.wait_ready(cluster, 3)
    assert stateful.happenings(cluster) == ["+web-0", "+web-1", "+web-2"]
    sick = cluster.behave("web", UNREADY)
    cluster.advance(10)
    cluster.scale(WEB, 0)
    cluster.advance(60)
    assert list(stateful.pods(cluster)) == ["web-0", "web-1", "web-2"]
    cluster.end_behaviour(sick)
    cluster.wait_for(WEB, lambda found: found["status"]["replicas"] == 0, within=300)
    assert stateful.happenings(cluster)[3:] == ["-web-2", "-web-1", "-web-0"]


def test_the_one_that_is_unhealthy_does_not_hold_its_own_end_back(cluster: Cluster) -> None:
    """Scaled away, the lowest pod that is not available may go though it is not."""
    cluster.create(stateful_set(3, template=stateful.template(probed=True)))
    stateful.wait_ready(cluster, 3)
    cluster.behave("web", UNREADY, pod="web-2")
    cluster.advance(10)
    cluster.scale(WEB, 2)
    stateful.wait_ready(cluster, 2)
    assert stateful.happenings(cluster)[3:] == ["-web-2"]


def test_parallel_pods_wait_for_nobody(cluster: Cluster) -> None:
    """They come and go all at once, unhealthy as they are."""
    cluster.behave("web", UNREADY)
    cluster.create(stateful_set(2, template=stateful.template(probed=True), podManagementPolicy="Parallel"))
    cluster.advance(5)
    assert (stateful.happenings(cluster), stateful.status(cluster)["replicas"]) == (["+web-0", "+web-1"], 2)
    assert "readyReplicas" not in stateful.status(cluster)
    cluster.scale(WEB, 4)
    cluster.advance(5)
    assert len(stateful.pods(cluster)) == 4
    cluster.scale(WEB, 0)
    cluster.advance(60)
    assert (stateful.pods(cluster), stateful.status(cluster)["replicas"]) == ({}, 0)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_a_pod_that_ended_is_made_again(cluster: Cluster, phase: str, policy: str) -> None:
    """As when it was evicted: it is deleted, and comes back with the same name and another uid."""
    cluster.create(stateful_set(2, podManagementPolicy=policy))
    stateful.wait_ready(cluster, 2)
    before = objects.uid(cluster.get("pod/web-0") or {})
    cluster.patch("pod/web-0", {"status": {"phase": phase, "reason": "Evicted"}}, subresource="status")
    cluster.run_until(lambda: objects.uid(cluster.get("pod/web-0") or {}) not in ("", before))
    stateful.wait_ready(cluster, 2)
    assert "Normal SuccessfulDelete delete Pod web-0 in StatefulSet web successful" in stateful.told(cluster)


# Upstream's conformance: 156, 157


def test_a_canary_and_a_phased_rollout(cluster: Cluster) -> None:
    """The partition keeps lower ordinals at the old template, also when they are made again; lowered, it lets them go."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
    cluster.create(stateful_set(updateStrategy=strategy))
    stateful.wait_ready(cluster, 3)
    old = stateful.revision(cluster, "web:1")
    stateful.set_image(cluster, "web:2")
    cluster.advance(60)
    new = stateful.revision(cluster, "web:2")
    assert set(stateful.pods(cluster).values()) == {"web:1"}
    said = stateful.status(cluster)
    assert (said["currentRevision"], said["updateRevision"], said["currentReplicas"]) == (old, new, 3)
    stateful.set_partition(cluster, 2)
    cluster.advance(60)
    canary = {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2"}
    assert stateful.pods(cluster) == canary
    for name in canary:
        cluster.delete(f"pod/{name}")
    cluster.advance(120)
    assert stateful.pods(cluster) == canary
    said = stateful.status(cluster)
    counts = [said[field] for field in ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas")]
    assert (counts, said["currentRevision"]) == ([3, 3, 2, 1], old)
    stateful.set_partition(cluster, 1)
    cluster.advance(60)
    assert stateful.pods(cluster) == canary | {"web-1": "web:2"}
    stateful.set_partition(cluster, 0)
    stateful.wait_ready(cluster, 3)
    assert set(stateful.pods(cluster).values()) == {"web:2"}
    assert stateful.status(cluster)["currentRevision"] == new


def test_a_rollout_and_the_way_back(cluster: Cluster) -> None:
    """Pods are replaced one by one from the highest; going back raises the old revision's number and makes no other."""
    cluster.create(stateful_set())
    stateful.wait_ready(cluster, 3)
    old = stateful.revision(cluster, "web:1")
    for image, number in (("web:2", 2), ("web:1", 3)):
        before = len(stateful.happenings(cluster))
        stateful.set_image(cluster, image)
        stateful.wait_ready(cluster, 3)
        steps = ["-web-2", "+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]
        assert stateful.happenings(cluster)[before:] == steps
        assert set(stateful.pods(cluster).values()) == {image}
        assert max(r["revision"] for r in cluster.list(CONTROLLERREVISION)) == number
    assert (stateful.status(cluster)["currentRevision"], len(cluster.list(CONTROLLERREVISION))) == (old, 2)


def test_a_stuck_rollout_stays_stuck_until_the_pod_is_deleted(cluster: Cluster) -> None:
    """In order, a pod of a bad template is waited for even when the template is mended, as upstream."""
    cluster.behave("web:bad", UNREADY)
    cluster.create(stateful_set(template=stateful.template(probed=True)))
    stateful.wait_ready(cluster, 3)
    stateful.set_image(cluster, "web:bad")
    cluster.advance(40)
    assert stateful.pods(cluster) == {"web-0": "web:1", "web-1": "web:1", "web-2": "web:bad"}
    stateful.set_image(cluster, "web:1")
    cluster.advance(40)
    assert stateful.pods(cluster)["web-2"] == "web:bad"
    cluster.delete("pod/web-2")
    stateful.wait_ready(cluster, 3)
    assert set(stateful.pods(cluster).values()) == {"web:1"}


def test_a_parallel_rollout_replaces_one_at_a_time_and_mends_itself(cluster: Cluster) -> None:
    """It waits for the replaced pod, but a mended template replaces a bad pod at once."""
    cluster.behave("web:bad", UNREADY)
    template = stateful.template(probed=True)
    cluster.create(stateful_set(template=template, podManagementPolicy="Parallel"))
    stateful.wait_ready(cluster, 3)
    stateful.set_image(cluster, "web:bad")
    cluster.advance(40)
    assert stateful.pods(cluster) == {"web-0": "web:1", "web-1": "web:1", "web-2": "web:bad"}
    stateful.set_image(cluster, "web:3")
    stateful.wait_ready(cluster, 3)
    assert set(stateful.pods(cluster).values()) == {"web:3"}


def test_on_delete_replaces_only_what_somebody_deletes(cluster: Cluster) -> None:
    """And the set never says that it comes from another revision."""
    cluster.create(stateful_set(2, updateStrategy={"type": "OnDelete"}))
    cluster.advance(30)
    old = stateful.revision(cluster, "web:1")
    stateful.set_image(cluster, "web:2")
    cluster.advance(60)
    assert set(stateful.pods(cluster).values()) == {"web:1"}
    cluster.delete("pod/web-0")
    cluster.advance(60)
    assert stateful.pods(cluster) == {"web-0": "web:2", "web-1": "web:1"}
    cluster.delete("pod/web-1")
    cluster.advance(60)
    said = stateful.status(cluster)
    assert (said["updatedReplicas"], said["currentRevision"]) == (2, old)


def test_minimum_ready_seconds_slow_everything_down(cluster: Cluster) -> None:
    """A pod counts when it has been ready for so long; only then comes the next."""
    cluster.create(stateful_set(minReadySeconds=10))
    cluster.advance(9)
    assert list(stateful.pods(cluster)) == ["web-0"]
    cluster.advance(6)
    assert list(stateful.pods(cluster)) == ["web-0", "web-1"]
    said = stateful.status(cluster)
    assert (said["readyReplicas"], said["availableReplicas"]) == (2, 1)
    cluster.wait_for(WEB, lambda found: found["status"]["availableReplicas"] == 3, within=30)
    assert 29 <= cluster.time <= 33


def test_ordinals_may_start_higher(cluster: Cluster) -> None:
    """Moved up, the set makes the new names first and then ends the old ones; the partition counts from its first."""
    cluster.create(stateful_set(2))
    stateful.wait_ready(cluster, 2)
    cluster.patch(WEB, {"spec": {"ordinals": {"start": 3}}})
    stateful.wait_ready(cluster, 2)
    assert stateful.happenings(cluster)[2:] == ["+web-3", "+web-4", "-web-1", "-web-0"]
    assert objects.labels(cluster.get("pod/web-4") or {})["apps.kubernetes.io/pod-index"] == "4"
    stateful.set_image(cluster, "web:2", updateStrategy={"rollingUpdate": {"partition": 1}})
    cluster.advance(60)
    assert stateful.pods(cluster) == {"web-3": "web:1", "web-4": "web:2"}


def test_history_has_a_limit(cluster: Cluster) -> None:
    """Revisions that no pod has go beyond it, oldest first; those in use stay."""
    cluster.create(stateful_set(1, revisionHistoryLimit=2))
    stateful.wait_ready(cluster, 1)
    for number in range(2, 7):
        stateful.set_image(cluster, f"web:{number}")
        stateful.wait_ready(cluster, 1)
    kept = sorted((r["revision"], objects.name(r)) for r in cluster.list(CONTROLLERREVISION))
    assert [number for number, _ in kept] == [4, 5, 6]
    assert kept[-1][1] == stateful.revision(cluster, "web:6")


# Others' doings


def test_orphans_are_taken_back(cluster: Cluster) -> None:
    """A set that is made again finds its pods and its revision; a pod with a strange name it leaves alone."""
    cluster.create(stateful_set(2))
    stateful.wait_ready(cluster, 2)
    cluster.delete(WEB, propagation="Orphan")
    cluster.wait_for(WEB, "gone")
    before = {objects.name(p): objects.uid(p) for p in cluster.list("pods")}
    revision = stateful.revision(cluster, "web:1")
    cluster.create(trees.pod("stranger", {"app": "web"}))
    made = cluster.create(stateful_set(2))
    stateful.wait_ready(cluster, 2)
    assert {name: objects.uid(cluster.get(f"pod/{name}") or {}) for name in before} == before
    owners = [objects.controller_of(o) for kind in (POD, CONTROLLERREVISION) for o in cluster.list(kind)]
    assert [owner and owner["uid"] for owner in owners] == [None, *[objects.uid(made)] * 3]
    assert stateful.status(cluster)["currentRevision"] == revision


def test_a_pod_in_the_way_is_waited_for(cluster: Cluster) -> None:
    """Somebody else's pod of that name is not touched, and no event complains of it."""
    cluster.create(trees.pod("web-1", {"app": "other"}))
    cluster.create(stateful_set(2))
    cluster.advance(30)
    assert stateful.told(cluster) == ["Normal SuccessfulCreate create Pod web-0 in StatefulSet web successful"]
    cluster.delete("pod/web-1")
    stateful.wait_ready(cluster, 2, within=120)


def test_a_name_that_is_taken_makes_another_revision(cluster: Cluster) -> None:
    """The count of collisions grows, and with it the name changes."""
    cluster.create(stateful_set(1))
    stateful.wait_ready(cluster, 1)
    (first,) = cluster.list(CONTROLLERREVISION)
    cluster.delete(WEB)
    cluster.run_until(lambda: not cluster.list(CONTROLLERREVISION))
    taken = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"mine": True}, "revision": 1}
    cluster.create({**taken, "metadata": {"name": objects.name(first)}})
    cluster.create(stateful_set(1))
    said = stateful.wait_ready(cluster, 1)["status"]
    assert said["collisionCount"] == 1
    assert said["currentRevision"] != objects.name(first)


def test_a_lost_label_comes_back(cluster: Cluster) -> None:
    """The pod's name as a label, which the pod needs for its own Service."""
    cluster.create(stateful_set(1))
    stateful.wait_ready(cluster, 1)
    cluster.patch("pod/web-0", {"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": "else"}}})
    cluster.advance(5)
    assert objects.labels(cluster.get("pod/web-0") or {})["statefulset.kubernetes.io/pod-name"] == "web-0"
    assert stateful.told(cluster)[-1] == "Normal SuccessfulUpdate update Pod web-0 in StatefulSet web successful"


def test_a_refusal_is_told_and_tried_again(cluster: Cluster) -> None:
    """While a quota is full the status still tells what is there."""
    quota = trees.tree("v1", "ResourceQuota", "few", spec={"hard": {"pods": "1"}})
    cluster.create(quota)
    cluster.advance(1)
    cluster.create(stateful_set(2))
    cluster.advance(30)
    text = 'pods "web-1" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1'
    wanted = f"Warning FailedCreate create Pod web-1 in StatefulSet web failed error: {text}"
    assert any(line.startswith(wanted) for line in stateful.told(cluster))
    assert stateful.status(cluster)["readyReplicas"] == 1
    cluster.delete("resourcequota/few")
    stateful.wait_ready(cluster, 2, within=600)


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_a_deleted_set_takes_all_with_it(cluster: Cluster, propagation: str) -> None:
    """Its pods and its history."""
    cluster.create(stateful_set(2))
    stateful.wait_ready(cluster, 2)
    cluster.delete(WEB, propagation=propagation)
    cluster.advance(60)
    assert [cluster.list(kind) for kind in (STATEFULSET, POD, CONTROLLERREVISION)] == [[], [], []]
