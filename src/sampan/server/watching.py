"""WATCH: a stream of what changes, from a revision on, in order and without gaps, or an explicit 410.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.kit.ids import Ids
from sampan.meta import status
from sampan.meta.wire import protobuf, table
from sampan.server import codec, list_options, reads, watch_sockets
from sampan.server.cache import Cache, Change, Item
from sampan.server.call import Call
from sampan.server.list_options import ListOptions
from sampan.server.metrics import Metrics
from sampan.server.narrow import Narrow
from sampan.server.request_info import RequestInfo, is_true
from sampan.server.served import Served
from sampan.server.versions import Versions
from sampan.server.watch_metrics import Sent, WatchMetrics
from sampan.server.watch_rounds import Rounds
from sampan.web.message import CHUNK_BYTES, Response
from sampan.web.messages import Messages

BUFFER_EVENTS = 16384
BUFFER_BYTES = 64 << 20
ITEMS_AT_ONCE = 512
PATIENCE_SECONDS = 60.0
"""A watcher that takes nothing for so long is cut off."""
INITIAL_SECONDS = 60.0
"""Writing what there was at first holds a place among the requests for so long at most, as a list does."""
BOOKMARK_SECONDS = 60.0
MIN_TIMEOUT_SECONDS = 1800.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

Tree = dict[str, Any]
Framer = Callable[[str, Item], bytes | Tree]


class Subscription:
    """One watcher's pending changes: filled by the cache, emptied by its stream.

    `revision` is that of what it is sent at first: a bookmark says no more than what was sent.
    """

    def __init__(self, rounds: Rounds, namespace: str, match: reads.Match | None, about: Narrow | None = None) -> None:
        self._rounds = rounds
        self._prefix = f"{namespace}/" if namespace else ""
        self.match = match
        self.about = about
        self.pending: list[Change] = []
        self.bytes = 0
        self.wake = asyncio.Event()
        self.is_in_line = False
        self.overflowed = False
        self.ended = False
        self.bookmark_due = False
        self.kind: Kind | None = None
        self.revision = 0
        self.begun: Callable[[], None] = _nothing

    def offer(self, change: Change) -> None:
        """Called by the cache for each change of the kind."""
        if self.keep(change):
            self._rounds.wake(self)

    def keep(self, change: Change) -> bool:
        """Whether this is for the watcher; then it is pending."""
        item = change.item or change.previous
        if item is None or (self._prefix and not item.key.startswith(self._prefix)):
            return False
        if self.overflowed:
            return False
        self.pending.append(change)
        self.bytes += len(item.stored)
        if len(self.pending) > BUFFER_EVENTS or (self.bytes > BUFFER_BYTES and len(self.pending) > 1):
            self.overflowed = True
            self.pending.clear()  # it has to list anew anyway
        return True

    def take(self) -> list[Change]:
        """What is pending, and is so no more."""
        taken, self.pending, self.bytes = self.pending, [], 0
        return taken

    @property
    def is_idle(self) -> bool:
        return not (self.pending or self.ended or self.bookmark_due or self.overflowed)

    def end(self) -> None:
        self.ended = True
        self.wake.set()

    def want_bookmark(self) -> None:
        self.bookmark_due = True
        self.wake.set()


class _Timers:
    """When a stream ends, when it counts as begun at the latest, and when its next bookmark is due."""

    def __init__(self, seconds: float, subscription: Subscription) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscription = subscription
        self._end = self._loop.call_later(seconds, subscription.end)
        self._begin = self._loop.call_later(INITIAL_SECONDS, subscription.begun)
        self._bookmark: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._begin.cancel()
        self._subscription.begun()

    def start_bookmarks(self) -> None:
        self._subscription.bookmark_due = False
        later = getattr(self._loop, "aside_later", self._loop.call_later)  # a simulated loop has a cheaper way
        self._bookmark = later(BOOKMARK_SECONDS, self._subscription.want_bookmark)

    def cancel(self) -> None:
        self._end.cancel()
        self._begin.cancel()
        if self._bookmark is not None:
            self._bookmark.cancel()


class _Stream:
    """A watcher's frames. Closing it frees the watcher's place even when no frame was ever asked for.

    `ended` is called when what there was at first is sent.
    """

    patience_seconds = PATIENCE_SECONDS

    def __init__(self, frames: AsyncGenerator[bytes | Tree, None], forget: Callable[[], None]) -> None:
        self._frames = frames
        self._forget = forget
        self.ended: Callable[[], None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes | Tree]:
        return self._frames

    def begin(self) -> None:
        """What there was at first is sent."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended()

    async def __anext__(self) -> bytes | Tree:
        return await anext(self._frames)

    async def aclose(self) -> None:
        await self._frames.aclose()
        self._forget()
        self.begin()


class Watching:
    """The watch side of every stored kind."""

    def __init__(self, cache: Cache, ids: Ids, now: Callable[[], float], versions: Versions) -> None:
        self._versions = versions
        self._cache = cache
        self._ids = ids
        self._now = now
        self._open: dict[Subscription, RequestInfo] = {}
        self._rounds: dict[str, Rounds] = defaultdict(Rounds)
        self.counts = WatchMetrics(Metrics())
        cache.on_gap.append(self._lose)

    def _lose(self) -> None:
        """Nobody knows what happened meanwhile: every watcher is told to list anew."""
        for subscription in tuple(self._open):
            subscription.overflowed = True
            subscription.wake.set()

    def open(self) -> Iterable[RequestInfo]:
        """What every open watch asked for."""
        return tuple(self._open.values())

    def close(self) -> None:
        """Ends every stream, as at a shutdown."""
        for subscription in tuple(self._open):
            subscription.end()

    def end_unserved(self, served: Served) -> None:
        """Ends the streams of custom kinds that are served no more, or differently; what is pending is still sent."""
        for subscription, info in tuple(self._open.items()):
            kind = subscription.kind
            if kind is not None and kind.custom and served.find(info.group, info.version, info.resource) is not kind:
                subscription.end()

    async def watch(self, call: Call) -> Response:
        """A response that goes on. Raises ApiError 400, 422, 504; that changes are gone is an event in it, as upstream's."""
        form = codec.negotiate(call.request.headers.get("accept", ""), call.kind)
        match = await reads.selected(call)
        options = list_options.of_watch(call.request)
        messages = watch_sockets.wanted(call.request, are_lines=form.media != codec.PROTOBUF)
        start = options.revision
        if options.sends_initial:
            start = 0  # with the present state
        if start > self._cache.revision:
            raise status.too_new(start, self._cache.revision)
        cache = self._cache.of(call.kind)
        cache.is_held |= call.request.takes_trees
        about = reads.narrowed(call)
        namespace = call.namespace if call.kind.namespaced else ""  # a Namespace's own path has one
        subscription = Subscription(self._rounds[cache.prefix], namespace, match, about)
        subscription.kind, subscription.revision = call.kind, self._cache.revision
        initial: Sequence[Item] = ()
        framer = _framer(call, form, self._now)
        if start:
            try:
                for change in cache.since(start):
                    subscription.keep(change)
            except status.ApiError as error:
                only = _Stream(_only(framer("ERROR", Item.of(error.status))), _nothing)
                return _stream_response(call, form, only, messages)
        elif options.sends_initial is not False:
            initial = cache.range(namespace, about)
        frames = self._stream(call, options, subscription, initial, framer)
        cache.listen(subscription.offer, about)
        self._open[subscription] = call.info
        stream = _Stream(frames, partial(self._forget, call.kind, subscription))
        subscription.begun = stream.begin
        return _stream_response(call, form, stream, messages)

    async def _stream(
        self, call: Call, options: ListOptions, subscription: Subscription, initial: Sequence[Item], frame: Framer
    ) -> AsyncGenerator[bytes | Tree, None]:
        timers = _Timers(self._timeout(options), subscription)
        bookmarks = is_true(call.request.param("allowWatchBookmarks", "false"))
        match, sent = subscription.match, self.counts.of(call.info)
        try:
            initial = await self._versions.views(call.kind, initial)
            sent.starts(len(initial) + len(subscription.pending))
            for start in range(0, len(initial), ITEMS_AT_ONCE):
                some = initial[start : start + ITEMS_AT_ONCE]
                for piece in _pieces((frame("ADDED", item) for item in some if match is None or match(item)), sent):
                    yield piece
                if start + ITEMS_AT_ONCE < len(initial):
                    await asyncio.sleep(0)
            if options.sends_initial:
                yield sent.one(frame("BOOKMARK", _bookmark(call, subscription.revision, INITIAL_EVENTS_END)))
            timers.begin()
            if bookmarks:
                timers.start_bookmarks()
            while not subscription.ended or subscription.pending or subscription.overflowed:
                if subscription.is_idle:
                    subscription.wake.clear()
                    await subscription.wake.wait()
                changes = subscription.take()
                if call.kind.is_satellite:
                    changes = [await self._viewed(call.kind, change) for change in changes]
                for piece in _pieces(_frames(changes, subscription.match, frame), sent):
                    yield piece
                if subscription.overflowed:
                    sent.ended_behind()
                    yield sent.one(frame("ERROR", _gone()))
                    return
                if subscription.bookmark_due and not subscription.pending:
                    yield sent.one(frame("BOOKMARK", _bookmark(call, self._cache.revision)))
                    timers.start_bookmarks()
            if bookmarks:
                yield sent.one(frame("BOOKMARK", _bookmark(call, self._cache.revision)))
        except status.ApiError as error:  # an object could not be converted
            yield sent.one(frame("ERROR", Item.of(error.status)))
        finally:
            timers.cancel()
            self._forget(call.kind, subscription)

    async def _viewed(self, kind: Kind, change: Change) -> Change:
        """A change of stored objects as the kind shows them."""
        item = None if change.item is None else await self._versions.view(kind, change.item)
        previous = None if change.previous is None else await self._versions.view(kind, change.previous)
        return Change(change.revision, item, previous)

    def _forget(self, kind: Kind, subscription: Subscription) -> None:
        self._cache.of(kind).unlisten(subscription.offer, subscription.about)
        self._open.pop(subscription, None)
        subscription.begun = _nothing  # which the stream knows that knows this one: no circle is left

    def _timeout(self, options: ListOptions) -> float:
        if options.timeout_seconds > 0:
            return float(options.timeout_seconds)
        spread = int(self._ids.uid().replace("-", "")[:4], 16) / 65536
        return MIN_TIMEOUT_SECONDS * (1 + spread)


def _stream_response(call: Call, form: codec.Form, stream: _Stream, messages: Messages | None) -> Response:
    content_type = form.content_type + (";stream=watch" if form.media == codec.PROTOBUF else "")
    code = 200 if messages is None else 101
    return Response(code, stream, codec.warning_headers(call.warnings), content_type, messages)


async def _only(frame: bytes | Tree) -> AsyncGenerator[bytes | Tree, None]:
    yield frame


def _nothing() -> None:
    """What is called when nobody waits for a stream's beginning any more."""


def _bookmark(call: Call, revision: int, annotation: str = "") -> Item:
    metadata: Tree = {"creationTimestamp": None}
    if annotation:
        metadata["annotations"] = {annotation: "true"}
    tree = {"kind": call.kind.name, "apiVersion": call.api_version, "metadata": metadata}
    return Item("", revision, orjson.dumps(tree))


def _pieces(frames: Iterable[bytes | Tree], sent: Sent) -> Iterator[bytes | Tree]:
    """Frames of bytes joined to pieces that are worth a write, trees one by one."""
    some: list[bytes] = []
    size = 0
    for frame in frames:
        if not isinstance(frame, bytes):
            yield sent.one(frame)
            continue
        some.append(frame)
        size += len(frame)
        if size >= CHUNK_BYTES:
            sent.count(some)
            yield b"".join(some)
            some, size = [], 0
    if some:
        sent.count(some)
        yield b"".join(some)


def _frames(changes: list[Change], match: reads.Match | None, frame: Framer) -> Iterator[bytes | Tree]:
    """What a watcher gets of these changes. Plain JSON lines are made once for all watchers."""
    for change in changes:
        kind, item = _seen(change, match)
        if item is not None:
            yield frame(kind, item)
        elif kind:
            yield change.frame(kind) if frame is _json_frame else frame(kind, change.last())


def _seen(change: Change, match: reads.Match | None) -> tuple[str, Item | None]:
    """What a watcher with this selection sees: (type, another item than the change's own), or ("", None)."""
    before = change.previous is not None and (match is None or match(change.previous))
    after = change.item is not None and (match is None or match(change.item))
    if after:
        return ("MODIFIED" if before else "ADDED"), None
    if not before or change.previous is None:
        return "", None
    if change.item is None:
        return "DELETED", None
    return "DELETED", change.previous.at(change.revision)


def _json_frame(kind: str, item: Item) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), item.wire)


def _framer(call: Call, form: codec.Form, now: Callable[[], float]) -> Framer:
    """How one event is written in the client's form."""
    if form.media == codec.PROTOBUF:
        return _protobuf_metadata_frame if form.shape else _protobuf_frame
    if form.shape == "Table":
        return _TableFramer(call.kind, codec.table_options(call), now, form.shape_version)
    if form.shape:
        return _metadata_frame if form.shape_version == "v1" else partial(_metadata_frame_of, form.shape_version)
    return _tree_frame if call.request.takes_trees else _json_frame


def _tree_frame(kind: str, item: Item) -> Tree:
    return {"type": kind, "object": item.tree}


def _metadata_frame(kind: str, item: Item) -> bytes:
    return _line(kind, item.tree if kind == "ERROR" else table.partial_metadata(item.tree))


def _metadata_frame_of(version: str, kind: str, item: Item) -> bytes:
    made = item.tree if kind == "ERROR" else table.in_version(table.partial_metadata(item.tree), version)
    return _line(kind, made)


def _line(kind: str, tree: Tree) -> bytes:
    return orjson.dumps({"type": kind, "object": tree}) + b"\n"


class _TableFramer:
    """Rows of a Table; the columns are told with the first one only."""

    def __init__(self, kind: Kind, include: str, now: Callable[[], float], version: str) -> None:
        self._kind, self._include, self._now, self._version = kind, include, now, version
        self._told = False

    def __call__(self, kind: str, item: Item) -> bytes:
        if kind in ("BOOKMARK", "ERROR"):
            return _line(kind, item.tree)
        rows = table.table(self._kind.columns, [item.tree], self._now(), self._include, str(item.revision))
        if self._told:
            rows = table.without_columns(rows)
        self._told = True
        return _line(kind, table.in_version(rows, self._version))


def _protobuf_frame(kind: str, item: Item) -> bytes:
    tree = item.tree
    if kind == "ERROR":
        return protobuf.watch_frame(kind, protobuf.encode(tree))
    return protobuf.watch_frame(kind, protobuf.wrap(tree["apiVersion"], tree["kind"], item.protobuf))


def _protobuf_metadata_frame(kind: str, item: Item) -> bytes:
    tree = item.tree if kind == "ERROR" else table.partial_metadata(item.tree)
    return protobuf.watch_frame(kind, protobuf.encode(tree))


def _gone() -> Item:
    """What a watcher that fell behind is told: a 410 in place of an object."""
    error = status.expired("too old resource version: the watcher fell behind")
    return Item.of(error.status)
