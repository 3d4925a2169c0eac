"""The simulated loop: time passes only when told to, and everything happens in one order."""

import asyncio

import pytest

from sampan.kit.simloop import SimLoop, Stuck, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.kit.workqueue import WorkQueue


@pytest.fixture
def loop():
    made = SimLoop()
    yield made
    made.close()


def test_a_year_passes_at_once(loop: SimLoop) -> None:
    """Sleeping costs no real time, and the clock shows what was slept."""
    clock = VirtualClock(loop)

    async def sleep() -> float:
        await clock.sleep(365 * 86400)
        return clock.now()

    assert loop.run_until_complete(sleep()) == 1_767_225_600 + 365 * 86400


def test_callbacks_run_in_order(loop: SimLoop) -> None:
    """Ready ones first in, first out; timers by time, equal ones by age."""
    seen: list[str] = []
    for when, name in ((2, "c"), (1, "a"), (2, "d"), (1, "b"), (5, "late")):
        loop.call_later(when, seen.append, name)
    loop.call_later(1, seen.append, "never").cancel()
    loop.call_soon(seen.append, "soon")
    loop.advance(3)
    assert seen == ["soon", "a", "b", "c", "d"]
    assert loop.time() == 3


def test_asyncio_works_inside(loop: SimLoop) -> None:
    """Tasks, timeouts, events, locks, queues, groups and generators work as on a real loop."""

    async def numbers():
        for n in range(3):
            await asyncio.sleep(1)
            yield n

    async def main() -> list[int]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(9), 1)
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        async with asyncio.TaskGroup() as group:
            taken = group.create_task(queue.get())
            await queue.put(1)
        async with asyncio.Lock():
            return [taken.result(), *[n async for n in numbers()]]

    assert loop.run_until_complete(main()) == [1, 0, 1, 2]
    assert loop.time() == 5


def test_waiting_for_nothing_is_an_error(loop: SimLoop) -> None:
    """When nothing can happen any more, a wait ends with Stuck rather than hanging."""
    with pytest.raises(Stuck, match="nothing is left"):
        loop.run_until_complete(asyncio.wait_for(loop.create_future(), None))
    loop.call_later(100, print)
    with pytest.raises(Stuck, match="still not so"):
        loop.run_until(lambda: False, limit_seconds=10)


def test_threads_and_sockets_are_refused(loop: SimLoop) -> None:
    """Whatever would bring in real time or the outside fails at once."""
    with pytest.raises(NotImplementedError):
        loop.run_until_complete(asyncio.to_thread(print))


def test_queue_and_tasks_run_in_virtual_time(loop: SimLoop) -> None:
    """Back-off on the simulated loop takes exactly its time."""
    clock, seen = VirtualClock(loop), []
    tasks = Tasks("test")
    queue: WorkQueue[str] = WorkQueue(clock)

    async def work() -> None:
        while True:
            key = await queue.get()
            seen.append((round(clock.monotonic(), 3), key))
            queue.retry(key)
            queue.done(key)

    async def main() -> None:
        tasks.spawn(work(), "work")
        queue.add("a")
        await clock.sleep(0.1)
        await tasks.close()

    loop.run_until_complete(main())
    assert seen == [(0.0, "a"), (0.005, "a"), (0.015, "a"), (0.035, "a"), (0.075, "a")]
    assert loop.failures == []


def test_asides_end_no_lull(loop: SimLoop) -> None:
    """They come together, at multiples of their delay, and heartbeats are left out on."""
    seen: list[tuple[str, float]] = []

    def beat() -> None:
        seen.append(("beat", loop.time()))
        loop.pulse_later(10, beat)

    def told(name: str) -> None:
        seen.append((name, loop.time()))
        loop.aside_later(60, told, name)

    loop.pulse_later(10, beat)
    loop.aside_later(60, told, "one")
    loop.advance(5)
    loop.aside_later(60, told, "two")
    loop.call_later(200, seen.append, ("timer", 205))
    loop.advance(210)
    assert seen == [
        *((name, when) for when in (60, 120, 180) for name in ("one", "two")),
        ("beat", 204),
        ("timer", 205),
        ("beat", 214),
    ]


def test_a_wait_in_vain_takes_its_time(loop: SimLoop) -> None:
    """Also when the next thing to happen comes later."""
    loop.call_later(100, lambda: None)
    with pytest.raises(Stuck):
        loop.run_until(lambda: False, limit_seconds=5)
    assert loop.time() == 5


@pytest.mark.parametrize("seconds", [20.0, 59.0, 3600.0])
def test_a_watchdog_hears_of_pulses_that_are_on_their_way(loop: SimLoop, seconds: float) -> None:
    """While all is calm it waits for what the pulse after a lull has sent, however long the lull was."""
    seen: list[str] = []
    watchdog: list[asyncio.TimerHandle] = []

    def heard() -> None:
        for handle in watchdog:
            handle.cancel()
        watchdog[:] = [loop.watchdog_later(19, seen.append, "silence")]

    def beat() -> None:
        loop.call_later(0.05, heard)
        loop.pulse_later(10, beat)

    loop.is_calm = lambda: True
    heard()
    loop.pulse_later(10, beat)
    loop.advance(seconds)
    assert seen == []


def test_a_watchdog_that_hears_nothing_barks(loop: SimLoop) -> None:
    """While all is calm too, where others' pulses go on."""
    seen: list[float] = []

    def beat() -> None:
        loop.pulse_later(10, beat)

    loop.is_calm = lambda: True
    loop.watchdog_later(19, lambda: seen.append(loop.time()))
    loop.pulse_later(10, beat)
    for _ in range(10):
        loop.advance(10)
    assert len(seen) == 1
    assert 19 <= seen[0] <= 31


def test_what_ends_the_step_ends_it(loop: SimLoop) -> None:
    """Anything but an exception is not for the loop to keep, as when a test's time is over."""

    class TimeIsUp(BaseException):
        pass

    def end() -> None:
        raise TimeIsUp

    loop.call_later(5, end)
    with pytest.raises(TimeIsUp):
        loop.advance(10)
    assert loop.time() == 5
