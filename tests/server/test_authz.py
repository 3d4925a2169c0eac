"""Authorization: RBAC, nodes, escalation, and their words."""

from typing import Any

import pytest

from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind
from sampan.server.authz import escalation, nodes
from sampan.server.authz import rules as rules_module
from sampan.server.authz.decision import DENIED, Attributes, message
from sampan.server.authz.graph import Graph
from sampan.server.authz.rules import Rules, summary
from sampan.server.cache import Item
from sampan.server.identity import User
from sampan.server.narrow import ByNode

JANE = User("jane", groups=("devs", "system:authenticated"))


def role(name: str, *rules: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    kind = "Role" if namespace else "ClusterRole"
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": list(rules)}


def binding(name: str, to: dict[str, Any], subject: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    return {
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": to["kind"], "name": to["metadata"]["name"]},
        "subjects": [subject],
    }


READ_PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/log"]}


def test_binding_gives_its_role() -> None:
    """A cluster role bound in a namespace holds there only, until the binding goes."""
    view = role("view", READ_PODS)
    rules = Rules.from_objects([view], [binding("b", view, {"kind": "Group", "name": "devs"}, "default")])
    asked = Attributes("list", resource="pods", namespace="default")
    found = rules.allowed(JANE, asked)
    assert found.allowed
    assert found.reason == 'RBAC: allowed by RoleBinding "b/default" of ClusterRole "view" to Group "devs"'
    assert rules.allowed(JANE, Attributes("get", resource="pods", subresource="log", namespace="default")).allowed
    assert not rules.allowed(JANE, Attributes("get", resource="pods", subresource="exec", namespace="default")).allowed
    assert not rules.allowed(JANE, Attributes("list", resource="pods")).allowed
    assert not rules.allowed(JANE, Attributes("list", resource="pods", namespace="other")).allowed
    assert not rules.allowed(JANE, Attributes("list", "apps", "pods", namespace="default")).allowed
    rules.remove("RoleBinding", "default", "b")
    assert not rules.allowed(JANE, asked).allowed


def test_what_was_asked_before_is_asked_again_after_a_change() -> None:
    """A new or removed binding and a changed role count at once, for what was allowed and what was not."""
    view, named = role("view", READ_PODS), role("view", {**READ_PODS, "resourceNames": ["a"]})
    bound = binding("b", view, {"kind": "User", "name": "jane"}, "default")
    rules = Rules.from_objects([view], [])
    a, b = (Attributes("get", resource="pods", namespace="default", name=name) for name in "ab")

    def may() -> tuple[bool, bool]:
        return rules.allowed(JANE, a).allowed, rules.allowed(JANE, b).allowed

    assert may() == (False, False)
    rules.update(bound)
    assert may() == (True, True)
    rules.update(named)
    assert may() == (True, False)
    rules.remove("RoleBinding", "default", "b")
    assert may() == (False, False)
    rules.update(bound)
    rules.remove("ClusterRole", "", "view")
    assert may() == (False, False)


def test_a_resource_with_a_slash_is_no_subresource() -> None:
    """Who asks for deployments/scale as if it were a resource is refused, and spoils nothing for the subresource's user."""
    scaler = role("scaler", {"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]})
    user = User("jane")
    slash, real = (
        Attributes("get", "apps", resource, subresource, "default", "d")
        for resource, subresource in (("deployments/scale", ""), ("deployments", "scale"))
    )
    for asked in ((slash, real), (real, slash)):
        rules = Rules.from_objects([scaler], [binding("b", scaler, {"kind": "User", "name": "jane"})])
        assert [rules.allowed(user, each).allowed for each in asked] == [each is real for each in asked]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of rules too: a user with many bindings can ask about many namespaces."""
    monkeypatch.setattr(rules_module, "MAX_NEAR", 50)
    view = role("view", READ_PODS)
    many = [binding(f"b{n}", view, {"kind": "User", "name": "jane"}) for n in range(20)]
    here = [binding("own", view, {"kind": "User", "name": "jane"}, namespace=f"n{n}") for n in range(30)]
    rules = Rules.from_objects([view], [*many, *here])
    for n in range(30):
        assert rules.allowed(JANE, Attributes("get", resource="pods", namespace=f"n{n}")).allowed
        assert sum(map(len, rules._asked.values())) < 50 + len(many)


def test_namespaces_that_come_and_go_are_not_remembered() -> None:
    """Where nothing is bound all are alike; and what has a name of any length is judged, and forgotten."""
    view = role("view", READ_PODS)
    jane = {"kind": "User", "name": "jane"}
    rules = Rules.from_objects([view], [binding("b", view, jane), binding("own", view, jane, namespace="here")])
    asked = [Attributes("get", resource="pods", namespace=f"n{n}") for n in range(30)]
    assert all(rules.allowed(JANE, each).allowed for each in asked)
    assert len(rules._asked) == 1
    assert rules.allowed(JANE, Attributes("get", resource="pods", namespace="here")).allowed
    assert len(rules._asked) == 2


LONG = "x" * (rules_module.MAX_ASKED_LENGTH + 1)


@pytest.mark.parametrize(
    ("user", "changed"),
    [
        (JANE, {"verb": LONG}),
        (JANE, {"group": LONG}),
        (JANE, {"resource": LONG}),
        (JANE, {"subresource": LONG}),
        (User(LONG), {}),
        (User("jane", groups=(LONG[:600], LONG[600:])), {}),
    ],
)
def test_what_is_long_is_not_remembered(user: User, changed: dict[str, str]) -> None:
    """It is judged each time, by the same rules."""
    everything = role("all", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
    subjects = [{"kind": "User", "name": name} for name in {"jane", user.name}]
    rules = Rules.from_objects([everything], [binding(each["name"], everything, each) for each in subjects])
    asked = Attributes(**{"verb": "get", "resource": "pods", **changed})
    assert rules.allowed(user, asked).allowed
    assert not rules._asked


def test_names_and_paths() -> None:
    """resourceNames narrow; non-resource URLs match by prefix; service accounts are users."""
    mine = role("r", {**READ_PODS, "resourceNames": ["a"]}, {"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]})
    account = {"kind": "ServiceAccount", "name": "app", "namespace": "default"}
    rules = Rules.from_objects([mine], [binding("b", mine, account)])
    user = User("system:serviceaccount:default:app")
    assert rules.allowed(user, Attributes("get", resource="pods", namespace="x", name="a")).allowed
    assert not rules.allowed(user, Attributes("get", resource="pods", namespace="x", name="b")).allowed
    assert not rules.allowed(user, Attributes("list", resource="pods", namespace="x")).allowed
    assert rules.allowed(user, Attributes("get", path="/healthz/ping", is_resource=False)).allowed
    assert not rules.allowed(user, Attributes("get", path="/metrics", is_resource=False)).allowed
    resources, paths = summary(rule for _, rule in rules.rules_of(user, "default"))
    assert resources == [{**READ_PODS, "resourceNames": ["a"]}]
    assert paths == [{"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}]


def test_words_of_a_refusal() -> None:
    """Clients match these texts."""
    text = 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
    assert message(JANE, Attributes("list", resource="pods", namespace="default"), DENIED) == text
    text = 'nodes "n" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope'
    assert message(JANE, Attributes("get", resource="nodes", name="n"), DENIED) == text
    text = 'forbidden: User "jane" cannot get path "/metrics"'
    assert message(JANE, Attributes("get", path="/metrics", is_resource=False), DENIED) == text


def test_escalation() -> None:
    """What is not held is named; what is held may be granted."""
    wanted = [{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]}]
    text = escalation.refusal(JANE, [READ_PODS], wanted)
    assert text.startswith('user "jane" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC')
    assert text.endswith('not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}')
    assert escalation.refusal(JANE, [READ_PODS], [{**wanted[0], "verbs": ["get"]}]) == ""
    named = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}
    assert escalation.refusal(JANE, [named], [{**wanted[0], "verbs": ["get"]}])


def test_node_reads_only_its_own() -> None:
    """A node reads its own Node, its own pods and what they refer to; admission limits what it writes."""
    pods = nodes.Pods(lambda node, _ns, pod: (node, pod) == ("n1", "mine"), lambda _n, _r, _ns, name: name == "used")
    allowed = [
        Attributes("get", resource="nodes", name="n1"),
        Attributes("watch", resource="nodes", name="n1"),
        Attributes("update", resource="nodes", subresource="status", name="n1"),
        Attributes("get", resource="pods", namespace="d", name="mine"),
        Attributes("list", resource="pods", fields="spec.nodeName=n1"),
        Attributes("watch", resource="pods", fields="status.phase!=Failed,spec.nodeName==n1"),
        Attributes("patch", resource="pods", subresource="status", namespace="d", name="mine"),
        Attributes("delete", resource="pods", namespace="d", name="mine"),
        Attributes("get", resource="secrets", namespace="d", name="used"),
        Attributes("create", resource="serviceaccounts", subresource="token", namespace="d", name="used"),
        Attributes("update", "coordination.k8s.io", "leases", namespace="kube-node-lease", name="n1"),
        Attributes("watch", resource="services"),
    ]
    refused = [
        Attributes("get", resource="nodes", name="n2"),
        Attributes("list", resource="nodes"),
        Attributes("update", resource="nodes", subresource="proxy", name="n1"),
        Attributes("get", resource="pods", namespace="d", name="other"),
        Attributes("list", resource="pods"),
        Attributes("list", resource="pods", namespace="d", fields="spec.nodeName=n2"),
        Attributes("list", resource="pods", fields="spec.nodeName!=n1"),
        Attributes("list", resource="pods", fields="spec.nodeName"),
        Attributes("update", resource="pods", namespace="d", name="mine"),
        Attributes("deletecollection", resource="pods", fields="spec.nodeName=n1"),
        Attributes("get", resource="secrets", namespace="d", name="other"),
        Attributes("list", resource="secrets", namespace="d"),
        Attributes("update", resource="secrets", namespace="d", name="used"),
        Attributes("update", "coordination.k8s.io", "leases", namespace="kube-system", name="n1"),
        Attributes("get", path="/metrics", is_resource=False),
        Attributes("create", resource="pods", subresource="exec", namespace="d", name="mine"),
        Attributes("create", resource="pods", subresource="binding", namespace="d", name="mine"),
    ]
    assert [a for a in allowed if not nodes.authorize("n1", a, pods).allowed] == []
    assert [a for a in refused if nodes.authorize("n1", a, pods).allowed] == []
    assert nodes.node_name(User("system:node:n1")) == ""
    assert nodes.node_name(User("system:node:n1", groups=("system:nodes",))) == "n1"


class World:
    """Live objects, and the pods' cache, as far as the graph needs them."""

    def __init__(self, *trees: dict[str, Any]) -> None:
        self.items = {(t["kind"], t["metadata"].get("namespace", ""), t["metadata"]["name"]): t for t in trees}
        pods = [f"{namespace}/{name}" for kind, namespace, name in self.items if kind == "Pod"]
        self.by_node = ByNode(lambda key: self.get(POD, *key.split("/")), pods)

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None:
        tree = self.items.get((kind.name, namespace, name))
        return None if tree is None else Item.of(tree)

    def of(self, kind: Kind) -> "World":
        return self


def obj(kind: str, name: str, namespace: str = "", **parts: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, **parts}


def test_a_node_reads_what_its_pods_lead_to() -> None:
    """Claims, the volumes behind them and those volumes' secrets, attachments, resource claims and slices."""
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "e", "ephemeral": {}}]
    volumes.append({"name": "i", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "inline"}}})
    spec = {"nodeName": "n1", "volumes": volumes, "resourceClaims": [{"name": "g", "resourceClaimName": "gpu"}]}
    status = {"resourceClaimStatuses": [{"name": "h", "resourceClaimName": "made"}]}
    reference = {"name": "key", "namespace": "vault"}
    volume = {"claimRef": {"namespace": "d", "name": "c"}, "csi": {"nodeStageSecretRef": reference}}
    mirror = {**obj("Pod", "m", "d", spec={"nodeName": "n1", "volumes": [{"secret": {"secretName": "s"}}]})}
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    world = World(
        obj("Pod", "p", "d", spec=spec, status=status),
        mirror,
        obj("PersistentVolumeClaim", "c", "d", spec={"volumeName": "pv"}),
        obj("PersistentVolume", "pv", spec=volume),
        obj("PersistentVolume", "other", spec={"claimRef": {"namespace": "d", "name": "z"}}),
        obj("VolumeAttachment", "a", spec={"nodeName": "n1"}),
        obj("ResourceSlice", "s1", spec={"nodeName": "n1"}),
    )
    graph = Graph(world)
    graph.start(world)  # type: ignore[arg-type]
    pods = nodes.Pods(graph.is_bound, graph.refers)
    claims, resources = "persistentvolumeclaims", "resource.k8s.io"
    allowed = [
        Attributes("get", resource=claims, namespace="d", name="c"),
        Attributes("get", resource=claims, namespace="d", name="p-e"),
        Attributes("patch", resource=claims, subresource="status", namespace="d", name="c"),
        Attributes("get", resource="persistentvolumes", name="pv"),
        Attributes("get", resource="secrets", namespace="vault", name="key"),
        Attributes("get", "storage.k8s.io", "volumeattachments", name="a"),
        Attributes("get", resources, "resourceclaims", namespace="d", name="gpu"),
        Attributes("get", resources, "resourceclaims", namespace="d", name="made"),
        Attributes("update", resources, "resourceslices", name="s1"),
        Attributes("create", resources, "resourceslices"),
        Attributes("watch", resources, "resourceslices", fields="spec.nodeName=n1"),
        Attributes("update", "storage.k8s.io", "csinodes", name="n1"),
        Attributes("get", resource="secrets", namespace="d", name="inline"),
        Attributes("watch", resource="secrets", namespace="d", name="inline", fields="metadata.name=inline"),
    ]
    refused = [
        Attributes("list", resource=claims, namespace="d"),
        Attributes("update", resource=claims, namespace="d", name="c"),
        Attributes("get", resource="persistentvolumes", name="other"),
        Attributes("get", resource="secrets", namespace="vault", name="other"),
        Attributes("get", resource="secrets", namespace="d", name="s"),
        Attributes("list", "storage.k8s.io", "volumeattachments"),
        Attributes("get", resources, "resourceclaims", namespace="d", name="x"),
        Attributes("list", resources, "resourceslices"),
        Attributes("watch", resources, "resourceslices", fields="spec.nodeName=n2"),
        Attributes("get", resources, "resourceslices", name="s2"),
        Attributes("get", "storage.k8s.io", "csinodes", name="n2"),
    ]
    assert [a for a in allowed if not nodes.authorize("n1", a, pods).allowed] == []
    assert [a for a in refused if nodes.authorize("n1", a, pods).allowed] == []
    assert [a for a in (*allowed[:9], allowed[10]) if nodes.authorize("n2", a, pods).allowed] == []
    del world.items["Pod", "d", "p"]
    world.by_node.note("d/p")
    assert not nodes.authorize("n1", allowed[0], pods).allowed


def test_who_continues_knows_the_rules_and_has_his_own() -> None:
    """A fork's server answers as the one before it, and what is changed in one is not changed in the other."""
    jane = {"kind": "User", "name": "jane"}
    view = role("view", READ_PODS)
    before, after = Rules.from_objects([view], [binding("b", view, jane, "default")]), Rules()
    after.continue_from(before)
    asked = JANE, Attributes("get", resource="pods", namespace="default")
    assert after.allowed(*asked) == before.allowed(*asked)
    assert after.allowed(*asked).allowed
    after.remove("RoleBinding", "default", "b")
    assert not after.allowed(*asked).allowed
    assert before.allowed(*asked).allowed
    before.remove("ClusterRole", "", "view")
    after.update(binding("b", view, jane, "default"))
    assert not before.allowed(*asked).allowed
    assert after.allowed(*asked).allowed
