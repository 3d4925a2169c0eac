"""What is read, and told: what may not be read, odd objects beside others, custom resources among the workloads."""

import functools
from collections.abc import Mapping
from typing import Any

import pytest

from sampan.cli import asking
from sampan.client.api import Client
from sampan.cluster import diagnosis
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import CLUSTER, NAMESPACED, Kind
from sampan.platform.health import judge, text
from sampan.platform.health.lookup import UNREADABLE, Known, ListOf
from sampan.platform.health.verdict import Verdict
from sampan.testing import Cluster
from sampan.web.message import Peer
from tests.platform.health import planting

SHIP = Kind("example.com", ("v1",), "Ship", "ships", NAMESPACED)
FLEET = Kind("example.com", ("v1",), "Fleet", "fleets", CLUSTER)
PENDING = """
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodeSelector: {no: where}, containers: [{name: web, image: web}]}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: pods}, rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: pods}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: pods},
  subjects: [{kind: User, name: bob, apiGroup: rbac.authorization.k8s.io}]}
"""
ROLLOUT = """
{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {app: web}}, strategy: {canary: {}},
  template: {metadata: {labels: {app: web}}, spec: {nodeSelector: {no: where}, containers: [{name: web, image: web}]}}}}
"""


class Closed:
    """A transport that nobody asks."""

    async def close(self) -> None:
        """There is nothing to close."""


def over(objects: Mapping[Kind, list[dict[str, Any]]], namespace: str = "default") -> tuple[Verdict, ...]:
    """All that is not healthy among these and nothing else."""
    answers: dict[Any, Any] = {}
    while True:
        look = Known(0.0, tuple(objects), answers)
        found = judge.everything(namespace, look)
        if not look.open:
            return found
        answers |= {q: tuple(objects.get(q.kind, ())) if isinstance(q, ListOf) else None for q in look.open}


def test_what_may_not_be_read_is_named() -> None:
    """A user with a right to pods only is told about pods, and what was not looked at."""
    with Cluster() as cluster:
        cluster.apply(PENDING)
        cluster.advance(60)
        client = Client(cluster.sim.doors.door(Peer("bob", ())), "bob")
        rule = functools.partial(judge.everything, "default")
        found, look = cluster.run(diagnosis.carry_out(client, rule, cluster.now.timestamp()))
    assert [each.subject for each in found] == ["pod/web"]
    assert "does not exist" not in text.several(found, "default", look.unread)
    assert {"deployments in default", "nodes", "namespace/default"} <= set(look.unread)
    assert text.several((), "default", look.unread).startswith("everything that you may read is healthy")
    assert "not looked at, for it can't be read: " in text.one(found[0], look.unread)


def test_unread_in_words() -> None:
    """Each once, and in JSON too."""
    look = Known(0.0, (), {ListOf(SECRET, "shop"): UNREADABLE})
    assert look.unread == ("secrets in shop",)
    assert text.tree(Verdict("pod/web"), look.unread)["unread"] == ["secrets in shop"]


def test_an_odd_object_does_not_hide_the_others() -> None:
    """It is told of itself as what could not be understood."""
    fine = {"metadata": {"name": "b", "namespace": "default", "generation": 1}, "status": {"phase": "Failed"}}
    odd = {"metadata": {"name": "a", "namespace": "default", "generation": "x"}, "status": {"observedGeneration": 1}}
    assert [each.reason for each in over({SHIP: [odd, fine]})] == ["Failed", "NotUnderstood"]


def test_what_is_in_no_namespace_is_seen_with_all_namespaces() -> None:
    """Custom resources of the whole cluster, their definitions, and APIs that nobody serves; not in one namespace."""

    def named(name: str, **condition: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "status": {"conditions": [{"status": "False", **condition}]}}

    since = {"lastTransitionTime": "1969-01-01T00:00:00Z"}
    missing = named("v1.example.com", type="Available", reason="ServiceNotFound", message="no such service", **since)
    objects = {
        FLEET: [named("north", type="Ready", reason="Aground", **since), named("south", type="Ready", status="True")],
        APISERVICE: [missing, named("v1.", type="Available", status="True")],
        CUSTOMRESOURCEDEFINITION: [named("ships.example.com", type="NamesAccepted", reason="Conflict", **since)],
    }
    found = sorted((each.subject, each.reason) for each in over(objects, ""))
    assert found == [
        ("apiservice/v1.example.com", "ServiceNotFound"),
        ("customresourcedefinition/ships.example.com", "Conflict"),
        ("fleet/north", "Aground"),
    ]
    assert over(objects) == ()


def test_words_do_nothing_to_a_terminal() -> None:
    """Wherever they come from."""
    verdict = Verdict("pod/web", "Failed", "Odd", "says \x1b[2J", next=("look \x9b2J",))
    assert not {"\x1b", "\x9b"} & {*text.one(verdict), *text.several([verdict], "here"), *text.headline(verdict)}


def test_workloads_of_custom_resources() -> None:
    """What `sampan status` tells: a Rollout whose pods have no place."""
    with Cluster(layers=["rollouts"]) as cluster:
        cluster.apply(ROLLOUT)
        cluster.advance(300)
        served = cluster.run(diagnosis.kinds(cluster.client))
        rule = functools.partial(judge.workloads_of, "")
        found, _ = cluster.run(diagnosis.carry_out(cluster.client, rule, cluster.now.timestamp(), served))
    assert [(each.subject, each.root.reason) for each in found] == [("rollout/web", "NodeSelector")]


def test_an_error_of_ours_is_not_the_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a kubeconfig's ValueError is an answer to a user."""
    monkeypatch.setattr("sampan.client.http.HttpTransport", lambda access: Closed())
    monkeypatch.setattr(asking, "access", lambda kubeconfig, context: None)

    async def broken(client: Client) -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        asking.ask(planting.PLANTS, broken)
