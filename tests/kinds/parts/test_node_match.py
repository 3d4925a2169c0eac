"""Which nodes a pod may be on: names, labels, fields and taints, as the scheduler and the DaemonSet controller ask."""

from typing import Any

import pytest

from sampan.kinds.parts import node_match

Tree = dict[str, Any]


def node(name: str = "a", taints: list[Tree] | None = None, **labels: str) -> Tree:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints or []}}


def requires(*terms: Tree) -> Tree:
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def on(key: str, operator: str, *values: str, what: str = "matchExpressions") -> Tree:
    return {what: [{"key": key, "operator": operator, "values": list(values)}]}


def named(operator: str, value: str) -> Tree:
    return on("metadata.name", operator, value, what="matchFields")


ALLOWED: list[tuple[Tree, bool]] = [
    ({}, True),
    ({"nodeName": "a"}, True),
    ({"nodeName": "b"}, False),
    ({"nodeSelector": {"disk": "ssd"}}, True),
    ({"nodeSelector": {"disk": "ssd", "zone": "x"}}, False),
    ({"nodeSelector": {"disk": "hdd"}} | requires(named("In", "a")), False),
    (requires(), False),
    (requires({}), False),
    (requires({}, on("disk", "In", "hdd", "ssd")), True),
    (requires(on("disk", "NotIn", "ssd")), False),
    (requires(on("zone", "NotIn", "x")), True),
    (requires(on("disk", "Exists")), True),
    (requires(on("disk", "DoesNotExist")), False),
    (requires(on("cores", "Gt", "7")), True),
    (requires(on("cores", "Lt", "8")), False),
    (requires(on("disk", "Gt", "7")), False),
    (requires(on("cores", "Gt", "many")), False),
    (requires(on("cores", "Gt", "many"), named("In", "a")), True),
    (requires(named("In", "b")), False),
    (requires(named("NotIn", "b")), True),
    (requires(named("In", "a") | on("disk", "In", "hdd")), False),
]


@pytest.mark.parametrize(("spec", "wanted"), ALLOWED)
def test_allowed_nodes(spec: Tree, wanted: bool) -> None:
    """All of the selector, and one of the terms, each with all it asks for; one that can't be read holds for none."""
    assert node_match.wish(spec).allows(node(disk="ssd", cores="8")) is wanted


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "wanted"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "w"}, False),
        ({"key": "k"}, False),
        ({"key": "j", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
    ],
)
def test_tolerations(toleration: Tree, wanted: bool) -> None:
    """Key, value and effect, each only where it is said; only the asked effects count."""
    assert node_match.covers(toleration, TAINT) is wanted
    wish = node_match.wish({"tolerations": [toleration]})
    assert wish.tolerates(node(taints=[TAINT]), "NoSchedule", "NoExecute") is wanted
    assert wish.tolerates(node(taints=[TAINT]), "NoExecute")
