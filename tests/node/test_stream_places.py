"""Places for streams: given in order, waited for, given up, and all there again in the end."""

import asyncio

import pytest

from sampan.node import stream_places
from sampan.node.stream_places import NoPlaceError, StreamPlaces


class Holder:
    """Somebody who takes a place and keeps it until told."""

    def __init__(self, places: StreamPlaces, cost: int, gone: asyncio.Future[None] | None = None) -> None:
        self.has_it, self._leave = asyncio.Event(), asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(places, cost, gone))

    async def _hold(self, places: StreamPlaces, cost: int, gone: asyncio.Future[None] | None) -> None:
        async with places.place(cost, gone):
            self.has_it.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_in_order() -> None:
    """Who asks for much is not passed by those who ask for little, and gets it as soon as there is so much."""
    places = StreamPlaces(8)
    first, second = Holder(places, 4), Holder(places, 4)
    large, small = Holder(places, 8), Holder(places, 1)
    await settle()
    assert first.has_it.is_set() and second.has_it.is_set()
    await first.leave()
    await settle()
    assert not large.has_it.is_set() and not small.has_it.is_set()
    await second.leave()
    await settle()
    assert large.has_it.is_set() and not small.has_it.is_set()
    await large.leave()
    await small.leave()
    places.take_at_once(8)


async def test_who_has_waited_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hears of it, as does who finds too many waiting; both take nothing."""
    places = StreamPlaces(2, patience_seconds=0.01)
    holder = Holder(places, 2)
    await settle()
    with pytest.raises(NoPlaceError):
        async with places.place(1):
            pass
    with pytest.raises(NoPlaceError):
        places.take_at_once(1)
    monkeypatch.setattr(stream_places, "MOST_WAITING", 0)
    with pytest.raises(NoPlaceError):
        async with places.place(1):
            pass
    await holder.leave()
    places.take_at_once(2)
    places.give_back(2)


async def test_who_leaves_while_waiting() -> None:
    """Is not waited for: neither one whose connection is lost, nor one that is cancelled."""
    places = StreamPlaces(2)
    holder = Holder(places, 2)
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left, cancelled, last = Holder(places, 2, gone), Holder(places, 2), Holder(places, 1)
    await settle()
    gone.set_result(None)
    with pytest.raises(ConnectionResetError):
        await left.task
    cancelled.task.cancel()
    await settle()
    await holder.leave()
    await settle()
    assert last.has_it.is_set() and not cancelled.has_it.is_set()
    await last.leave()
    places.take_at_once(2)
