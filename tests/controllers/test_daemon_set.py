"""The DaemonSet controller on many nodes: a bounded number of pods at once."""

from typing import Any

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


def plan(pods: list[dict[str, Any]]) -> Plan:
    found = {"daemonsets.apps": [DAEMON_SET], "controllerrevisions.apps": [], "nodes": NODES, "pods": pods}
    return daemon_set.reconcile(View({name: Snapshot(items) for name, items in found.items()}), ("default", "log"), 0.0)


def test_a_bounded_number_at_once() -> None:
    """250 pods are created in one go, and 250 deleted; the others have their turn when these were seen."""
    assert [len(stage.writes) for stage in plan([]).stages] == [1, 250, 1]
    assert all(isinstance(write, Create) for write in plan([]).stages[1].writes)
    replaced = plan([pod(number) for number in range(300)])
    assert [len(stage.writes) for stage in replaced.stages] == [1, 250, 1]
    assert all(isinstance(write, Delete) for write in replaced.stages[1].writes)
