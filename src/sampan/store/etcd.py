"""EtcdStore: the store in an etcd v3 that it has for itself, over gRPC.

One watch of everything feeds all watches here, so that a write is answered after its change has been
published, as by every other store. What a broken watch may have missed is read again from where it was.
A write whose answer was lost is looked for in the history, and only sent again where it can't be done twice.

https://etcd.io/docs/latest/learning/api_guarantees/
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from sampan.kit.clock import Clock, SystemClock
from sampan.kit.tasks import Tasks
from sampan.store import etcd_client, etcd_diagnosis, etcd_lost, etcd_version, etcd_wire, keys
from sampan.store.etcd_address import Address
from sampan.store.etcd_client import EVERYTHING, Client, Gone, LeaseGone, Unanswered
from sampan.store.etcd_leases import Leases, Lifetimes
from sampan.store.protocol import (
    Batch,
    Compacted,
    Compare,
    Event,
    Page,
    Put,
    Record,
    Result,
    StoreError,
    Write,
)
from sampan.store.watches import Hub

LOG = logging.getLogger(__name__)
PUBLISH_SECONDS = 10.0
LATE_SECONDS = 2.0
AGAIN_SECONDS = 0.1
TRIES = 5
LOOK_SECONDS = 1.0
CATCH_UP_EVENTS = 5_000
FIRST_REVISION = 1  # an empty etcd's; no change has it
NO_LIFETIMES: Lifetimes = {}


class EtcdStore:
    """A Store. `await EtcdStore.open(url)`; it belongs to the event loop that opened it."""

    def __init__(self, client: Client, revision: int, lifetimes: Lifetimes, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._hub = Hub(revision)
        self._leases = Leases(client, lifetimes, clock)
        self._closed = False
        self._published: dict[asyncio.Future[None], int] = {}
        self._tasks = Tasks("etcd store")
        self._tasks.spawn(self._follow(), "watch")

    @classmethod
    async def open(cls, url: str, clock: Clock | None = None, lifetimes: Lifetimes = NO_LIFETIMES) -> "EtcdStore":
        """etcd://HOST:PORT,...; what is written under the prefixes in `lifetimes` goes after so many seconds.

        Raises ValueError for another URL, StoreError when no member answers, or not to us.
        """
        address = Address.parse(url)
        await _check_usable(address)
        client = Client(address)
        try:
            answer = await _answered(address, _greet(address, client))
        except StoreError as error:
            await client.close()
            faults = etcd_diagnosis.told(await etcd_diagnosis.look(address))
            raise StoreError(f"etcd can't be used: {faults}" if faults else str(error)) from error
        except BaseException:
            await client.close()
            raise
        return cls(client, answer.header.revision, lifetimes, clock or SystemClock())

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """See Store.txn."""
        keys.check_txn(compares, writes)
        self._check_open()
        before = self._hub.revision
        try:
            result = await self._send(compares, writes)
        except Unanswered as lost:
            LOG.warning("the answer to a write was lost (%s): looking for what became of it", lost)
            result = await self._find_out(compares, writes, before)
        if result.succeeded:
            await self._wait_published(result.revision)
        return result

    async def _send(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """Raises Unanswered, StoreError."""
        try:
            answer = await self._client.call_once("txn", _txn(compares, writes, await self._leases.of(writes)))
        except LeaseGone:
            self._leases.forget()
            try:
                answer = await self._client.call_once("txn", _txn(compares, writes, await self._leases.of(writes)))
            except LeaseGone as error:
                raise StoreError("etcd: the lease of a write was gone as soon as it was given") from error
        if answer.succeeded:
            return Result(True, answer.header.revision)
        found = tuple(_first(outcome.range) for outcome in answer.responses)
        return Result(False, answer.header.revision, found)

    async def _find_out(self, compares: Sequence[Compare], writes: Sequence[Write], before: int) -> Result:
        """What became of a transaction that was sent after revision `before`. Raises StoreError when that is not known."""
        result: Result | None = None
        for _ in range(TRIES):
            now = result.revision if result is not None else await self.revision()
            if done := etcd_lost.done_at(compares, writes, await self._events(before, now)):
                return Result(True, done)
            if result is not None:
                return result
            if not etcd_lost.is_guarded(compares, writes):
                break
            try:
                result = await self._send(compares, writes)
            except Unanswered:
                continue
            if result.succeeded:
                return result
        raise StoreError("etcd did not answer, and whether the write was done is not known")

    async def _events(self, after: int, upto: int) -> list[Event]:
        """All that happened after one revision, up to another; asked again when a member is left meanwhile. Raises StoreError."""
        found: list[Event] = []
        failures = 0
        while after < upto:
            try:
                batch = await self._past("", after, upto)
            except Compacted as error:
                raise StoreError("what became of a write is not known: etcd has forgotten it") from error
            except StoreError:
                failures += 1
                if failures == TRIES or self._closed:
                    raise
                await self._clock.sleep(AGAIN_SECONDS)
                continue
            found += batch.events
            after = batch.revision
        return found

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """See Store.get."""
        return _first(await self._range(key.encode(), revision=revision))

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See Store.list."""
        start, end = etcd_client.span(prefix, after)
        if end != EVERYTHING and start >= end:
            answer = await self._range(EVERYTHING, revision=revision)  # nothing is there, at any readable revision
            return Page(revision or answer.header.revision, (), 0)
        answer = await self._range(start, end, revision=revision, limit=limit)
        records = tuple(map(etcd_client.record, answer.kvs))
        return Page(revision or answer.header.revision, records, answer.count - len(records))

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """See Store.watch."""
        return self._hub.watch(prefix, after_revision, self._past)

    async def compact(self, revision: int) -> None:
        """See Store.compact."""
        self._check_open()
        if revision <= 0:
            return
        try:
            await self._client.call("compact", etcd_wire.make("CompactRequest")(revision=revision))
        except Gone:
            return

    def size_bytes(self) -> int | None:
        """See Store.size_bytes."""
        return None

    async def revision(self) -> int:
        """See Store.revision."""
        answer = await self._range(EVERYTHING)
        return int(answer.header.revision)

    async def close(self) -> None:
        """See Store.close."""
        if self._closed:
            return
        self._closed = True
        await self._tasks.close()
        await self._client.close()
        self._hub.close()
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    async def _range(self, start: bytes, end: bytes = b"", **fields: Any) -> Any:
        """Raises Compacted, FutureRevision, StoreError."""
        self._check_open()
        try:
            return await self._client.range(start, end, **fields)
        except Gone as error:
            raise Compacted(await self._oldest()) from error

    async def _oldest(self) -> int:
        """The oldest readable revision, which etcd only tells a watch that comes too late."""
        try:
            await self._client.range(EVERYTHING, revision=FIRST_REVISION)
        except Gone:
            return await self._compacted()
        return 1

    async def _compacted(self) -> int:
        watch = self._client.watch(FIRST_REVISION)
        try:
            async for _ in watch:
                pass
        except Gone as error:
            return error.oldest
        finally:
            await watch.aclose()  # type: ignore[attr-defined]
        return 1

    # Watches

    async def _follow(self) -> None:
        """Publishes every change, for ever."""
        while True:
            try:
                await self._follow_or_skip()
            except StoreError as error:
                LOG.warning("the watch of etcd broke off, and is made again: %s", error)
                await self._clock.sleep(AGAIN_SECONDS)

    async def _follow_or_skip(self) -> None:
        try:
            await self._follow_once()
        except Gone as error:
            oldest = error.oldest or await self._oldest()
            LOG.warning("etcd has forgotten changes that were not read yet: every watch starts again")
            self._hub.skip(oldest)

    async def _follow_once(self) -> None:
        start = self._hub.revision
        async for response in self._client.watch(start + 1):
            if response.created:
                await self._check_history(start)
            if response.events:
                events = [_event(event) for event in response.events]
                self._hub.publish(events[-1].revision, events)
                self._wake()

    async def _past(self, prefix: str, after_revision: int, upto_revision: int) -> Batch:
        if after_revision < 0:
            raise Compacted(await self._oldest())
        self._check_open()
        found: list[Event] = []
        reached = max(after_revision, FIRST_REVISION)
        try:
            if reached >= upto_revision:
                await self._check_history(after_revision)
                return Batch(upto_revision, ())
            async for response in self._client.watch(reached + 1):
                events = [_event(event) for event in response.events]
                found += [e for e in events if e.revision <= upto_revision and e.key.startswith(prefix)]
                reached = events[-1].revision if events else reached
                if reached >= upto_revision or len(found) >= CATCH_UP_EVENTS:
                    break
            await self._check_history(after_revision)
        except Gone as error:
            raise Compacted(error.oldest or await self._oldest()) from error
        return Batch(min(reached, upto_revision), tuple(found))

    async def _check_history(self, revision: int) -> None:
        """Raises Gone when what came after the revision may have been read with a gap."""
        await self._client.range(EVERYTHING, revision=max(revision, FIRST_REVISION))

    async def _wait_published(self, revision: int) -> None:
        """Until the watch has seen the revision. The write is durable: a watch that hangs only delays its answer."""
        for seconds in (LATE_SECONDS, PUBLISH_SECONDS):
            if revision <= self._hub.revision or self._closed:
                return
            waiter = asyncio.get_running_loop().create_future()
            self._published[waiter] = revision
            try:
                async with asyncio.timeout(seconds):
                    await waiter
            except TimeoutError:
                LOG.warning("etcd's watch is late: revision %d was written, and not seen yet", revision)
                self._client.leave_watches()
            finally:
                self._published.pop(waiter, None)

    def _wake(self) -> None:
        for waiter, revision in tuple(self._published.items()):
            if not waiter.done() and (self._closed or revision <= self._hub.revision):
                waiter.set_result(None)


async def _check_usable(address: Address) -> None:
    """Raises StoreError when no member will ever answer us, whatever becomes of it."""
    findings = await etcd_diagnosis.look(address)
    if all(finding.fault and not finding.is_passing for finding in findings):
        raise StoreError(f"etcd can't be used: {etcd_diagnosis.told(findings)}")


async def _answered(address: Address, asked: Coroutine[Any, Any, Any]) -> Any:
    """The answer. A member that comes up meanwhile, and will never answer us, is not waited for. Raises StoreError."""
    asking = asyncio.ensure_future(asked)
    try:
        while not (await asyncio.wait((asking,), timeout=LOOK_SECONDS))[0]:
            await _check_usable(address)
        return asking.result()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _greet(address: Address, client: Client) -> Any:
    """How much there is, from one of a version that will do. Raises StoreError."""
    status = await client.call("status", etcd_wire.make("StatusRequest")())
    _check_version(address, status.version)
    return await client.range(EVERYTHING, EVERYTHING, count_only=True)


def _check_version(address: Address, version: str) -> None:
    """Raises StoreError."""
    if why := etcd_version.fault(version):
        raise StoreError(f"{address} is {why}")
    if why := etcd_version.flaw(version):
        LOG.warning("%s is %s", address, why)


def _txn(compares: Sequence[Compare], writes: Sequence[Write], leases: dict[str, int]) -> Any:
    make = etcd_wire.make
    operation = make("Operation")
    return make("TxnRequest")(
        compare=[
            make("Compare")(
                result=etcd_wire.EQUAL,
                target=etcd_wire.MOD_REVISION,
                key=compare.key.encode(),
                mod_revision=compare.mod_revision,
            )
            for compare in compares
        ],
        success=[
            operation(put=make("PutRequest")(key=write.key.encode(), value=write.value, lease=leases.get(write.key, 0)))
            if isinstance(write, Put)
            else operation(delete=make("DeleteRequest")(key=write.key.encode()))
            for write in writes
        ],
        failure=[operation(range=make("RangeRequest")(key=compare.key.encode())) for compare in compares],
    )


def _first(answer: Any) -> Record | None:
    return etcd_client.record(answer.kvs[0]) if answer.kvs else None


def _event(event: Any) -> Event:
    kv = event.kv
    previous = etcd_client.record(event.prev_kv) if event.HasField("prev_kv") else None
    value = None if event.type == etcd_wire.DELETE else kv.value
    return Event(kv.key.decode(), kv.mod_revision, value, previous)
