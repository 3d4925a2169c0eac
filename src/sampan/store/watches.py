"""Watches: every change in revision order, to everyone who asked, without ever waiting for anyone.

A store publishes after its commit. A watch collects what its reader has not taken yet, up to a bound;
a reader who falls behind is told so (`Compacted`) instead of being served with a gap or growing memory.
"""

import asyncio
import itertools
import weakref
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from sampan.store.protocol import Batch, Compacted, Event

MAX_EVENTS = 20_000
MAX_BYTES = 64 * 1024 * 1024

# (prefix, after_revision, upto_revision) -> a batch of whole revisions, as far as it went.
CatchUp = Callable[[str, int, int], Awaitable[Batch]]


class Hub:
    """Who watches. `revision` is the last one published."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.max_events = MAX_EVENTS
        self.max_bytes = MAX_BYTES
        self._watches: dict[int, weakref.ref[Watch]] = {}
        self._numbers = itertools.count()
        self._closed = False

    def watch(self, prefix: str, after_revision: int, catch_up: CatchUp) -> "Watch":
        """A new watch. It is dropped when nobody holds it any more."""
        watch = Watch(self, prefix, after_revision, catch_up)
        if self._closed:
            watch.end()
            return watch
        number = next(self._numbers)
        self._watches[number] = weakref.ref(watch, lambda _: self._watches.pop(number, None))
        return watch

    def publish(self, revision: int, events: Iterable[Event]) -> None:
        """Hands on the events of all revisions up to this one. Revisions already published are skipped."""
        if revision <= self.revision:
            return
        fresh = [event for event in events if event.revision > self.revision]
        self.revision = revision
        for number in list(self._watches):  # not of items: to make pairs may collect a watch, which then goes meanwhile
            reference = self._watches.get(number)
            watch = None if reference is None else reference()
            if watch is None or watch.is_ended:
                self._watches.pop(number, None)
            else:
                watch.offer(revision, fresh)

    def skip(self, revision: int) -> None:
        """What happened up to the revision is not known here: every watch is told so, instead of going on with a gap."""
        self.revision = max(self.revision, revision)
        for reference in list(self._watches.values()):
            if (watch := reference()) is not None:
                watch.lose()

    def close(self) -> None:
        """Ends all watches, and those to come."""
        self._closed = True
        for reference in list(self._watches.values()):
            if (watch := reference()) is not None:
                watch.end()
        self._watches.clear()

    def __len__(self) -> int:
        return len(self._watches)


class Bounds(Protocol):
    """What a watch reads of its hub."""

    revision: int
    max_events: int
    max_bytes: int


class Watch:
    """The changes under one prefix after one revision, for one reader: an async iterator of batches."""

    def __init__(self, hub: Bounds, prefix: str, after_revision: int, catch_up: CatchUp) -> None:
        self._hub = hub
        self._prefix = prefix
        self._delivered = after_revision  # the reader has everything up to here
        self._past = hub.revision  # up to here the past is read from the store, from here on it is collected
        self._catch_up = catch_up
        self._events: list[Event] = []
        self._bytes = 0
        self._revision = max(after_revision, hub.revision)
        self._lost = False
        self.is_ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._is_waking = False

    def offer(self, revision: int, events: list[Event]) -> None:
        """New changes, all later than those offered before."""
        if self._lost:
            return
        prefix, after = self._prefix, self._delivered
        wanted, size = [], 0
        for event in events:
            if event.revision > after and event.key.startswith(prefix):
                wanted.append(event)
                size += _size(event)
        too_much = len(self._events) + len(wanted) > self._hub.max_events or self._bytes + size > self._hub.max_bytes
        if self._events and too_much:
            self.lose()
            return
        self._events.extend(wanted)
        self._bytes += size
        self._revision = max(self._revision, revision)
        if self._waiter is not None and not self._is_waking:
            self._is_waking = True
            self._waiter.get_loop().call_soon(self._wake_if_left)

    def lose(self) -> None:
        """There is a gap: the reader gets Compacted."""
        self._lost = True
        self._events.clear()
        self._wake()

    def end(self) -> None:
        """Ends the iteration; what was not taken is dropped."""
        self.is_ended = True
        self._events.clear()
        self._wake()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Batch:
        while not self.is_ended:
            if self._lost:
                self.end()
                raise Compacted(self._hub.revision)
            if self._delivered < self._past:
                batch = await self._read_past()
                if batch.events or self._delivered >= self._past:
                    return batch
            elif self._events or self._revision > self._delivered:
                return self._take()
            else:
                await self._wait()
        raise StopAsyncIteration

    def take_at_once(self) -> Batch | None:
        """What the reader would get without waiting, for one who cannot wait until his turn comes; None when he would."""
        is_read = self.is_ended or self._lost or self._delivered < self._past
        return self._take() if not is_read and (self._events or self._revision > self._delivered) else None

    async def aclose(self) -> None:
        """The reader wants no more."""
        self.end()

    async def _read_past(self) -> Batch:
        try:
            batch = await self._catch_up(self._prefix, self._delivered, self._past)
        except BaseException:
            self.end()
            raise
        self._delivered = batch.revision
        return batch

    def _take(self) -> Batch:
        batch = Batch(self._revision, tuple(self._events))
        self._events.clear()
        self._bytes = 0
        self._delivered = self._revision
        return batch

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake_if_left(self) -> None:
        """Unless it was all taken meanwhile."""
        self._is_waking = False
        if self._events or self._revision > self._delivered:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _size(event: Event) -> int:
    size = len(event.key) + len(event.value or b"")
    return size + len(event.previous.value) if event.previous is not None else size
