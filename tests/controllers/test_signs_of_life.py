"""A node that only says that it lives makes nothing due; whatever a rule looks at does."""

from typing import Any

import pytest

from sampan.control.controller import Controller
from sampan.controllers import node_lifecycle, pod_gc, volume_attachment

Tree = dict[str, Any]
CONTROLLERS = (node_lifecycle.CONTROLLER, pod_gc.CONTROLLER, volume_attachment.CONTROLLER)


def node(ready: str = "True", beat: str = "2026-01-01T00:00:00Z", spec: Tree | None = None, **status: Any) -> Tree:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]
    metadata = {"name": "n", "uid": "u", "resourceVersion": beat}
    return {"metadata": metadata, "spec": spec or {}, "status": {"conditions": conditions, **status}}


def is_due(controller: Controller, old: Tree | None, new: Tree | None) -> bool:
    assert controller.matters is not None
    return controller.matters(old, new)


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: str(controller.name))
def test_a_heartbeat_makes_nothing_due(controller: Controller) -> None:
    """But that a node comes or goes does."""
    assert not is_due(controller, node(), node(beat="2026-01-01T00:05:00Z"))
    assert is_due(controller, None, node())
    assert is_due(controller, node(), None)


def test_what_a_rule_looks_at_makes_it_due() -> None:
    """Taints and readiness for those who judge nodes, volumes for who attaches them."""
    tainted = node(spec={"taints": [{"key": "k", "effect": "NoExecute"}]})
    judges = (node_lifecycle.CONTROLLER, pod_gc.CONTROLLER)
    assert all(is_due(controller, node(), tainted) for controller in judges)
    assert all(is_due(controller, node(), node(ready="Unknown")) for controller in judges)
    assert is_due(node_lifecycle.CONTROLLER, node(), node(spec={"unschedulable": True}))
    assert is_due(volume_attachment.CONTROLLER, node(volumesInUse=["v"]), node())
    assert is_due(volume_attachment.CONTROLLER, node(), node(volumesAttached=[{"name": "v"}]))


def test_a_node_that_is_not_ready_is_looked_at_each_time() -> None:
    """Pods on it may have become ready since."""
    assert is_due(node_lifecycle.CONTROLLER, node(ready="False"), node(ready="False", beat="2026-01-01T00:05:00Z"))
