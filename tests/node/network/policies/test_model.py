"""The ruleset after any history: as if made anew, and as the API's documentation has it for each packet."""

from itertools import product

import pytest
from hypothesis import given, settings

from sampan.node.network.policies.model import Model
from tests.node.network.policies import histories, world
from tests.node.network.policies.histories import ADDRESSES
from tests.node.network.policies.oracle import Oracle
from tests.node.network.policies.world import GATEWAY, NODE, Packet, Tree

pytestmark = pytest.mark.slow
PLACES = (*ADDRESSES, "10.7.7.7")
PORTS = ((80, "TCP"), (53, "UDP"), (53, "TCP"), (61, "UDP"), (99, "TCP"))


class OfThisNode(Oracle):
    """A node judges for its own pods only."""

    def _side(self, subject: Tree | None, other: Tree | None, packet: Packet, type: str) -> bool:
        is_elsewhere = subject is not None and subject["spec"]["nodeName"] != NODE
        return is_elsewhere or super()._side(subject, other, packet, type)


@settings(max_examples=40, deadline=None)
@given(histories.histories)
def test_small_changes_lead_where_a_new_start_would(history: list[tuple[str, object, object]]) -> None:
    """Chains, sets and maps are the same, whatever came and went on the way; and nothing is left when all is gone."""
    model, oracle = Model((4, 6), [GATEWAY]), Oracle()
    for change in history:
        histories.carry_out(model, oracle, *change)
    assert world.contents(model.ruleset) == world.contents(histories.anew(oracle).ruleset)
    for key in list(oracle.policies):
        model.put_policy(key, None)
    assert model.ruleset.is_empty
    assert world.contents(model.ruleset) == world.contents(Model((4, 6), [GATEWAY]).ruleset)


@settings(max_examples=40, deadline=None)
@given(histories.histories)
def test_the_rules_mean_what_the_policies_say(history: list[tuple[str, object, object]]) -> None:
    """Each packet between pods, strangers and the node passes if and only if both sides' policies let it through."""
    model, oracle = Model((4, 6), [GATEWAY]), OfThisNode()
    for change in history:
        histories.carry_out(model, oracle, *change)
    for source, target, (port, protocol) in product(PLACES, (*PLACES, GATEWAY), PORTS):
        if (":" in source) != (":" in target):
            continue
        packet = Packet(source, target, protocol, port)
        assert world.passes(model.ruleset, packet, to_node=target == GATEWAY) == oracle.passes(packet), packet
