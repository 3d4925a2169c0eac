"""Which pods go first: what counts, in its order, and chance among those of one age."""

from typing import Any

import pytest

from sampan.control import pods

Tree = dict[str, Any]
NOW = 1767225600.0  # 2026-01-01T00:00:00Z


def pod(name: str, **facts: Any) -> Tree:
    """One that is scheduled, running and ready, but for these facts."""
    facts = {"node": "n", "phase": "Running", "ready": "2025-12-31T00:00:00Z", "cost": "", "restarts": (0, 0)} | facts
    metadata = {"name": name, "uid": facts.get("uid", name), "annotations": {pods.COST: facts["cost"]}}
    metadata["creationTimestamp"] = facts.get("created", "2025-12-31T00:00:00Z")
    listed = [{"type": "Ready", "status": "True", "lastTransitionTime": facts["ready"]}] if facts["ready"] else []
    main, sidecar = facts["restarts"]
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": facts["node"],
            "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        },
        "status": {
            "phase": facts["phase"],
            "conditions": listed,
            "containerStatuses": [{"name": "c", "restartCount": main}],
            "initContainerStatuses": [{"name": "s", "restartCount": sidecar}, {"name": "i", "restartCount": 99}],
        },
    }


def first(*found: Tree, crowd: tuple[Tree, ...] = ()) -> str:
    """The name of the one that goes, whatever the order in which they are given."""
    names = {
        pods.least_useful(listed, crowd or found, 1, NOW)[0]["metadata"]["name"] for listed in (found, found[::-1])
    }
    assert len(names) == 1
    return str(names.pop())


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"node": "", "cost": "9"}, {"phase": "Pending", "ready": ""}),
        ({"phase": "Pending", "cost": "9"}, {"phase": "Unknown"}),
        ({"ready": "", "cost": "9"}, {"cost": "-9"}),
        ({"cost": "-1"}, {"cost": "no number"}),
        ({"ready": "2025-12-31T23:00:00Z"}, {"restarts": (9, 0)}),
        ({"restarts": (1, 0)}, {"restarts": (0, 9)}),
        ({"restarts": (0, 1)}, {"created": "2025-12-31T23:00:00Z"}),
        ({"created": "2025-12-31T23:00:00Z"}, {}),
    ],
)
def test_each_rank_outweighs_those_after_it(worse: Tree, better: Tree) -> None:
    """Node, phase, readiness, cost, how long ready, restarts, those of sidecars, age."""
    assert first(pod("worse", **worse), pod("better", **better)) == "worse"


def test_on_a_crowded_node_one_goes_first() -> None:
    """Also pods of others with the same controller make it crowded."""
    alone, crowded = pod("alone", node="a"), pod("crowded", node="b", ready="2025-01-01T00:00:00Z")
    assert first(alone, crowded, crowd=(alone, crowded, pod("other", node="b"))) == "crowded"


def test_of_about_the_same_age_chance_decides() -> None:
    """By their uids, so that a scaling down does not always take the youngest."""
    older = pod("older", uid="a", ready="2025-12-31T10:00:00Z")
    younger = pod("younger", uid="b", ready="2025-12-31T11:00:00Z")
    assert first(older, younger) == "older"


def test_progress_is_an_order_of_exact_ages() -> None:
    """Where a job ends some of its pods, the youngest go."""
    older = pod("older", uid="a", ready="2025-12-31T10:00:00Z")
    younger = pod("younger", uid="b", ready="2025-12-31T11:00:00Z")
    assert sorted([older, younger], key=pods.progress) == [younger, older]
