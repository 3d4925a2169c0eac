"""StatefulSets that may replace several pods at a time: never too many, and the end is the wanted one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.control import stateful_pods, stateful_rollout
from sampan.control.plan import Delete
from sampan.kinds.core.pod import POD
from sampan.meta import objects
from tests.controllers.stateful_world import NOW, READY, UNREADY, State, World
from tests.controllers.test_stateful_properties import AGES, EVENTS, FEW, MOST, NAMES, act, assert_arrived, delete_stuck

Tree = dict[str, Any]

SIZE = 5
RETAINED = {"whenDeleted": "Retain", "whenScaled": "Retain"}
BUDGETS = st.sampled_from([1, 2, 3, 9, "1%", "50%", "79%", "100%"])
POLICIES = st.sampled_from(["OrderedReady", "Parallel"])
QUIETLY = st.one_of(
    st.tuples(st.just("nothing")),
    st.tuples(st.just("report"), NAMES, st.just(READY)),
    st.tuples(st.just("end"), NAMES),
    st.tuples(st.just("change_image"), st.sampled_from("1234")),
)


def world(policy: str, budget: Any, partition: int = 0) -> World:
    """A set that has all its pods."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition, "maxUnavailable": budget}}
    made = World(
        by_budget=True,
        replicas=SIZE,
        podManagementPolicy=policy,
        updateStrategy=strategy,
        persistentVolumeClaimRetentionPolicy=RETAINED,
    )
    made.settle()
    return made


def unavailable(state: State) -> int:
    """How many of the set's pods can't be counted on."""
    wanted = state["statefulsets.apps"]["web"]
    names = [f"web-{n}" for n in range(stateful_pods.size(wanted))]
    return sum(stateful_pods.is_unavailable(wanted, state["pods"].get(name), NOW) for name in names)


@pytest.mark.slow
@FEW
@given(POLICIES, BUDGETS, st.integers(0, SIZE), st.lists(st.tuples(QUIETLY, MOST), min_size=15, max_size=60))
def test_never_more_are_unavailable_than_may_be(policy: str, budget: Any, partition: int, steps: list[Any]) -> None:
    """However slow nodes are, whatever users want meanwhile, and wherever the rule is interrupted."""
    made = world(policy, budget, partition)
    began, allowed = len(made.past), stateful_rollout.max_unavailable(made.set)
    for event, most in steps:
        act(made, event)
        made.carry_out(made.plan()[0], most)
    made.change_image("5")
    made.settle()
    assert max(map(unavailable, made.past[began:])) <= allowed
    assert_arrived(made)


@pytest.mark.slow
@FEW
@given(POLICIES, BUDGETS, st.lists(st.tuples(EVENTS, AGES, MOST), min_size=15, max_size=40))
def test_available_pods_go_within_the_budget(policy: str, budget: Any, steps: list[Any]) -> None:
    """Also in a world where pods fail by themselves, judged by what the rule saw; and all is as wanted in the end."""
    made = world(policy, budget)
    for event, age, most in steps:
        if event[0] != "partition":
            act(made, event)
        plan, seen = made.plan(age)
        wanted = seen["statefulsets.apps"]["web"]
        ended = [seen["pods"][write.key[1]] for write in plan.writes if isinstance(write, Delete) and write.kind is POD]
        lost = [p for p in ended if stateful_pods.is_wanted(wanted, p) and is_counted_on(wanted, p)]
        allowed = stateful_rollout.max_unavailable(wanted) - missing(wanted, seen)
        assert len(lost) <= max(allowed, 0)
        made.carry_out(plan, most)
    made.settle()
    delete_stuck(made)
    made.settle()
    assert_arrived(made)


def is_counted_on(wanted: Tree, p: Tree) -> bool:
    return not stateful_pods.is_unavailable(wanted, p, NOW)


def missing(wanted: Tree, seen: State) -> int:
    """How many of the wanted ordinals have no pod that can be counted on."""
    there = [p for p in seen["pods"].values() if stateful_pods.is_wanted(wanted, p) and is_counted_on(wanted, p)]
    return stateful_pods.size(wanted) - len(there)


@pytest.mark.parametrize(("budget", "rounds"), [(1, 5), ("50%", 3), (3, 2), ("100%", 1)])
def test_a_budget_is_used_up(budget: Any, rounds: int) -> None:
    """The more may be unavailable, the fewer rounds an update takes: what may go goes at once, from the last on."""
    made = world("Parallel", budget)
    made.change_image("2")
    batches = []
    while True:
        plan, _ = made.plan()
        ended = [write.key[1] for write in plan.writes if isinstance(write, Delete)]
        made.carry_out(plan)
        if ended:
            batches.append(ended)
        elif not plan.writes:
            break
        made.breathe()
    assert len(batches) == rounds
    assert [name for batch in batches for name in batch] == [f"web-{n}" for n in reversed(range(SIZE))]
    assert made.set["status"]["updatedReplicas"] == SIZE


def test_a_broken_template_is_left_behind() -> None:
    """Pods that never become ready don't hold up the update that mends them, where all go in parallel."""
    made = world("Parallel", 1)
    for p in made.all(POD):
        made.report(objects.name(p), UNREADY)
    made.change_image("2")
    ended = [write.key[1] for write in made.plan()[0].writes if isinstance(write, Delete)]
    assert ended == [f"web-{n}" for n in reversed(range(SIZE))]
