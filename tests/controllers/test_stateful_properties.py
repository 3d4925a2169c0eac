"""The StatefulSet's rule in any world: it keeps its order, and comes to the wanted end whatever went wrong before."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.control import stateful_pods
from sampan.control.plan import Create, Delete, Plan
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.core import pod
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.meta import objects
from tests.controllers.stateful_world import FAILED, PENDING, READY, UNREADY, State, World

Tree = dict[str, Any]

NAMES = st.sampled_from([f"web-{n}" for n in range(5)])
EVENTS = st.one_of(
    st.tuples(st.just("nothing")),
    st.tuples(st.just("breathe")),
    st.tuples(st.just("report"), NAMES, st.sampled_from([READY, UNREADY, FAILED])),
    st.tuples(st.just("end"), NAMES),
    st.tuples(st.just("delete_pod"), NAMES),
    st.tuples(st.just("scale"), st.integers(0, 4)),
    st.tuples(st.just("change_image"), st.sampled_from("1234")),
    st.tuples(st.just("partition"), st.integers(0, 4)),
    st.tuples(st.just("start"), st.integers(0, 1)),
)
AGES = st.one_of(st.just(0), st.integers(0, 6))
MOST = st.one_of(st.just(1000), st.integers(0, 6))
STEPS = st.lists(st.tuples(EVENTS, AGES, MOST), min_size=15, max_size=40)
CHOICES = st.fixed_dictionaries(
    {
        "podManagementPolicy": st.sampled_from(["OrderedReady", "Parallel"]),
        "updateStrategy": st.sampled_from(
            [
                {"type": "OnDelete"},
                {"type": "RollingUpdate"},
                {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            ]
        ),
        "persistentVolumeClaimRetentionPolicy": st.fixed_dictionaries(
            {"whenDeleted": st.sampled_from(["Retain", "Delete"]), "whenScaled": st.sampled_from(["Retain", "Delete"])}
        ),
    }
)
FEW = settings(max_examples=40, deadline=None)


@pytest.mark.slow
@FEW
@given(CHOICES, STEPS)
def test_the_end_is_the_wanted_one(spec: Tree, steps: list[Any]) -> None:
    """After stale views, deaths between writes, failing pods and changing wishes, all is as wanted, and stays so."""
    world = World(**spec)
    for event, age, most in steps:
        act(world, event)
        world.carry_out(world.plan(age)[0], most)
    world.settle()
    delete_stuck(world)
    world.settle()
    assert_arrived(world)


@pytest.mark.slow
@FEW
@given(CHOICES, STEPS)
def test_each_plan_keeps_the_order(spec: Tree, steps: list[Any]) -> None:
    """Judged by what the rule saw, however old that was."""
    world = World(**spec)
    world.settle()
    for event, age, most in steps:
        act(world, event)
        plan, seen = world.plan(age)
        assert_in_order(plan, seen)
        world.carry_out(plan, most)


def delete_stuck(world: World) -> None:
    """Where two pods beyond the size have failed, each waits for the other, in upstream too, until a user comes."""
    for p in world.all(POD):
        if p["status"] == FAILED and not stateful_pods.is_wanted(world.set, p):
            world.delete_pod(objects.name(p))


def act(world: World, event: Any) -> None:
    match event:
        case ("nothing",):
            pass
        case ("scale", replicas):
            world.change(replicas=replicas)
        case ("start", number):
            world.change(ordinals={"start": number})
        case ("partition", partition):
            if world.set["spec"]["updateStrategy"].get("rollingUpdate") is not None:
                world.change(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": partition}})
        case (name, *arguments):
            getattr(world, name)(*arguments)


def assert_arrived(world: World) -> None:
    """All pods and claims are there, of the right template, and the status says so."""
    wanted, pods, said = world.set, world.all(POD), world.set["status"]
    first, size = stateful_pods.start(wanted), stateful_pods.size(wanted)
    assert [objects.name(p) for p in pods] == [f"web-{n}" for n in range(first, first + size)]
    assert {f"data-web-{n}" for n in range(first, first + size)} <= set(
        map(objects.name, world.all(PERSISTENTVOLUMECLAIM))
    )
    image, kept = wanted["spec"]["template"]["spec"]["containers"][0]["image"], partition(wanted)
    if kept is not None:
        assert {world.image(p) for p in pods[kept:]} <= {image}
    updated = [p for p in pods if world.image(p) == image]
    counts = [said.get(name, 0) for name in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")]
    assert counts == [size, size, size, len(updated)]
    assert said.get("observedGeneration", 0) == objects.generation(wanted)
    if kept is not None and len(updated) == size:
        assert said["currentRevision"] == said["updateRevision"]
    live = {said["currentRevision"], said["updateRevision"], *map(stateful_pods.revision_of, pods)}
    history = {objects.name(r) for r in world.all(CONTROLLERREVISION)}
    assert live <= history
    assert len(history - live) <= 2
    owner = wanted["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    for claim in world.all(PERSISTENTVOLUMECLAIM):
        if stateful_pods.is_wanted(wanted, {"metadata": {"name": objects.name(claim).removeprefix("data-")}}):
            assert [r["kind"] for r in objects.owner_references(claim)] == ["StatefulSet"] * owner


def assert_in_order(plan: Plan, seen: State) -> None:
    """No pod is made or ended before its time, and none that should stay."""
    if "web" not in seen["statefulsets.apps"]:
        return
    wanted = seen["statefulsets.apps"]["web"]
    pods, claims = dict(seen["pods"]), set(seen["persistentvolumeclaims"])
    is_ordered = wanted["spec"]["podManagementPolicy"] == "OrderedReady"
    made = [w.obj for w in plan.writes if isinstance(w, Create) and w.kind is POD]
    ended = [pods[w.key[1]] for w in plan.writes if isinstance(w, Delete) and w.kind is POD]
    claims |= {objects.name(w.obj) for w in plan.writes if isinstance(w, Create) and w.kind is PERSISTENTVOLUMECLAIM}
    for p in made:
        assert stateful_pods.is_wanted(wanted, p)
        assert objects.name(p) not in pods
        assert f"data-{objects.name(p)}" in claims
    replaced = [p for p in ended if stateful_pods.is_wanted(wanted, p) and not pod.is_terminal(p)]
    assert len(replaced) <= 1
    assert not any(objects.is_deleting(p) for p in ended)
    for p in replaced:
        assert_replaceable(wanted, p, pods)
    if is_ordered:
        assert len(made) + len(ended) <= 1
        for p in (*made, *ended):
            assert all(is_fine(pods.get(name)) for name in below(wanted, p))
            if replaced:
                assert not any(not stateful_pods.is_wanted(wanted, other) for other in pods.values())


def assert_replaceable(wanted: Tree, p: Tree, pods: dict[str, Tree]) -> None:
    """A pod goes for its revision alone if no higher one is still to be replaced or waited for."""
    kept, first = partition(wanted), stateful_pods.start(wanted)
    assert kept is not None
    assert stateful_pods.ordinal(p) >= first + kept
    higher = range(stateful_pods.ordinal(p) + 1, first + stateful_pods.size(wanted))
    others = [pods.get(f"web-{number}") for number in higher]
    assert all(map(is_fine, others))
    assert stateful_pods.revision_of(p) not in {stateful_pods.revision_of(o) for o in others if o is not None}


def below(wanted: Tree, p: Tree) -> list[str]:
    """The wanted pods that must be available before something happens to this one."""
    first, last = stateful_pods.start(wanted), stateful_pods.start(wanted) + stateful_pods.size(wanted)
    is_wanted, number = stateful_pods.is_wanted(wanted, p), stateful_pods.ordinal(p)
    return [f"web-{n}" for n in range(first, number if is_wanted else last)]


def is_fine(p: Tree | None) -> bool:
    return p is not None and p["status"] == READY and not objects.is_deleting(p)


def partition(wanted: Tree) -> int | None:
    """How many pods keep what they are; None when that is a user's affair."""
    strategy = wanted["spec"]["updateStrategy"]
    if strategy["type"] == "OnDelete":
        return None
    return int((strategy.get("rollingUpdate") or {}).get("partition", 0))


def test_a_world_without_faults_arrives() -> None:
    """The oracle is not empty: it refuses a world in which nobody has done anything yet."""
    world = World(podManagementPolicy="OrderedReady", updateStrategy={"type": "RollingUpdate"})
    world.carry_out(world.plan()[0])
    assert [p["status"] for p in world.all(POD)] == [PENDING]
    world.change(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain"})
    world.settle()
    assert_arrived(world)
