"""Calls to an etcd over gRPC, with its failures in the store's own words.

One member is asked at a time; when it does not answer, or knows of no leader, the next one is. What may have been
done already is never sent again from here: that is said by `Unanswered`.

https://etcd.io/docs/latest/dev-guide/api_reference_v3/
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from sampan.store import etcd_wire, keys
from sampan.store.etcd_address import Address
from sampan.store.etcd_files import EtcdFiles
from sampan.store.protocol import FutureRevision, NoSpaceError, Record, StoreError

LOG = logging.getLogger(__name__)

CALL_SECONDS = 30.0
TRY_SECONDS = 5.0
AGAIN_SECONDS = 0.1
LOOK_SECONDS = 10.0
"""So often the certificates' files are looked at."""
EVERYTHING = b"\0"  # as key and as end of a range: all keys
_WITH_LEADER = ("hasleader", "true")
_NOT_SENT = ("failed to connect to all addresses", "etcdserver: no leader", "no available")
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_OUT_OF_TIME = ("context deadline exceeded", "context canceled")
_UNSURE = (*_PASSING, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.ABORTED)


class Gone(Exception):
    """A revision that was compacted; `oldest` is the oldest readable one, 0 when it was not told."""

    def __init__(self, oldest: int = 0) -> None:
        super().__init__(f"revision compacted (oldest readable: {oldest or 'unknown'})")
        self.oldest = oldest


class Unanswered(Exception):
    """It was sent, and nobody knows whether it was done or will be."""


class LeaseGone(Exception):
    """The lease that a write was to have has ended; nothing was written."""


class _Member:
    """A channel to one member. It reconnects by itself."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.target = target
        secure, plain = grpc.aio.secure_channel, grpc.aio.insecure_channel
        self._channel = (
            secure(target, credentials, options=_OPTIONS) if credentials else plain(target, options=_OPTIONS)
        )
        self.calls = {
            name: self._channel.unary_unary(
                path, request_serializer=etcd_wire.encode, response_deserializer=etcd_wire.decoder(answer)
            )
            for name, (path, _, answer) in etcd_wire.KINDS.items()
            if name != "watch"
        }
        path, _, answer = etcd_wire.KINDS["watch"]
        self.watch = self._channel.stream_stream(
            path, request_serializer=etcd_wire.encode, response_deserializer=etcd_wire.decoder(answer)
        )
        self.streams: dict[Any, None] = {}

    def leave(self) -> None:
        """Its watches end: they are made again at another one."""
        for stream in tuple(self.streams):
            stream.cancel()

    async def retire(self) -> None:
        """What is under way has its answer."""
        self.leave()
        await self._channel.close(CALL_SECONDS)

    async def close(self) -> None:
        await self._channel.close()


class Client:
    """All members of an etcd. A call has CALL_SECONDS to find one that answers.

    Certificates that are renewed in their files are shown from then on: what begins goes over new channels.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._files = EtcdFiles(address)
        self._members = self._connected()
        self._look_at = 0.0
        self._leaving: dict[asyncio.Task[None], _Member] = {}
        self._current = 0
        self._token = ""
        self._closed = False

    async def call(self, name: str, request: Any, *, seconds: float = 0.0) -> Any:
        """What may be done twice. `seconds`: what one member has (0: as usual). Raises Gone, FutureRevision, StoreError."""
        return await self._called(name, request, seconds or TRY_SECONDS, may_repeat=True)

    async def call_once(self, name: str, request: Any) -> Any:
        """What may not. Raises Unanswered, and what `call` does when it was not done."""
        return await self._called(name, request, TRY_SECONDS, may_repeat=False)

    async def range(self, start: bytes, end: bytes = b"", **fields: Any) -> Any:
        """The keys from `start` to before `end`, or just `start`."""
        seconds = CALL_SECONDS if end and not fields.get("limit") and not fields.get("count_only") else TRY_SECONDS
        return await self.call(
            "range", etcd_wire.make("RangeRequest")(key=start, range_end=end, **fields), seconds=seconds
        )

    async def watch(self, start_revision: int) -> AsyncIterator[Any]:
        """The responses that have events, of all keys, from a revision on. Raises Gone, StoreError.

        It ends with a StoreError when its member is left; whoever watches goes on at the next one.
        """
        create = etcd_wire.make("WatchCreate")(
            key=EVERYTHING, range_end=EVERYTHING, start_revision=start_revision, prev_kv=True
        )
        member, stream = self._members[self._current], None
        try:
            metadata = await self._metadata()
            member = self._members[self._current]  # meanwhile there may be new ones
            stream = member.watch(metadata=metadata)
            member.streams[stream] = None
            await _begin(stream, etcd_wire.make("WatchRequest")(create=create))
            async for response in stream:
                if response.compact_revision:
                    raise Gone(response.compact_revision)
                if response.canceled:
                    raise StoreError(f"etcd ended the watch: {response.cancel_reason}")
                yield response
        except grpc.aio.AioRpcError as error:
            await self._recover(member, error)
            raise failure(error) from error
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            raise StoreError("the watch was left") from error
        except asyncio.CancelledError:
            if _is_asked_to_end():
                raise
            raise StoreError(f"{member.target} was left") from None
        finally:
            if stream is not None:
                member.streams.pop(stream, None)
                stream.cancel()
                await stream.code()  # only then is it over: nothing of it may reach a loop that is gone
        raise StoreError("etcd ended the watch")

    def leave_watches(self) -> None:
        """Has all watches made again, at another member where there is one."""
        self._turn(self._members[self._current])

    async def close(self) -> None:
        self._closed = True
        for task in self._leaving:
            task.cancel()
        for member in (*self._leaving.values(), *self._members):
            await member.close()

    def _connected(self) -> list[_Member]:
        credentials = self._files.credentials
        return [_Member(target, credentials) for target in self.address.targets]

    async def _look_at_files(self) -> None:
        """Now and then, and when a member does not answer: others may have taken the place of those in use."""
        now = asyncio.get_running_loop().time()
        if not self.address.is_secure or now < self._look_at or self._closed:
            return
        self._look_at = now + LOOK_SECONDS
        if not await self._files.have_changed() or self._closed:
            return
        LOG.info("the certificates for etcd are new, and in use from now on")
        former, self._members = self._members, self._connected()
        for member in former:
            task = asyncio.ensure_future(member.retire())
            self._leaving[task] = member
            task.add_done_callback(self._leaving.pop)

    async def _called(self, name: str, request: Any, seconds: float, *, may_repeat: bool) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CALL_SECONDS
        last = StoreError(f"{self.address} does not answer")
        first = self._current
        while (left := deadline - loop.time()) > 0:
            await self._look_at_files()
            member = self._members[self._current]
            try:
                metadata = await self._metadata()
                member = self._members[self._current]  # meanwhile there may be new ones
                return await member.calls[name](request, timeout=min(seconds, left), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                is_renewed = await self._recover(member, error)
                details = error.details() or ""
                if not is_renewed and not details.startswith(_NOT_SENT):
                    if not may_repeat and error.code() in _UNSURE:
                        raise Unanswered(f"{member.target}: {details or error.code().name.lower()}") from error
                    if not _is_passing(error):
                        raise failure(error) from error
                last = StoreError(f"{member.target}: {details or error.code().name.lower()}")
            except (grpc.aio.UsageError, grpc.RpcError) as error:
                if self._closed or not isinstance(error, grpc.aio.UsageError):
                    raise StoreError("the store is closed") from error
                last = StoreError(f"{member.target} was left")  # it was not sent
            if self._current == first or len(self._members) == 1:
                await asyncio.sleep(min(AGAIN_SECONDS, max(deadline - loop.time(), 0)))
        raise StoreError(f"etcd: {last}")

    async def _recover(self, member: _Member, error: grpc.aio.AioRpcError) -> bool:
        """Goes to the next member when it is this one's fault; True when only our token was too old."""
        if self._closed:
            raise StoreError("the store is closed") from error
        if error.code() is grpc.StatusCode.UNAUTHENTICATED and self._token:
            self._token = ""
            return True
        if _is_passing(error):
            self._look_at = 0.0
            self._turn(member)
        return False

    def _turn(self, member: _Member) -> None:
        """To the next member, unless somebody has done so."""
        if member is self._members[self._current]:
            self._current = (self._current + 1) % len(self._members)
            member.leave()

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        """That a member without a leader is of no use, and who we are."""
        if not self.address.user:
            return (_WITH_LEADER,)
        if not self._token:
            login = etcd_wire.make("LoginRequest")(name=self.address.user, password=self.address.password)
            answer = await self._members[self._current].calls["login"](login, timeout=TRY_SECONDS)
            self._token = answer.token
        return (_WITH_LEADER, ("token", self._token))


async def _begin(stream: Any, request: Any) -> None:
    """Sends a stream's first message; who reads from it then is told when it has ended.

    Of a stream that is cancelled before it has a connection `write` never returns.
    """
    writing, ended = asyncio.ensure_future(stream.write(request)), asyncio.Event()
    stream.add_done_callback(lambda _: ended.set())
    ending = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait((writing, ending), return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            await writing
    finally:
        writing.cancel()
        ending.cancel()


def _is_passing(error: grpc.aio.AioRpcError) -> bool:
    """Whether another member may do better. A member may notice that our time is over before we do: it has no code for that."""
    return error.code() in _PASSING or (error.code() is grpc.StatusCode.UNKNOWN and error.details() in _OUT_OF_TIME)


def failure(error: grpc.aio.AioRpcError) -> Exception:
    """What a failed call means for the store."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.OUT_OF_RANGE:
        if "compacted" in details:
            return Gone()
        if "future" in details:
            return FutureRevision()
    if error.code() is grpc.StatusCode.NOT_FOUND and "lease" in details:
        return LeaseGone()
    if "database space exceeded" in details:
        return NoSpaceError(
            f"etcd: {details}; its quota is full: make room and lift the alarm (etcdctl defrag --cluster, then etcdctl "
            "alarm disarm), or give it a greater --quota-backend-bytes"
        )
    return StoreError(f"etcd: {details or error.code().name.lower()}")


def record(found: Any) -> Record:
    """A KeyValue as a Record."""
    return Record(found.key.decode(), found.value, found.create_revision, found.mod_revision)


def span(prefix: str, after: str) -> tuple[bytes, bytes]:
    """The keys with the prefix that are greater than `after`, as a range: start, and end (not part of it)."""
    start = prefix.encode()
    if after and after.encode() >= start:
        start = after.encode() + b"\0"
    end = keys.prefix_end(prefix)
    return start or EVERYTHING, end.encode() if end is not None else EVERYTHING


def _is_asked_to_end() -> bool:
    """Whether it is our own task that is cancelled, and not a stream of it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
