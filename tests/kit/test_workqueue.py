"""The work queue: each key once, never twice at a time, later when asked."""

import asyncio

import pytest

from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.workqueue import FEW_STALE, QueueClosed, WorkQueue


def run(scenario) -> None:
    loop = SimLoop()
    clock = VirtualClock(loop)

    async def main() -> None:
        await scenario(WorkQueue(clock), clock)

    loop.run_until_complete(main())
    loop.close()


def test_keys_come_once_and_in_order() -> None:
    """A key added twice comes once, in the order of the first add."""

    async def scenario(queue, clock) -> None:
        for key in "abab":
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    run(scenario)


def test_a_key_is_never_worked_on_twice_at_once() -> None:
    """Added while being worked on, it comes again, but only after done."""

    async def scenario(queue, clock) -> None:
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 1)
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    run(scenario)


def test_the_earlier_of_two_delays_counts() -> None:
    """A key added with two delays comes once, at the earlier."""

    async def scenario(queue, clock) -> None:
        queue.add_after("a", 10)
        queue.add_after("a", 2)
        queue.add_after("a", 5)
        assert await queue.get() == "a"
        assert clock.monotonic() == 2
        queue.done("a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 60)

    run(scenario)


def test_delays_that_an_earlier_one_replaced_do_not_add_up() -> None:
    """However often a key is to come a little sooner; it comes at the earliest."""

    async def scenario(queue, clock) -> None:
        queue.add_after("other", 900)
        for number in range(500):
            queue.add_after("often", 600 - number)
        assert len(queue._later._delayed) <= 2 * 2 + FEW_STALE
        assert [await queue.get(), clock.monotonic()] == ["often", 101.0]
        assert [await queue.get(), clock.monotonic()] == ["other", 900.0]

    run(scenario)


def test_back_off_doubles_up_to_its_limit_until_forgotten() -> None:
    """5 ms, doubling, at most 1000 s; after forget it starts again."""

    async def scenario(queue, clock) -> None:
        waited = []
        for _ in range(25):
            start = clock.monotonic()
            queue.retry("a")
            await queue.get()
            queue.done("a")
            waited.append(clock.monotonic() - start)
        assert waited[:3] == pytest.approx([0.005, 0.01, 0.02])
        assert waited[-1] == pytest.approx(1000)
        queue.forget("a")
        start = clock.monotonic()
        queue.retry("a")
        await queue.get()
        assert clock.monotonic() - start == pytest.approx(0.005)

    run(scenario)


def test_a_cancelled_getter_passes_its_turn_on() -> None:
    """A key meant for a getter that is cancelled goes to another."""

    async def scenario(queue, clock) -> None:
        first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await second == "a"

    run(scenario)


def test_close_ends_getters() -> None:
    """Getters and later gets end with QueueClosed."""

    async def scenario(queue, clock) -> None:
        waiting = [asyncio.ensure_future(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.add_after("a", 1)
        queue.close()
        for each in (*waiting, queue.get()):
            with pytest.raises(QueueClosed):
                await each

    run(scenario)


def test_waiting_and_working_are_timed() -> None:
    """How long a key waited for its turn and was worked on, for who asks to be told."""

    async def scenario(queue, clock) -> None:
        waited, worked = [], []
        queue.waited, queue.worked = waited.append, worked.append
        queue.add("a")
        await clock.sleep(3)
        assert await queue.get() == "a"
        await clock.sleep(2)
        assert queue.unfinished() == [2]
        queue.done("a")
        assert (waited, worked, queue.unfinished()) == ([3], [2], [])

    run(scenario)


def test_a_key_that_rests_comes_once_when_that_is_over() -> None:
    """However often it is added meanwhile, and whether that was during the work or after it."""

    async def scenario(queue, clock) -> None:
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.done("a", rest=3)
        queue.add("a")
        queue.add_after("a", 1)
        assert await queue.get() == "a"
        assert clock.monotonic() == 3
        queue.done("a", rest=3)
        await clock.sleep(2)
        queue.add("a")
        assert await queue.get() == "a"
        assert clock.monotonic() == 6
        queue.done("a", rest=3)
        await clock.sleep(4)
        queue.add("a")
        assert await queue.get() == "a"
        assert clock.monotonic() == 10

    run(scenario)


def test_the_first_worker_is_hired_when_there_is_work() -> None:
    """Once; at once where something is due already."""

    async def scenario(queue, clock) -> None:
        hired: list[str] = []
        queue.hire(lambda: hired.append("first"))
        queue.add_after("a", 2)
        await clock.sleep(1)
        assert hired == []
        await clock.sleep(1)
        queue.add("b")
        assert hired == ["first"]
        queue.hire(lambda: hired.append("second"))
        assert hired == ["first", "second"]

    run(scenario)


def test_what_is_due_later_is_due_now() -> None:
    """In its order, once, and but for what rests; later ones come as ever."""

    async def scenario(queue, clock) -> None:
        for key, seconds in (("b", 7200), ("a", 3600), ("c", 9000)):
            queue.add_after(key, seconds)
        queue.hurry()
        assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]
        assert clock.monotonic() == 0
        queue.add_after("d", 5)
        queue.done("a", rest=3)
        queue.add("a")
        queue.hurry()
        assert [await queue.get(), await queue.get()] == ["d", "a"]
        assert clock.monotonic() == 3
        queue.add_after("e", 5)
        assert await queue.get() == "e"
        assert clock.monotonic() == 8

    run(scenario)
