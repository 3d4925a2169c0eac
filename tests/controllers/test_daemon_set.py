"""The DaemonSet controller on many nodes: a bounded number of pods at once."""

from typing import Any

import pytest

from sampan.control import daemon_history, revisions
from sampan.control.plan import Create, Delete, Plan
from sampan.control.view import Snapshot, View
from sampan.controllers import daemon_set

NODES = [{"kind": "Node", "metadata": {"name": f"n{i}"}, "spec": {}} for i in range(300)]
TEMPLATE = {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
STRATEGY = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}}
SPEC = {"selector": {"matchLabels": {"app": "log"}}, "template": TEMPLATE, "updateStrategy": STRATEGY}
METADATA = {"name": "log", "namespace": "default", "uid": "u", "generation": 1}
DAEMON_SET: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": METADATA, "spec": SPEC}


def pod(number: int) -> dict[str, Any]:
    """An old one, on the node of that number."""
    owner = revisions.new(daemon_history.STYLE, DAEMON_SET, 1, 0)["metadata"]["ownerReferences"]
    metadata = {"name": f"log-{number}", "namespace": "default", "uid": f"p{number}", "labels": {"app": "log"}}
    return {"kind": "Pod", "metadata": metadata | {"ownerReferences": owner}, "spec": {"nodeName": f"n{number}"}}


def view(pods: list[dict[str, Any]], nodes: list[dict[str, Any]] = NODES) -> View:
    found = {"daemonsets.apps": [DAEMON_SET], "controllerrevisions.apps": [], "nodes": nodes, "pods": pods}
    return View({name: Snapshot(items) for name, items in found.items()})


def plan(pods: list[dict[str, Any]]) -> Plan:
    return daemon_set.reconcile(view(pods), ("default", "log"), 0.0)


def test_a_bounded_number_at_once() -> None:
    """250 pods are created in one go, and 250 deleted; the others have their turn when these were seen."""
    assert [len(stage.writes) for stage in plan([]).stages] == [1, 250, 1]
    assert all(isinstance(write, Create) for write in plan([]).stages[1].writes)
    replaced = plan([pod(number) for number in range(300)])
    assert [len(stage.writes) for stage in replaced.stages] == [1, 250, 1]
    assert all(isinstance(write, Delete) for write in replaced.stages[1].writes)


def test_many_nodes_are_looked_at_in_steps() -> None:
    """So that others have their turn; a few are looked at in one go. What comes of it is the same."""
    nodes = [{"kind": "Node", "metadata": {"name": f"n{i}"}, "spec": {}} for i in range(2500)]
    looked = daemon_set.look(view([pod(number) for number in range(1200)], nodes), ("default", "log"), 0.0)
    steps, found = 0, None
    while found is None:
        try:
            next(looked)
            steps += 1
        except StopIteration as end:
            found = end.value
    assert steps >= 5
    assert found == daemon_set.reconcile(view([pod(n) for n in range(1200)], nodes), ("default", "log"), 0.0)
    with pytest.raises(StopIteration):
        next(daemon_set.look(view([]), ("default", "log"), 0.0))


def test_who_has_many_pods_rests_when_there_is_nothing_to_do() -> None:
    """Each look costs as much as it has pods, and each pod changes several times; while pods are missing it goes on."""
    revision = revisions.new(daemon_history.STYLE, DAEMON_SET, 1, 0)
    code = revision["metadata"]["labels"][daemon_history.STYLE.label]
    pods = [pod(number) for number in range(300)]
    for p in pods:
        p["metadata"]["labels"] = {"app": "log", "controller-revision-hash": code}
    assert plan(pods).rest == pytest.approx(0.03)
    assert plan(pods[:290]).rest == 0.0
