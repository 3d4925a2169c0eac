"""Every case document holds: on the given nodes the pod gets the written node, or the written reasons."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from making import Field, of

from sampan.kit.frozen import freeze
from sampan.meta import selectors
from sampan.scheduling import cycle, demand
from sampan.scheduling.cycle import Terms
from sampan.scheduling.preemption import Budget

FOLDER = Path(__file__).parent.parent / "cases" / "scheduling"
MIB = 1024 * 1024


def _documents() -> list[Any]:
    found = [each for path in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    return [pytest.param(each, id=each["name"]) for each in found]


def _node(given: Any) -> Any:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110", **given.get("allocatable", {})}
    images = [{"names": [name], "sizeBytes": size * MIB} for name, size in given.get("images", {}).items()]
    metadata = {"name": given["name"], "labels": given.get("labels", {})}
    status = {"allocatable": amounts, "images": images}
    return freeze({"metadata": metadata, "spec": given.get("spec", {}), "status": status})


def _pod(given: Any) -> Any:
    name = given.get("name", "asked")
    container = {"name": "c", "resources": {"requests": given.get("requests", {})}, "image": given.get("image", "i")}
    metadata = {"name": name, "namespace": given.get("namespace", "default"), "uid": f"uid-{name}"}
    metadata["labels"] = given.get("labels", {})
    status = {"startTime": given["started"]} if "started" in given else {}
    return freeze(
        {"metadata": metadata, "spec": {"containers": [container], **given.get("spec", {})}, "status": status}
    )


@pytest.mark.parametrize("case", _documents())
def test_case(case: Any, field: Field) -> None:
    """The decision is the written one."""
    given, snapshot = case["given"], field.snapshot
    for name, labels in given.get("namespaces", {}).items():
        snapshot.set_namespace(name, labels)
    for name, selector in given.get("services", {}).items():
        snapshot.set_service("default", name, selector)
    for each in given["nodes"]:
        field.add(_node(each)).place(each["name"], *[_pod(p) for p in each.get("pods", ())])
        for waiting in each.get("waiting", ()):
            snapshot.nominate(demand.of(_pod(waiting)), each["name"])
    budgets = tuple(
        Budget("default", selectors.from_label_selector(b["selector"]), b["allowed"], frozenset())
        for b in given.get("budgets", ())
    )
    decision = cycle.decide(of(_pod(case["when"])), snapshot, Terms(budgets=budgets))
    then = case["then"]
    assert decision.node == then.get("node", ""), decision.message
    if "reasons" in then:
        available = decision.message.partition(" no new claims")[0]
        assert available == f"0/{len(snapshot)} nodes are available: {', '.join(sorted(then['reasons']))}."
    victims = sorted(victim.uid.removeprefix("uid-") for victim in decision.outcome.victims)
    assert (decision.outcome.node, victims) == (then.get("nominated", ""), then.get("victims", []))
