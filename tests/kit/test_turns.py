"""Turns: a few at a time, and who takes long keeps nobody waiting."""

import asyncio

from sampan.kit.simloop import SimLoop
from sampan.kit.turns import Turns


def test_who_takes_long_does_not_count() -> None:
    """The others come when somebody is done, or after the time that a turn lasts; in the end as many may as before."""
    loop = SimLoop()
    turns, begun = Turns(2, 10.0), list[tuple[str, float]]()

    async def work(name: str, seconds: float) -> None:
        async with turns.one():
            begun.append((name, loop.time() - start))
            await asyncio.sleep(seconds)

    start = loop.time()
    tasks = [loop.create_task(work(name, seconds)) for name, seconds in [("a", 100), ("b", 1), ("c", 100), ("d", 1)]]
    loop.advance(5)
    assert (begun, turns.locked()) == ([("a", 0.0), ("b", 0.0), ("c", 1.0)], True)
    loop.advance(200)
    assert begun[3:] == [("d", 10.0)] and all(task.done() for task in tasks)
    again = [loop.create_task(work(name, 1)) for name in "xyz"]
    loop.advance(0.5)
    assert [name for name, _ in begun[4:]] == ["x", "y"]
    again[2].cancel()
    loop.advance(5)
    assert not turns.locked()
    loop.close()


def test_not_all_of_them_take_long_at_once() -> None:
    """Four times as many as may begin side by side; the others begin when one of these is done, in their order."""
    loop = SimLoop()
    turns, begun, ends = Turns(2, 10.0), list[int](), [asyncio.Event() for _ in range(10)]

    async def work(number: int) -> None:
        async with turns.one():
            begun.append(number)
            await ends[number].wait()

    tasks = [loop.create_task(work(number)) for number in range(10)]
    loop.advance(1000)
    assert begun == list(range(8)) and turns.locked()
    tasks[8].cancel()
    ends[3].set()
    loop.advance(1)
    assert begun[8:] == [9]
    for end in ends:
        end.set()
    loop.advance(1)
    assert all(task.done() for task in tasks) and not turns.locked()
    loop.close()
