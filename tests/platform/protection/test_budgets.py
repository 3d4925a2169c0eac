"""What PodUnavailableBudgets let happen to pods, which of them may be written, and how they are counted."""

import re
from typing import Any

import pytest

from sampan.control.plan import AskScale, Plan
from sampan.kinds.core.pod import POD
from sampan.platform.protection import budget_review, budget_rules
from sampan.platform.protection import pod_unavailable_budget as controller
from sampan.platform.protection.budget import DEFINITIONS
from sampan.platform.review import ALLOWED, Attempt
from tests.platform.protection.world import NOW, attempt, budget, obj, owned, pod, view

Tree = dict[str, Any]
NEGATIVE = 'podunavailablebudget.policy.kruise.io "web" is forbidden: pub unavailable allowed is negative'
OF_DEPLOYMENT = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxUnavailable": 1}


def change(p: Tree, **changes: Any) -> Tree:
    return {**p, "spec": {**p["spec"], **changes}}


A = pod("a")
UPDATED = change(A, containers=[{"name": "c", "image": "web:2"}])
TRIES: dict[str, Attempt] = {
    "DELETE": attempt("DELETE", about=A),
    "EVICT": attempt("CREATE", about=None, subresource="eviction", obj={"kind": "Eviction"}, name="a"),
    "UPDATE": attempt("UPDATE", about=A, obj=UPDATED),
    "RESIZE": attempt("UPDATE", about=A, obj=UPDATED, subresource="resize"),
}
TRIES["EVICT"] = Attempt(**{f: getattr(TRIES["EVICT"], f) for f in Attempt.__slots__} | {"namespace": "shop"})


@pytest.mark.parametrize(("operation", "code"), [("DELETE", 403), ("EVICT", 429), ("UPDATE", 403), ("RESIZE", 0)])
def test_beyond_the_budget_is_refused(operation: str, code: int) -> None:
    """Deletion and update as forbidden, an eviction to be tried again; a resize is no disruption unless it is said."""
    found = budget_review.review(TRIES[operation], view(A, budget()))
    if code:
        assert found.refusal is not None
        assert (found.refusal.message, found.refusal.code) == (NEGATIVE, code)
    else:
        assert found == ALLOWED


@pytest.mark.parametrize(
    ("operation", "field"),
    [("DELETE", "disruptedPods"), ("EVICT", "disruptedPods"), ("UPDATE", "unavailablePods")],
)
def test_within_the_budget_takes_one(operation: str, field: str) -> None:
    """The status says what was admitted, when, and how many are left."""
    found = budget_review.review(TRIES[operation], view(A, budget(currentAvailable=3, unavailableAllowed=1)))
    (write,) = found.writes
    assert found.refusal is None
    assert (write.subresource, write.obj["metadata"]["resourceVersion"]) == ("status", "7")
    assert write.obj["status"]["unavailableAllowed"] == 0
    assert write.obj["status"][field] == {"a": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("p", "found"),
    [
        (pod("a", {"labels": {"app": "other"}}), budget()),
        (pod("a", conditions=[{"type": "Ready", "status": "False"}]), budget()),
        (pod("a", phase="Pending"), budget()),
        (pod("a", {"annotations": {"pub.kruise.io/no-protect": "true"}}), budget()),
        (pod("a", {"labels": {"app": "web", "unavailable-pod.fluid.io/x": ""}}), budget()),
        (pod("a", {"deletionTimestamp": "2026-01-01T11:59:00Z"}), budget()),
        (A, budget(desiredAvailable=0)),
        (A, budget(disruptedPods={"a": "2026-01-01T11:59:59Z"})),
        (A, budget(annotations={"kruise.io/pub-protect-operations": "EVICT,UPDATE"})),
        (A, budget(spec={"selector": {}, "maxUnavailable": 1})),
        (A, budget(spec=OF_DEPLOYMENT)),
    ],
    ids=[
        "other",
        "unready",
        "pending",
        "unprotected",
        "marked",
        "going",
        "none-needed",
        "noted",
        "operation",
        "empty",
        "ref",
    ],
)
def test_what_the_budget_is_not_about(p: Tree, found: Tree) -> None:
    """Pods that aren't available, aren't meant, or were counted before may go."""
    assert budget_review.review(attempt("DELETE", about=p), view(p, found)) == ALLOWED


def test_an_update_that_disrupts_nothing() -> None:
    """Labels and annotations may change; a label that makes the pod unavailable may not."""
    relabelled = {**A, "metadata": {**A["metadata"], "labels": {"app": "web", "x": "y"}}}
    marked = {**A, "metadata": {**A["metadata"], "labels": {"app": "web", "unavailable-pod.fluid.io/x": ""}}}
    assert budget_review.review(attempt("UPDATE", about=A, obj=relabelled), view(A, budget())) == ALLOWED
    assert budget_review.review(attempt("UPDATE", about=A, obj=marked), view(A, budget())).refusal is not None


def test_an_image_by_digest_that_does_not_run_yet() -> None:
    """Such a pod is being updated, so it counts as unavailable."""
    digest = "web@sha256:" + "a" * 64
    old, new = "docker.io/web@sha256:" + "b" * 64, "docker.io/" + digest
    for image, is_free in ((old, True), (new, False)):
        p = change(
            pod("a", containerStatuses=[{"name": "c", "imageID": image}]), containers=[{"name": "c", "image": digest}]
        )
        assert (budget_review.review(attempt("DELETE", about=p), view(p, budget())) == ALLOWED) is is_free


def test_a_target_is_found_through_its_replica_sets() -> None:
    """A Deployment's pods belong to its ReplicaSets."""
    p = pod("a", owned("apps/v1", "ReplicaSet", "web-1"))
    replicas = obj("ReplicaSet", "web-1", owned("apps/v1beta1", "Deployment", "web"), spec={"replicas": 3})
    found = budget_review.review(attempt("DELETE", about=p), view(p, replicas, budget(spec=OF_DEPLOYMENT)))
    assert found.refusal is not None


def test_annotations_add_operations() -> None:
    """A resize is protected where it is said."""
    told = budget(annotations={"kruise.io/pub-protect-operations": "RESIZE"})
    assert budget_review.review(TRIES["RESIZE"], view(A, told)).refusal is not None
    assert budget_review.review(TRIES["DELETE"], view(A, told)) == ALLOWED


# Counting


def counted(*found: Tree, answers: dict[Any, Any] | None = None) -> tuple[Plan, Tree]:
    plan = controller.reconcile(view(*found, answers=answers or {}), ("shop", "web"), NOW)
    return plan, plan.writes[0].obj["status"] if plan.writes else {}  # type: ignore[union-attr]


def workload(replicas: int = 3, **metadata: Any) -> list[Tree]:
    """A Deployment `web` with its ReplicaSet and three ready pods."""
    pods = [pod(name, owned("apps/v1", "ReplicaSet", "web-1")) for name in "abc"]
    replica_set = obj("ReplicaSet", "web-1", owned("apps/v1", "Deployment", "web"), spec={"replicas": replicas})
    return [obj("Deployment", "web", metadata, spec={"replicas": replicas}), replica_set, *pods]


@pytest.mark.parametrize(
    ("spec", "replicas", "desired", "allowed"),
    [
        ({"maxUnavailable": 1}, 3, 2, 1),
        ({"maxUnavailable": "50%"}, 3, 1, 2),
        ({"maxUnavailable": "100%"}, 3, 0, 3),
        ({"minAvailable": 3}, 3, 3, 0),
        ({"minAvailable": "50%"}, 3, 2, 1),
        ({"minAvailable": 9}, 3, 3, 0),
        ({"maxUnavailable": 1}, 2, 1, 2),
        ({"minAvailable": 1}, 0, 0, 3),
    ],
)
@pytest.mark.parametrize("by_target", [True, False])
def test_the_count(spec: Tree, replicas: int, desired: int, allowed: int, by_target: bool) -> None:
    """Percentages are of what the workload wants, rounded up; a workload that shrinks is not held up."""
    which = {"targetRef": OF_DEPLOYMENT["targetRef"]} if by_target else {"selector": {"matchLabels": {"app": "web"}}}
    _, status = counted(*workload(replicas), budget(spec={**which, **spec}))
    told = {
        "unavailableAllowed": allowed,
        "currentAvailable": 3,
        "desiredAvailable": desired,
        "totalReplicas": replicas,
    }
    assert status == {**told, "observedGeneration": 1}


@pytest.mark.parametrize("metadata", [{"deletionTimestamp": "2026-01-01T11:59:00Z"}, {"uid": "another"}])
def test_a_workload_that_goes_takes_its_pods_along(metadata: Tree) -> None:
    """Pods of a workload that is deleted need not stay."""
    target = {"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 2}
    deployment, replica_set, *pods = workload()
    replica_set["metadata"].update(metadata)
    _, status = counted(deployment, replica_set, *pods, budget(spec=target))
    assert (status["desiredAvailable"], status["totalReplicas"]) == (0, 0)


def test_noted_pods_count_as_gone_until_their_time_is_over() -> None:
    """Twenty seconds after a deletion that didn't happen somebody is told; an update has ten seconds."""
    noted = {"disruptedPods": {"a": "2026-01-01T11:59:45Z"}, "unavailablePods": {"b": "2026-01-01T11:59:55Z"}}
    plan, status = counted(*workload(), budget(**noted))
    assert (status["currentAvailable"], status["unavailableAllowed"], plan.again) == (1, 0, 5.0)
    assert {field: status[field] for field in noted} == noted
    late = {"disruptedPods": {"a": "2026-01-01T11:59:39Z"}, "unavailablePods": {"b": "2026-01-01T11:59:49Z"}}
    plan, status = counted(*workload(), budget(**late))
    assert (status["currentAvailable"], plan.again) == (3, None)
    assert not status.keys() & noted.keys()
    (event,) = plan.events
    assert (event.reason, event.message) == (
        "NotDeleted",
        "Pod was expected by PUB shop/web to be deleted but it wasn't",
    )


def test_a_target_of_another_kind_is_asked_for_its_scale() -> None:
    """Any workload with a scale will do; one that is gone wants none; a failure is told and looked at again."""
    target = {
        "targetRef": {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": "web"},
        "minAvailable": 1,
    }
    mine = [pod(name, owned("apps.kruise.io/v1alpha1", "CloneSet", "web")) for name in "ab"]
    (asked,) = counted(*mine, budget(spec=target))[0].ask
    assert asked == AskScale("apps.kruise.io/v1alpha1", "CloneSet", ("shop", "web"), with_deletion=True)
    _, status = counted(*mine, budget(spec=target), answers={asked: SCALE})
    assert (status["totalReplicas"], status["unavailableAllowed"]) == (2, 1)
    assert counted(*mine, budget(spec=target), answers={asked: GOING})[1]["desiredAvailable"] == 0
    assert counted(*mine, budget(spec=target), answers={asked: None})[1]["desiredAvailable"] == 0
    failed, _ = counted(*mine, budget(spec=target), answers={asked: "no such kind"})
    assert (failed.events[0].reason, failed.again) == ("CalculateExpectedPodCountFailed", 300.0)


CLONES = "apps.kruise.io/v1alpha1", "CloneSet"
ASKED = AskScale(*CLONES, ("shop", "web"), with_deletion=True)
COUNTED = AskScale(*CLONES, ("shop", "web"))
SCALE = {"metadata": {"uid": "CloneSet-web"}, "spec": {"replicas": 2}}
GOING = {**SCALE, "metadata": {**SCALE["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("answer", "desired"),
    [(SCALE, 1), (None, 0), ({**SCALE, "metadata": {"uid": "another"}}, 0), (GOING, 0)],
    ids=["there", "gone", "another", "going"],
)
def test_pods_of_a_workload_that_cannot_be_watched(answer: Any, desired: int) -> None:
    """They need not stay once it is gone or goes, and it is looked at every half a minute, since nobody tells."""
    mine = [pod(name, owned(*CLONES, "web")) for name in "ab"]
    assert counted(*mine, budget())[0].ask == (ASKED,)
    plan, status = counted(*mine, budget(), answers={ASKED: answer, COUNTED: answer})
    assert (status["desiredAvailable"], plan.again) == (desired, 30.0)


def test_what_has_no_scale_is_not_taken_for_gone() -> None:
    """It is told, and tried again."""
    plan, status = counted(
        pod("a", owned(*CLONES, "web")), budget(), answers={ASKED: "has no scale", COUNTED: "has no scale"}
    )
    assert ([event.reason for event in plan.events], status) == (["CalculateExpectedPodCountFailed"], {})


def test_the_garbage_collector_takes_what_has_lost_its_owner() -> None:
    """It has looked at the owner itself."""
    tried = attempt("DELETE", about=A, user="system:serviceaccount:kube-system:generic-garbage-collector")
    assert budget_review.review(tried, view(A, budget())) == ALLOWED


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": "abc"},
        {"selector": {"matchLabels": {"app": "web"}}, "minAvailable": "abc"},
        {"targetRef": {"kind": "Deployment"}, "maxUnavailable": 1},
    ],
)
def test_a_budget_that_cannot_be_read_is_told_of(spec: Tree) -> None:
    """It was stored while nobody looked; others are counted all the same."""
    plan, status = counted(*workload(), budget(spec=spec))
    assert (plan.events[-1].reason, status) == ("CalculateExpectedPodCountFailed", {})


def test_a_selector_that_cannot_be_read_is_about_no_pod() -> None:
    """Deletions are judged by the other budgets, and changes of pods wake the others."""
    odd = budget("a", spec={"selector": {"matchExpressions": [{"key": "a", "operator": "Foo"}]}, "maxUnavailable": 0})
    assert budget_review.review(TRIES["DELETE"], view(A, odd)) == ALLOWED
    assert budget_review.review(TRIES["DELETE"], view(A, odd, budget())).refusal is not None
    (watch,) = (each for each in controller.CONTROLLER.watches if each.kind is POD)
    assert [*watch.keys(view(A, odd, budget()), A)] == [("shop", "web")]


def test_the_definition_refuses_what_cannot_be_read() -> None:
    """Also while the layer doesn't run."""
    spec = DEFINITIONS[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    operator = spec["selector"]["properties"]["matchExpressions"]["items"]["properties"]["operator"]
    assert operator["enum"] == ["In", "NotIn", "Exists", "DoesNotExist"]
    for field in ("maxUnavailable", "minAvailable"):
        assert [re.match(spec[field]["pattern"], text) is None for text in ("25%", "abc", "5")] == [False, True, True]


def test_an_annotation_says_how_many_there_should_be() -> None:
    """Pods of nobody are protected so."""
    told = budget(annotations={"pub.kruise.io/protect-total-replicas": "10"})
    _, status = counted(pod("a"), pod("b"), told)
    assert (status["totalReplicas"], status["desiredAvailable"], status["unavailableAllowed"]) == (10, 9, 0)


def test_nothing_is_written_when_nothing_changes() -> None:
    """A look that finds the status as it should be writes nothing."""
    _, status = counted(*workload(), budget())
    plan, again = counted(*workload(), {**budget(), "status": status})
    assert (again, plan.events) == ({}, ())


# Writing budgets


SELECTOR = {"matchLabels": {"app": "web"}}
TARGET = OF_DEPLOYMENT["targetRef"]


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({"selector": SELECTOR, "maxUnavailable": 1}, []),
        ({"targetRef": TARGET, "minAvailable": "80%"}, []),
        (
            {"maxUnavailable": 1},
            ["spec.selector, targetRef: Required value: no selector or targetRef defined in PodUnavailableBudget"],
        ),
        (
            {"selector": SELECTOR, "targetRef": TARGET, "maxUnavailable": 1},
            ["spec.selector, targetRef: Required value: selector and targetRef are mutually exclusive"],
        ),
        ({"targetRef": {"kind": "Deployment"}, "maxUnavailable": 1}, ["empty TargetReference is not valid"]),
        ({"selector": {}, "maxUnavailable": 1}, ["empty selector is not valid for PodUnavailableBudget."]),
        ({"selector": SELECTOR}, ["no maxUnavailable or minAvailable defined in PodUnavailableBudget"]),
        (
            {"selector": SELECTOR, "maxUnavailable": 1, "minAvailable": 1},
            ["maxUnavailable and minAvailable are mutually exclusive"],
        ),
        ({"selector": SELECTOR, "maxUnavailable": "101%"}, ["must not be greater than 100%"]),
        ({"selector": SELECTOR, "maxUnavailable": -1}, ["must be greater than or equal to 0"]),
        ({}, ["no selector or targetRef", "no maxUnavailable or minAvailable"]),
    ],
)
def test_what_a_budget_must_say(spec: Tree, texts: list[str]) -> None:
    """All that is wrong is in one refusal."""
    found = budget_rules.review(attempt("CREATE", "podunavailablebudgets", obj=budget(spec=spec)), view())
    assert (found.refusal is None) == (not texts)
    for text in texts:
        assert found.refusal is not None
        assert text in found.refusal.message
        assert found.refusal.code == 400


@pytest.mark.parametrize(
    ("mine", "theirs", "text"),
    [
        (
            {"selector": SELECTOR},
            {"selector": SELECTOR},
            "pub.spec.selector is in conflict with other PodUnavailableBudget",
        ),
        ({"selector": SELECTOR}, {"selector": {"matchLabels": {"app": "db"}}}, None),
        ({"selector": SELECTOR}, {"selector": {"matchLabels": {"tier": "front"}}}, None),
        ({"targetRef": TARGET}, {"targetRef": TARGET}, "pub.spec.targetReference is in conflict with"),
        ({"targetRef": TARGET}, {"targetRef": {**TARGET, "name": "db"}}, None),
        (
            {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}},
            {"selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}},
            "pub.spec.selector is in conflict",
        ),
        (
            {"selector": SELECTOR},
            {"selector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}},
            None,
        ),
    ],
)
def test_budgets_do_not_overlap(mine: Tree, theirs: Tree, text: str | None) -> None:
    """As far as their selectors or targets show it."""
    other = budget("other", spec={**theirs, "maxUnavailable": 1})
    tried = attempt("CREATE", "podunavailablebudgets", obj=budget(spec={**mine, "maxUnavailable": 1}))
    found = budget_rules.review(Attempt(**_fields(tried) | {"namespace": "shop"}), view(other))
    assert text is None if found.refusal is None else text is not None and text in found.refusal.message


def test_what_a_budget_is_about_stays() -> None:
    """Selector and target cannot be changed; the number can."""
    old = budget()
    more = budget(spec={"selector": SELECTOR, "maxUnavailable": 2})
    moved = budget(spec={"selector": {"matchLabels": {"app": "db"}}, "maxUnavailable": 1})
    assert budget_rules.review(attempt("UPDATE", "p", old, obj=more), view(old)) == ALLOWED
    found = budget_rules.review(attempt("UPDATE", "p", old, obj=moved), view(old)).refusal
    assert found is not None
    assert "selector and targetRef cannot be modified" in found.message


@pytest.mark.parametrize(
    "annotations", [{"kruise.io/pub-protect-operations": "DELETE,NAP"}, {"pub.kruise.io/protect-total-replicas": "x"}]
)
def test_annotations_are_checked(annotations: Tree) -> None:
    """An operation that nobody knows, a number that is none."""
    found = budget_rules.review(attempt("CREATE", "p", obj=budget(annotations=annotations)), view())
    assert found.refusal is not None
    assert f"annotation[{next(iter(annotations))}] is invalid" in found.refusal.message


def _fields(tried: Attempt) -> Tree:
    return {field: getattr(tried, field) for field in Attempt.__slots__}
