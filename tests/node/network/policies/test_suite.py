"""Upstream's suite for network policies, packet by packet, through the rules that policies come down to."""

import copy

import pytest

from sampan.node.network.policies.model import Model
from tests.node.network.policies import world
from tests.node.network.policies.suite import SUITE, Check, Step
from tests.node.network.policies.world import Packet


def build(step: Step) -> Model:
    """All that a step has, made known in an order of no meaning: policies first."""
    model = Model((4,), [world.GATEWAY])
    for one in step.policies:
        world.put_policy(model, one(lambda place: (world.address(place),)) if callable(one) else one)
    for place in world.PODS:
        world.put_pod(model, world.pod(place, world.address(place), **step.labels.get(place, {})))
    for name in world.NAMESPACES:
        world.put_namespace(model, world.namespace(name, **step.labels.get(name, {})))
    return model


def reached(model: Model, check: Check) -> dict[tuple[str, str], bool]:
    return {
        (source, target): world.passes(
            model.ruleset, Packet(world.address(source), world.address(target), check.protocol, check.port)
        )
        for source, target in check.expected()
    }


@pytest.mark.parametrize("name", SUITE)
def test_case(name: str) -> None:
    """Who reaches whom is as upstream expects it, for each step and port of the case."""
    for step in SUITE[name]:
        given = copy.deepcopy([one for one in step.policies if not callable(one)])
        model = build(step)
        for check in step.checks:
            assert reached(model, check) == check.expected(), (step, check)
        assert [one for one in step.policies if not callable(one)] == given
