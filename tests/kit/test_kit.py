"""Tasks, ids, frozen trees and answers that are kept."""

import asyncio
import copy
import re
import time

import orjson
import pytest

from sampan.kit import clock
from sampan.kit.clock import BEAT_SECONDS, JUMP_SECONDS, NOTICE_SECONDS, Jumps, SystemClock, wait_jump
from sampan.kit.frozen import freeze, thaw
from sampan.kit.ids import ALPHABET, SeededIds, SystemIds
from sampan.kit.once import once
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks


async def fail() -> None:
    raise LookupError("boom")


async def test_a_critical_failure_reaches_whoever_waits() -> None:
    """`wait` raises the failure of a critical task."""
    tasks = Tasks("t")
    tasks.spawn(fail(), "fail")
    with pytest.raises(LookupError):
        await tasks.wait()
    await tasks.close()


async def test_a_failure_that_is_not_critical_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with the task's name, and `wait` goes on until closed."""
    tasks = Tasks("t")
    tasks.spawn(fail(), "fail", critical=False)
    await asyncio.sleep(0.01)
    assert "t/fail" in caplog.text
    await tasks.close()
    await tasks.wait()


async def test_close_ends_all_and_refuses_more() -> None:
    """After close nothing runs, also not what was started meanwhile."""
    tasks, ended = Tasks("t"), []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    tasks.spawn(work(), "a")
    tasks.spawn(work(), "b")
    await asyncio.sleep(0)
    await tasks.close()
    assert (ended, len(tasks)) == ([1, 1], 0)
    with pytest.raises(RuntimeError):
        tasks.spawn(work(), "c")


@pytest.mark.parametrize("ids", [SystemIds(), SeededIds(1)])
def test_ids_have_their_forms(ids) -> None:
    """A uid is a version 4 UUID, a suffix has only letters and digits that form no words."""
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", ids.uid())
    assert len(ids.suffix()) == 5
    assert set(ids.suffix(200)) <= set(ALPHABET)


def test_a_seed_decides_ids() -> None:
    """The same seed, the same ids."""
    one, other = SeededIds(7), SeededIds(7)
    assert [one.uid(), one.suffix()] == [other.uid(), other.suffix()]
    assert SeededIds(8).uid() != SeededIds(7).uid()


def test_frozen_trees_refuse_changes_at_every_level() -> None:
    """Every mutating method of dict and list raises."""
    tree = freeze({"a": {"b": [1, {"c": 2}]}})
    for change in (
        lambda: tree.update(x=1),
        lambda: tree["a"].pop("b"),
        lambda: tree["a"]["b"].append(1),
        lambda: tree["a"]["b"].sort(),
        lambda: tree["a"]["b"][1].setdefault("d", 1),
        lambda: tree.__setitem__("a", 1),
        lambda: tree.__ior__({"a": 1}),
        lambda: tree["a"]["b"].__iadd__([1]),
    ):
        with pytest.raises(TypeError):
            change()


def test_frozen_trees_read_and_copy_as_plain_ones() -> None:
    """They compare, encode and are instances as plain ones; copies can be changed."""
    plain = {"a": [1, {"b": None}]}
    tree = freeze(plain)
    assert tree == plain
    assert isinstance(tree["a"], list)
    assert orjson.loads(orjson.dumps(tree)) == plain
    assert freeze(tree) is tree
    for fresh in (thaw(tree), copy.deepcopy(tree)):
        fresh["a"][1]["b"] = 5
    assert tree == plain


def test_an_answer_is_worked_out_once() -> None:
    """For each owner, when it is first asked for."""
    asked: list[str] = []

    class Owner:
        def __init__(self, name: str) -> None:
            self.name = name

        @once
        def answer(self) -> str:
            """What it says."""
            asked.append(self.name)
            return self.name.upper()

    one, other = Owner("one"), Owner("other")
    assert not asked
    assert [one.answer, one.answer, other.answer] == ["ONE", "ONE", "OTHER"]
    assert asked == ["one", "other"]
    assert Owner.answer.__doc__ == "What it says."


def stalling(every: float, seconds: float) -> tuple[SimLoop, SystemClock]:
    """A clock in a process that watches for somebody, and stands still again and again for so many seconds."""
    loop, own = SimLoop(), SystemClock()
    own.monotonic = loop.time  # type: ignore[method-assign]

    def watch() -> None:
        own.watchdog_later(0.4, watch)

    def stall() -> None:
        loop._now += seconds
        loop.call_later(every, stall)

    for number in range(20):
        loop.call_later(number / 50, watch)
    loop.call_later(every, stall)
    return loop, own


def test_a_pause_is_not_counted() -> None:
    """A process that stood still heard nobody meanwhile; however many watchdogs are late, and whoever asks first."""
    loop, own = stalling(every=10.3, seconds=60.0)
    loop.advance(10.0)
    before = own.awake()
    loop.call_later(0.3, lambda: asked.append(own.awake()))
    asked: list[float] = []
    loop.advance(65.0)
    assert own.awake() - before <= 65.0 - 60.0 + BEAT_SECONDS
    assert asked[0] - before <= 0.3 + BEAT_SECONDS


def test_short_pauses_leave_the_time_between() -> None:
    """Who is silent is missed though the process stands still now and then."""
    loop, own = stalling(every=4.0, seconds=1.5)
    loop.advance(330.0)
    assert 240.0 - 1.0 <= own.awake() < 330.0


async def test_a_late_beat_tells_of_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a loop of asyncio's."""
    monkeypatch.setattr(clock, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(clock, "BEAT_SECONDS", 0.0)
    own, barked = SystemClock(), asyncio.Event()
    own.watchdog_later(0.0, barked.set)
    began, asleep = own.awake(), own.monotonic()
    time.sleep(0.1)  # noqa: ASYNC251 (as a process does that is stopped)
    await barked.wait()
    assert own.awake() - began < own.monotonic() - asleep - 0.09


def test_a_jump_of_the_wall_clock_is_noticed() -> None:
    """Soon, forward as backward; a small one is none, and without any it waits for as long as it was told to."""
    loop = SimLoop()
    own = VirtualClock(loop)
    for seconds in (JUMP_SECONDS - 1, -JUMP_SECONDS + 1, 13 * 30 * 86400.0, -7200.0):
        waiting = loop.create_task(wait_jump(own, 600.0))
        begun = loop.time()
        loop.call_later(100.0, own.jump, seconds)
        is_jump = abs(seconds) > JUMP_SECONDS
        assert loop.run_until_complete(waiting) is is_jump
        took = loop.time() - begun
        assert 100.0 <= took <= 100.0 + NOTICE_SECONDS if is_jump else took == 600.0


def test_a_jump_between_two_waits_is_noticed() -> None:
    """Once, by the next one."""
    loop = SimLoop()
    own = VirtualClock(loop)
    jumps = Jumps(own)
    assert not loop.run_until_complete(jumps.wait(600.0))
    own.jump(400 * 86400.0)
    assert loop.run_until_complete(jumps.wait(600.0)) and loop.time() <= 600.0 + NOTICE_SECONDS
    assert not loop.run_until_complete(jumps.wait(600.0))
