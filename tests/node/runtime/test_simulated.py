"""Simulated containers start at once, end as told, and refuse what they cannot do."""

import asyncio
from typing import Any

import pytest

from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.node.images.model import Image
from sampan.node.runtime.orders import BEHAVIOUR, EXIT_CODE, RUN_SECONDS, START_ERROR
from sampan.node.runtime.protocol import ContainerConfig, Runtime, RuntimeFailure
from sampan.node.runtime.simulated import SimulatedRuntime


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 100.0
        self.moved = asyncio.Event()

    def now(self) -> float:
        return self.time

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end:
            await self.moved.wait()


def config(**labels: str) -> ContainerConfig:
    return ContainerConfig("u", "default", "web", "main", Image("sha256:0"), labels=tuple(sorted(labels.items())))


def runtime(clock: Any) -> Runtime:
    return SimulatedRuntime(clock, Tasks("test"), SeededIds(1))


async def test_runs_until_stopped() -> None:
    """Without orders a container runs until it is stopped, and its end is told once."""
    made = runtime(Now())
    state = await made.start(config())
    assert (state.state, state.started_at) == ("running", 100.0)
    await made.stop(state.id, "", 30)
    await made.stop(state.id, "", 30)
    ended = await anext(made.exits())
    assert (ended.id, ended.exit_code, ended.reason) == (state.id, 0, "Completed")
    assert await made.containers() == [ended]
    await made.remove(state.id)
    assert await made.containers() == []


async def test_ends_as_told() -> None:
    """A container ends after its time with its exit code."""
    clock = Now()
    made = runtime(clock)
    await made.start(config(**{RUN_SECONDS: "5", EXIT_CODE + ".main": "3"}))
    await asyncio.sleep(0)
    clock.time += 5
    clock.moved.set()
    ended = await anext(made.exits())
    assert (ended.exit_code, ended.reason, ended.finished_at) == (3, "Error", 105.0)


class Jumpy(Now):
    """One whose wall time jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        return self.time + self.ahead


async def test_a_jump_of_the_wall_clock_moves_no_stage() -> None:
    """How long a container has lived is nothing that people set."""
    clock = Jumpy()
    made = SimulatedRuntime(clock, Tasks("test"), SeededIds(1))
    stages = "{stages: [{run: 10, readiness: false, log: [first]}, {run: 10, log: [second]}], exit: 3}"
    state = await made.start(config(**{BEHAVIOUR: stages}))
    await asyncio.sleep(0)
    clock.time += 4
    clock.ahead = 3600.0
    moment = made.moment(state.id)
    assert moment is not None
    assert moment.readiness
    assert made.lines(state.id) == [(100.0, "first")]
    made.reconsider()
    clock.time += 7
    clock.ahead = -3600.0
    assert made.lines(state.id) == [(100.0, "first"), (110.0, "second")]
    clock.time += 9
    clock.moved.set()
    ended = await anext(made.exits())
    assert ended.exit_code == 3
    assert made.lines(state.id) == [(100.0, "first"), (110.0, "second")]


async def test_refusals() -> None:
    """A start that is told to fail does, and exec is refused by name."""
    made = runtime(Now())
    with pytest.raises(RuntimeFailure, match="boom") as caught:
        await made.start(config(**{START_ERROR: "boom"}))
    assert caught.value.state is not None
    assert caught.value.state.reason == "StartError"
    with pytest.raises(RuntimeFailure, match="simulated"):
        await made.exec(caught.value.state.id, ("sh",))
    with pytest.raises(RuntimeFailure, match="not a number"):
        await made.start(config(**{RUN_SECONDS: "soon"}))
    assert made.version.startswith("simulated://")
