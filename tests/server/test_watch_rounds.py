"""Rounds: many watchers are told of several changes at once, few of each."""

import asyncio

from sampan.server.watch_rounds import MANY, Rounds


class Watcher:
    """Counts how often it had something to send."""

    def __init__(self, rounds: Rounds) -> None:
        self.wake = asyncio.Event()
        self.is_in_line = False
        self.pieces: list[int] = []
        self._rounds = rounds
        self._pending = 0

    def offer(self) -> None:
        self._pending += 1
        self._rounds.wake(self)

    async def until(self, count: int) -> list[int]:
        """The sizes of its pieces, which hold so many changes together."""
        while sum(self.pieces) < count:
            await self.wake.wait()
            self.wake.clear()
            self.pieces.append(self._pending)
            self._pending = 0
        return self.pieces


async def told(watchers: int, changes: int) -> list[list[int]]:
    """What each got of changes that come one after the other, each when the loop has gone round once."""
    rounds = Rounds()
    found = [Watcher(rounds) for _ in range(watchers)]
    async with asyncio.timeout(60):
        ends = asyncio.gather(*(each.until(changes) for each in found))
        await asyncio.sleep(0)
        for _ in range(changes):
            for each in found:
                each.offer()
            await asyncio.sleep(0)
        return await ends


async def test_few_are_told_of_each_change() -> None:
    assert await told(MANY - 1, 5) == [[1] * 5] * (MANY - 1)


async def test_many_changes_are_no_many_watchers() -> None:
    """One watcher of much leaves the others their pace."""
    rounds = Rounds()
    busy, other = Watcher(rounds), Watcher(rounds)
    for _ in range(2 * MANY):
        busy.offer()
    await asyncio.sleep(0)
    other.offer()
    assert busy.wake.is_set()
    assert other.wake.is_set()


async def test_many_are_told_of_what_comes_meanwhile_together() -> None:
    """The first at once, and what changes while they are told in the next piece. Nobody misses one."""
    found = await told(MANY, 5)
    assert all(sum(pieces) == 5 and pieces[0] == 1 and len(pieces) < 5 for pieces in found)


async def test_afterwards_a_change_is_told_at_once() -> None:
    """One that comes when nobody is in line waits for nothing but the rest."""
    rounds = Rounds()
    watchers = [Watcher(rounds) for _ in range(MANY)]
    async with asyncio.timeout(60):
        for count in (1, 2, 3):
            for each in watchers:
                each.offer()
            for each in watchers:
                await each.until(count)
