"""Decisions in steps: none takes long, what changes meanwhile waits, and the end is the same."""

from typing import Any

import pytest
from making import Field, node, of, pod

from sampan.scheduling import cycle, demand, preemption, ranking
from sampan.scheduling.cycle import Decision, Terms
from sampan.scheduling.demand import Demand
from sampan.scheduling.snapshot import Snapshot

HOST = "kubernetes.io/hostname"
NODES = 600


@pytest.fixture
def full(field: Field) -> Field:
    """Many nodes, each with two pods that leave no room."""
    for n in range(NODES):
        field.add(node(f"n{n}", labels={HOST: f"n{n}"}))
        for at in range(2):
            field.place(f"n{n}", pod(f"p{n}-{at}", {"cpu": "2"}))
    return field


def steps_of(asked: Demand, snapshot: Snapshot) -> tuple[int, Decision]:
    taken, steps = 0, cycle.begin(asked, snapshot, Terms())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return taken, end.value
        taken += 1


def test_a_search_for_victims_gives_way(full: Field) -> None:
    """After a bounded number of pods that were tried; whoever looks without pausing finds the same."""
    assert steps_of(of(pod("other", {"cpu": "2"})), full.snapshot)[1].node == ""
    asked = of(pod("important", {"cpu": "2"}, priority=10))
    taken, decision = steps_of(asked, full.snapshot)
    looked = max(NODES // 10, 100) * 3
    assert taken >= looked // preemption.MAX_TRIED >= 1
    assert decision == cycle.decide(asked, full.snapshot)
    assert (decision.outcome.node, len(decision.outcome.victims)) == ("n0", 1)


def test_the_first_look_at_many_nodes_gives_way(full: Field) -> None:
    """So many at a time; the second look is short."""
    spread = {"topologyKey": HOST, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    asked = of(pod("p", topologySpreadConstraints=[spread]))
    taken, decision = steps_of(asked, full.snapshot)
    assert taken >= NODES // ranking.CHUNK
    assert decision.node
    assert steps_of(asked, full.snapshot)[0] == 0


def test_a_look_that_was_given_up_is_taken_anew(full: Field) -> None:
    """Nothing is left of what was half known."""
    asked = of(pod("p", {"cpu": "1"}))
    begun = cycle.begin(asked, full.snapshot, Terms())
    next(begun)
    begun.close()
    full.snapshot.displace("uid-p550-0")
    assert steps_of(asked, full.snapshot)[1].node == "n550"


def test_a_placed_pod_with_other_labels(field: Field) -> None:
    """It counts where it is meant now, and no longer where it was meant."""
    field.add(node("a", labels={HOST: "a"}), node("b", labels={HOST: "b"}))
    there = with_labels(pod("there"), app="web")
    field.place("a", there)
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "web"}}}
    near: dict[str, Any] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    asked = of(pod("p", affinity=near))
    assert cycle.decide(asked, field.snapshot).node == "a"
    before = field.snapshot.placed("uid-there")
    assert before is not None
    for app, found in (("other", ""), ("web", "a")):
        field.snapshot.relabel(demand.relabelled(before, with_labels(there, app=app)))
        assert cycle.decide(asked, field.snapshot).node == found
    assert field.snapshot.usage[0].pods["uid-there"].is_like(of(with_labels(there, app="web")))
    field.snapshot.displace("uid-there")
    assert cycle.decide(asked, field.snapshot).node == ""


def test_who_says_the_same_twice_is_pushed_out_once(field: Field) -> None:
    """With a pod goes all that it says about others, however often it says so."""
    term = {"topologyKey": HOST, "labelSelector": {}}
    alone = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term, term]}}
    field.add(node("a", labels={HOST: "a"})).place("a", pod("there", affinity=alone))
    decision = cycle.decide(of(pod("important", priority=10)), field.snapshot)
    assert "didn't satisfy existing pods anti-affinity rules" in decision.message
    assert [victim.uid for victim in decision.outcome.victims] == ["uid-there"]


def with_labels(obj: Any, **labels: str) -> Any:
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def test_features_that_nodes_declare(field: Field) -> None:
    """A pod that needs one goes where it is declared; pods of the same shape otherwise go anywhere."""
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}
    container = {"name": "c", "resources": {"requests": {}}, "restartPolicyRules": [rule]}
    asked = of(pod("p", containers=[container]))
    field.add(node("a"))
    assert cycle.decide(of(pod("plain")), field.snapshot).node == "a"
    assert cycle.decide(asked, field.snapshot).message == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's required features. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    able = node("b")
    assert field.snapshot.set_node({**able, "status": {**able["status"], "declaredFeatures": [FEATURE]}})
    assert cycle.decide(asked, field.snapshot).node == "b"
    assert field.snapshot.set_node(able)
    assert cycle.decide(asked, field.snapshot).node == ""


FEATURE = "RestartAllContainersOnContainerExits"
