"""What the label policy.kruise.io/delete-protection forbids."""

from typing import Any

import pytest

from sampan.control.plan import AskList
from sampan.control.view import View
from sampan.platform.protection import delete_protection
from sampan.platform.protection.delete_protection import LABEL, review
from sampan.platform.review import ALLOWED
from tests.platform.protection.world import attempt, obj, owned, pod, view

Tree = dict[str, Any]
FORBIDDEN = f"forbidden by ResourcesProtectionDeletion for {LABEL}="


def labelled(kind: str, wish: str, **fields: Any) -> Tree:
    return obj(kind, "web", {"labels": {LABEL: wish}}, **fields)


def namespace(wish: str) -> Tree:
    made = labelled("Namespace", wish)
    return {**made, "metadata": {**made["metadata"], "name": "shop", "namespace": ""}}


WIDGETS: Tree = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com", "uid": "d", "labels": {LABEL: "Cascading"}},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        ("namespaces", "Namespace"),
        ("customresourcedefinitions.apiextensions.k8s.io", "CustomResourceDefinition"),
        ("deployments.apps", "Deployment"),
        ("statefulsets.apps", "StatefulSet"),
        ("replicasets.apps", "ReplicaSet"),
        ("clonesets.apps.kruise.io", "CloneSet"),
        ("statefulsets.apps.kruise.io", "StatefulSet"),
        ("uniteddeployments.apps.kruise.io", "UnitedDeployment"),
        ("rollouts.argoproj.io", "Rollout"),
        ("services", "Service"),
        ("ingresses.networking.k8s.io", "Ingress"),
        ("daemonsets.apps", "DaemonSet"),
        ("cronjobs.batch", "CronJob"),
        ("jobs.batch", "Job"),
        ("replicationcontrollers", "ReplicationController"),
        ("pods", "Pod"),
        ("secrets", "Secret"),
        ("widgets.example.com", "Widget"),
    ],
)
def test_always_is_always(resource: str, kind: str) -> None:
    """Every protected kind is refused with the label's value, and says how to lift it; without the label it goes."""
    found = review(attempt("DELETE", resource, labelled(kind, "Always")), view())
    assert found.refusal is not None
    assert (found.refusal.message, found.refusal.code) == (f"{FORBIDDEN}Always", 403)
    assert f"{LABEL}-" in found.warnings[0]
    assert review(attempt("DELETE", resource, obj(kind, "web")), view()) == ALLOWED
    (rule,) = delete_protection.REVIEWER.rules
    assert (rule["apiGroups"], rule["resources"]) == (["*"], ["*"])


@pytest.mark.parametrize(
    ("resource", "about", "others", "contents"),
    [
        ("namespaces", namespace("Cascading"), [pod("a"), pod("b", phase="Failed")], "active pods 1>0"),
        (
            "namespaces",
            namespace("Cascading"),
            [obj("PersistentVolumeClaim", "data", status={"phase": "Bound"})],
            '"Bound" status pvc 1>0',
        ),
        ("namespaces", namespace("Cascading"), [obj("PersistentVolumeClaim", "data", status={"phase": "Lost"})], None),
        ("namespaces", namespace("Cascading"), [pod("a", {"deletionTimestamp": "2026-01-01T11:59:00Z"})], None),
        ("namespaces", namespace("Cascading"), [pod("a", {"namespace": "other"})], None),
        ("deployments.apps", labelled("Deployment", "Cascading", spec={"replicas": 3}), [], "replicas 3>0"),
        ("deployments.apps", labelled("Deployment", "Cascading", spec={"replicas": 0}), [], None),
        ("services", labelled("Service", "Cascading"), [pod("a")], None),
        (
            "daemonsets.apps",
            labelled("DaemonSet", "cascading", status={"desiredNumberScheduled": 2}),
            [],
            "replicas 2>0",
        ),
        ("secrets", labelled("Secret", "Cascading"), [pod("a")], None),
        ("namespaces", namespace(""), [pod("a")], None),
    ],
)
def test_cascading_is_while_something_is_in_it(
    resource: str, about: Tree, others: list[Tree], contents: str | None
) -> None:
    """An empty object may go; one with contents is refused, and they are counted."""
    found = review(attempt("DELETE", resource, about), view(*others))
    if contents is None:
        assert found == ALLOWED
    else:
        assert found.refusal is not None
        assert found.refusal.message == f"{FORBIDDEN}Cascading and {contents}"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (({"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}), f"{FORBIDDEN}Cascading and active CRs 2>0"),
        (({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T11:59:00Z"}},), None),
        ((), None),
        ("down", "failed to list CRs of example.com/v1, Kind=Widget: down"),
    ],
)
def test_a_definition_with_objects_stays(answer: Any, text: str | None) -> None:
    """The rule asks for the objects of the kind; what can't be told is not destroyed."""
    tried = attempt("DELETE", "customresourcedefinitions.apiextensions.k8s.io", WIDGETS)
    (asked,) = review(tried, view()).ask
    assert isinstance(asked, AskList)
    assert (asked.kind.group, asked.kind.plural, asked.namespace) == ("example.com", "widgets", "")
    found = review(tried, _answered(answer))
    assert (found.refusal.message if found.refusal else None) == text


def _answered(answer: Any) -> View:
    class Answers(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            return answer

    return View({}, answers=Answers())


@pytest.mark.parametrize(("wish", "told", "warnings"), [("always", "Always", 1), ("true", "true", 2)])
def test_another_value_is_not_silently_nothing(wish: str, told: str, warnings: int) -> None:
    """It protects as Always does, and a warning says so unless it is just written otherwise."""
    found = review(attempt("DELETE", "namespaces", namespace(wish)), view())
    assert found.refusal is not None
    assert found.refusal.message == FORBIDDEN + told
    assert len(found.warnings) == warnings


@pytest.mark.parametrize(
    ("owner", "user", "is_refused"),
    [
        (None, "alice", True),
        (None, "system:kube-scheduler", False),
        (None, "system:serviceaccount:kube-system:ttl-after-finished-controller", False),
        ("ReplicaSet", "alice", False),
    ],
)
def test_a_label_that_was_handed_down_protects_nothing(owner: str | None, user: str, is_refused: bool) -> None:
    """Pods get labels from templates: those that are controlled may go, and components may take any; not a DaemonSet."""
    metadata = owned("apps/v1", owner, "web-1") if owner else {}
    about = obj("Pod", "web", {**metadata, "labels": {LABEL: "Always"}})
    assert (review(attempt("DELETE", "pods", about, user=user), view()).refusal is not None) is is_refused
    assert review(attempt("DELETE", "daemonsets.apps", about, user=user), view()).refusal is not None


def test_what_is_being_deleted_goes_on() -> None:
    """A second deletion, as of who takes finalizers away, is not refused."""
    about = labelled("Namespace", "Always")
    about["metadata"]["deletionTimestamp"] = "2026-01-01T11:59:00Z"
    assert review(attempt("DELETE", "namespaces", about), view()) == ALLOWED
