"""Compaction of a store that several servers share: each step is done by one of them."""

from sampan.kit.clock import SystemClock
from sampan.store.compaction import MARK, Compaction
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Compare, NoSpaceError, Put, Result, Write


class Clock(SystemClock):
    time = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return self.time


class Counted(MemoryStore):
    """It counts its compactions, and may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.compactions: list[int] = []
        self.is_full = False

    async def compact(self, revision: int) -> None:
        self.compactions.append(revision)
        await super().compact(revision)

    async def txn(self, compares: tuple[Compare, ...], writes: tuple[Write, ...]) -> Result:  # type: ignore[override]
        if self.is_full:
            raise NoSpaceError("full")
        return await super().txn(compares, writes)


async def stepped(store: Counted, servers: list[Compaction], clock: Clock) -> None:
    """Each server does its step, after something was written; the window is over."""
    await store.txn((), (Put("a", b""),))
    clock.time += 200
    for server in servers:
        await server.step()


async def test_one_does_it() -> None:
    """Of two servers whose step it is, whoever writes the mark first compacts; so does a server that came later."""
    store, clock = Counted(), Clock()
    servers = [Compaction(store, clock, window_seconds=300).share() for _ in range(2)]
    for _ in range(5):
        await stepped(store, servers, clock)
    found = await store.get(MARK)
    assert found is not None
    assert len(store.compactions) == len(set(store.compactions)) >= 2
    assert int(found.value) == store.compactions[-1]
    late = Compaction(store, clock, window_seconds=300).share()
    before = len(store.compactions)
    for _ in range(5):
        await stepped(store, [late], clock)
    assert len(store.compactions) > before


async def test_a_full_store_is_compacted_all_the_same() -> None:
    """That nothing can be written down holds nobody up: only compaction makes room."""
    store, clock = Counted(), Clock()
    server = Compaction(store, clock, window_seconds=300).share()
    for _ in range(3):
        await store.txn((), (Put("a", b""),))
        await server.step()
        clock.time += 200
    store.is_full, before = True, len(store.compactions)
    await server.step()
    assert len(store.compactions) == before + 1


async def test_nobody_is_to_remember_what_the_store_forgets() -> None:
    """Also where that many revisions came within the time that others are to remember."""
    store, clock = Counted(), Clock()
    told: list[int] = []
    keeper = Compaction(store, clock, max_revisions=10).tell(told.append)
    for count in (20, 100):
        for _ in range(count):
            await store.txn((), (Put("a", b""),))
        await keeper.step()
        clock.time += 80
    await keeper.step()
    assert store.compactions == [11, 111]
    assert told == [11, 111, 121]
