"""Decisions compared with those of a slow, obvious oracle, on random clusters that change all the time."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.kit.frozen import freeze
from sampan.scheduling import cycle, demand
from sampan.scheduling.snapshot import Snapshot
from tests.scheduling import oracle, worlds
from tests.scheduling.oracle import Tree, World

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Both:
    """The scheduler's snapshot and the oracle's world, with the same in them."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.world = World([], [], worlds.NAMESPACES, worlds.SERVICES)
        for name, labels in worlds.NAMESPACES.items():
            self.snapshot.set_namespace(name, labels)
        for service in worlds.SERVICES:
            metadata, spec = service["metadata"], service["spec"]
            self.snapshot.set_service(metadata["namespace"], metadata["name"], spec["selector"])

    def set_node(self, node: Tree) -> None:
        name = oracle.name_of(node)
        known = [oracle.name_of(n) for n in self.world.nodes]
        if name in known:
            self.world.nodes[known.index(name)] = node
        else:
            self.world.nodes.append(node)
        self.snapshot.set_node(freeze(node))

    def remove_node(self, name: str) -> None:
        self.world.nodes = [n for n in self.world.nodes if oracle.name_of(n) != name]
        self.snapshot.remove_node(name)

    def place(self, pod: Tree, node: str) -> None:
        placed = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        self.world.pods = [p for p in self.world.pods if p["metadata"]["uid"] != pod["metadata"]["uid"]] + [placed]
        self.snapshot.place(demand.of(freeze(pod)), node)

    def remove(self, uid: str) -> None:
        self.world.pods = [p for p in self.world.pods if p["metadata"]["uid"] != uid]
        self.snapshot.displace(uid)

    def begin_deletion(self, pod: Tree) -> None:
        leaving = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
        self.world.pods = [leaving if p is pod else p for p in self.world.pods]
        bare = {**leaving, "spec": {k: v for k, v in leaving["spec"].items() if k != "nodeName"}}
        self.snapshot.place(demand.of(freeze(bare)), pod["spec"]["nodeName"])

    def decide(self, pod: Tree) -> str:
        """The scheduler's choice, which is one of the oracle's best; if it has none, for the oracle's reasons."""
        decision = cycle.decide(demand.of(freeze(pod)), self.snapshot)
        totals, reasons = oracle.judge(pod, self.world)
        if not totals:
            counted = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
            wanted = f"0/{len(self.world.nodes)} nodes are available: {counted}."
            assert (decision.node, decision.message.partition(" no new claims")[0]) == ("", wanted)
            return ""
        assert decision.node in totals, (decision, totals)
        assert totals[decision.node] == max(totals.values()), (decision.node, totals)
        return decision.node


def change(data: Any, both: Both) -> None:
    """Something happens to a node or a placed pod."""
    world = both.world
    match data.draw(st.integers(0, 5)):
        case 0:
            name = data.draw(st.sampled_from(("n0", "n1", "n9")))
            both.set_node(data.draw(worlds.nodes(name)))
        case 1 if len(world.nodes) > 1:
            both.remove_node(oracle.name_of(data.draw(st.sampled_from(world.nodes))))
        case 2 if world.pods:
            both.remove(data.draw(st.sampled_from(world.pods))["metadata"]["uid"])
        case 3 if world.pods:
            both.begin_deletion(data.draw(st.sampled_from(world.pods)))


@MANY
@given(st.data())
def test_decisions_are_the_oracles(data: Any) -> None:
    """Every choice is one of the best by upstream's rules, and every refusal has upstream's reasons."""
    both = Both()
    for at in range(data.draw(st.integers(1, 5))):
        both.set_node(data.draw(worlds.nodes(f"n{at}")))
    kinds = [data.draw(worlds.pods(f"kind-{at}")) for at in range(3)]
    for at in range(data.draw(st.integers(1, 12))):
        made = data.draw(st.sampled_from(kinds))
        made = {**made, "metadata": {**made["metadata"], "name": f"p{at}", "uid": f"uid-p{at}"}}
        if node := both.decide(made):
            both.place(made, node)
        change(data, both)
        if not both.world.nodes:
            break


def without(world: World, uids: set[str]) -> World:
    kept = [p for p in world.pods if p["metadata"]["uid"] not in uids]
    return World(world.nodes, kept, world.namespaces, world.services)


def ranked(pod: Tree, priority: int) -> Tree:
    return {**pod, "spec": {**pod["spec"], "priority": priority}}


@MANY
@given(st.data())
def test_who_is_pushed_out(data: Any) -> None:
    """Without its victims the pod fits, with any of them it does not; where nobody is chosen, nobody could help."""
    both = Both()
    for at in range(data.draw(st.integers(1, 4))):
        both.set_node(data.draw(worlds.nodes(f"n{at}")))
    kinds = [data.draw(worlds.pods(f"kind-{at}")) for at in range(2)]
    for at in range(data.draw(st.integers(3, 14))):
        made = ranked(data.draw(st.sampled_from(kinds)), data.draw(st.integers(0, 2)))
        made = {**made, "metadata": {**made["metadata"], "name": f"p{at}", "uid": f"uid-p{at}"}}
        decision = cycle.decide(demand.of(freeze(made)), both.snapshot)
        if decision.node:
            both.place(made, decision.node)
            continue
        check_victims(made, decision, both.world)


def check_victims(pod: Tree, decision: cycle.Decision, world: World) -> None:
    priority, outcome = pod["spec"]["priority"], decision.outcome
    nodes = {oracle.name_of(node): node for node in world.nodes}
    for name, node in nodes.items() if not outcome.node else ():
        lower = {p["metadata"]["uid"] for p in world.on(node) if p["spec"]["priority"] < priority}
        can_help = bool(lower) and not oracle.refused(pod, node, without(world, lower))
        # Only pods of the node itself are pushed out, and none that the pod wants near.
        assert not can_help or "didn't match pod affinity rules" in decision.message, name
    if not outcome.node:
        assert "preemption: 0/" in decision.message
        return
    assert decision.message.endswith(".")
    assert "preemption" not in decision.message
    victims = {victim.uid for victim in outcome.victims}
    assert victims
    assert all(victim.priority < priority for victim in outcome.victims)
    node = nodes[outcome.node]
    assert not oracle.refused(pod, node, without(world, victims))
    for uid in victims:
        assert oracle.refused(pod, node, without(world, victims - {uid}))
