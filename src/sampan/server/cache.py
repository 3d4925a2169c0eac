"""The watch cache: every live object of every kind as bytes, and a bounded window of events.

One task follows the store; a write is answered only after the cache has applied it, so that reads
from here are never older than an acknowledged write. Bytes are made once: an `Item` holds the
stored bytes and, on demand, the bytes for clients, with the resourceVersion spliced in.
"""

import asyncio
import logging
from bisect import bisect_left, insort
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.kit import compact_json
from sampan.kit.tasks import Tasks
from sampan.meta import status
from sampan.meta.apply import fieldset
from sampan.meta.wire import json, protobuf
from sampan.server import gap
from sampan.server.narrow import ByNode, Listeners, Narrow
from sampan.store.protocol import Batch, Compacted, Compare, Event, Page, Put, Result, Store, StoreError, Write

LOG = logging.getLogger(__name__)
ROOT = "/registry/"
WINDOW_EVENTS = 8192
WINDOW_BYTES = 32 << 20
LEAST_EVENTS = 100
"""Kept however old they are, as upstream does, so that in a quiet kind a watch can go on from long ago."""
FRESH_EVENTS = 64
"""The latest changes of a kind, which those who watch are about to read; older ones are kept as they are stored."""
MAX_VIEWS = 4
AGAIN_SECONDS = 0.2
"""Until the store is asked again that did not answer."""
_METADATA = b'"metadata":{'
_REVISION = "ControllerRevision"
"""kubectl compares the bytes of its data with what it would write, to know whether a rollback changes anything."""

Tree = dict[str, Any]
Written = tuple[str, bytes, Tree]
"""A key of the store, what is stored there, and the same as a tree."""


class Item:
    """One object at one revision. `key` is NAMESPACE/NAME, or NAME for cluster-scoped kinds."""

    __slots__ = ("_labels", "_protobuf", "_tree", "_view", "key", "revision", "stored")

    def __init__(self, key: str, revision: int, stored: bytes, tree: Tree | None = None) -> None:
        self.key = key
        self.revision = revision
        self.stored = stored
        self._protobuf: bytes | None = None
        self._tree: Tree | None = tree
        if tree is not None:
            tree["metadata"]["resourceVersion"] = str(revision)
        self._labels: dict[str, str] | None = None
        self._view: tuple[tuple[Kind, Item], ...] | None = ()
        """None: nothing is kept any more of what is made from what is stored."""

    def view(self, kind: Kind) -> "Item | None":
        """This object as the Kind serves it, when that was made before (see server.versions)."""
        return next((item for known, item in self._view or () if known is kind), None)

    def keep_view(self, kind: Kind, item: "Item") -> None:
        """Remembers it for the next reader; only for the latest few versions."""
        views = self._view
        if views is not None:
            self._view = ((kind, item), *(pair for pair in views if pair[0] is not kind))[:MAX_VIEWS]

    @classmethod
    def of(cls, tree: Tree) -> "Item":
        """Something that is no object of the store, such as a Status in a watch."""
        item = cls("", 0, b"")
        item._tree, item.stored = tree, orjson.dumps(tree)
        return item

    @property
    def wire(self) -> bytes:
        """JSON with the resourceVersion, made anew each time: to keep it would double the memory of what is read."""
        # What a dry run would have created has no revision.
        return splice(self.stored, self.revision) if self.revision else self.stored

    def listed(self, head: bytes) -> bytes:
        """The same without the `head` up to its metadata, with which objects of a kind begin: a list says that once for all."""
        stored = self.stored
        if not stored.startswith(head):
            return self.wire
        return b'{"metadata":{"resourceVersion":"%d",%b' % (self.revision, stored[len(head) :])

    @property
    def protobuf(self) -> bytes:
        """The object's own protobuf bytes, without an envelope. ApiError 406 when its kind has none."""
        body = self._protobuf
        if body is None:
            body = protobuf.body(self._tree or self.copy())
            if self._view is not None:
                self._protobuf = body
        return body

    @property
    def tree(self) -> Tree:
        """The object, decoded once and shared: never mutate it."""
        tree = self._tree
        if tree is None:
            tree = share_fields(self.copy())
            if self._view is not None:
                self._tree = tree
        return tree

    @property
    def labels(self) -> dict[str, str]:
        labels = self._labels
        if labels is None:
            tree = self._tree or orjson.loads(self.stored)
            labels = tree["metadata"].get("labels") or {}
            if self._view is not None:
                self._labels = labels
        return labels

    def settle(self, *, is_gone: bool) -> None:
        """Keeps what is stored alone; all else is made from that when it is asked for. If it is gone, for good."""
        self._view = None if is_gone else ()
        self._protobuf = self._tree = self._labels = None

    def at(self, revision: int) -> "Item":
        """The same object as something that became of it shows it: a later deletion, or that it is selected no more."""
        tree = self._tree
        shown = None if tree is None else {**tree, "metadata": dict(tree["metadata"])}
        return Item(self.key, revision, self.stored, shown)

    def copy(self) -> Tree:
        """A fresh tree, the caller's own."""
        tree: Tree = orjson.loads(self.wire)
        return tree


def share_fields(tree: Tree) -> Tree:
    """The same tree, which is the caller's own, with the field sets that others have who say the same.

    Trees that come from a write have them already (see `managed`).
    """
    for entry in tree["metadata"].get("managedFields") or ():
        if fields := entry.get("fieldsV1"):
            entry["fieldsV1"] = fieldset.shared(fields)
    return tree


def splice(stored: bytes, revision: int) -> bytes:
    """Stored bytes with metadata.resourceVersion put in as the first field of metadata."""
    at = stored.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (stored[:at], revision, stored[at:])


def encode(obj: Tree) -> bytes:
    """An object as it is stored: kind, apiVersion and metadata first, no resourceVersion."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata:
        metadata = dict(metadata)
        del metadata["resourceVersion"]
    head = {"kind": "", "apiVersion": "", "metadata": {}, **obj}
    head["metadata"] = metadata
    stored = compact_json.dumps(head)
    return json.escaped(stored) if obj["kind"] == _REVISION else stored


class Change:
    """One event for watchers: the item now, and before (None when there was none)."""

    __slots__ = ("_frames", "_last", "item", "previous", "revision")

    def __init__(self, revision: int, item: Item | None, previous: Item | None) -> None:
        self.revision = revision
        self.item = item
        self.previous = previous
        self._frames: dict[str, bytes] | None = {}
        """None once it is settled."""
        self._last = item

    @property
    def size(self) -> int:
        """Bytes of what is stored, or was."""
        item = self.item or self.previous
        return len(item.stored) if item is not None else 0

    def last(self) -> Item:
        """The object to show: the new one, or the last state of a deleted one at the deletion's revision."""
        last = self._last
        if last is None:
            assert self.previous is not None  # a deletion always has a state before
            last = self.previous.at(self.revision)
            if self._frames is not None:
                self._last = last
        return last

    def frame(self, kind: str) -> bytes:
        """The JSON line of a watch, made once for all watchers that follow; anew for each that goes on from before."""
        frames = self._frames
        frame = None if frames is None else frames.get(kind)
        if frame is None:
            frame = b'{"type":"%b","object":%b}\n' % (kind.encode(), self.last().wire)
            if frames is not None:
                frames[kind] = frame
        return frame

    def settle(self, *, is_held: bool) -> None:
        """Watchers have had it. What is live now stays as it is if others here hold the same tree."""
        self._frames = None
        self._last = self.item
        if self.previous is not None:
            self.previous.settle(is_gone=True)
        if self.item is not None and not is_held:
            self.item.settle(is_gone=False)  # unless the change after this one says so


Listener = Callable[[Change], None]


class KindCache:
    """The live objects under one prefix in key order, and its latest events."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.items: dict[str, Item] = {}
        self.changes: deque[Change] = deque()
        self._bytes = 0
        self._fresh = 0
        self.oldest = 0
        self.is_held = False
        """Whether somebody in this process follows it, and so holds the trees of all that is live."""
        self._listeners = Listeners()
        self._by_node: ByNode | None = None
        self._order: list[str] = []

    @property
    def resource(self) -> str:
        """What is kept here, as messages name it: deployments.apps."""
        group, _, plural = self.prefix.removeprefix(ROOT).rstrip("/").partition("/")
        return plural if group == "core" else f"{plural}.{group}"

    def get(self, key: str) -> Item | None:
        return self.items.get(key)

    @property
    def by_node(self) -> ByNode:
        """For the kind of pods: whose they are."""
        if self._by_node is None:
            self._by_node = ByNode(self.get, self.items)
        return self._by_node

    def listen(self, listener: Listener, about: Narrow | None = None) -> None:
        """Calls it for each change from now on, or for those that this is about."""
        if about is not None and about.node:
            self.by_node.catch_up()  # so that it is known where a pod was before
        self._listeners.add(listener, about)

    def unlisten(self, listener: Listener, about: Narrow | None = None) -> None:
        self._listeners.remove(listener, about)

    def range(self, namespace: str = "", about: Narrow | None = None) -> list[Item]:
        """Items in key order, of one namespace or all; `about`: only those, and at no greater cost."""
        items = self.items
        if about is not None:
            keys = [about.key] if about.key else self.by_node.keys(about.node)
            first = f"{namespace}/" if namespace else ""
            return [items[key] for key in keys if key in items and key.startswith(first)]
        if not namespace:
            return [items[key] for key in self._order]
        start = bisect_left(self._order, namespace + "/")
        end = bisect_left(self._order, namespace + "0", start)
        return [items[key] for key in self._order[start:end]]

    def since(self, revision: int) -> Sequence[Change]:
        """Changes after the revision, in order. Raises ApiError 410 when some are gone."""
        if revision < self.oldest:
            raise status.expired(f"too old resource version: {revision} ({self.oldest})")
        newer: list[Change] = []
        for change in reversed(self.changes):
            if change.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def continue_from(self, other: "KindCache") -> None:
        """The same objects, and the same recent changes."""
        self.items, self._order = dict(other.items), list(other._order)
        self.changes, self.oldest, self._bytes = other.changes.copy(), other.oldest, other._bytes
        self._fresh = other._fresh
        self.is_held = other.is_held
        if self._by_node is not None:
            self._by_node.note_all(self.items)

    def load(self, key: str, item: Item) -> None:
        """Puts in an object that was there before the cache."""
        self.items[key] = item
        self._order.append(key)
        if self._by_node is not None:
            self._by_node.note(key)

    def sort(self, revision: int) -> None:
        self._order.sort()
        self.oldest = revision

    def apply(self, event: Event, tree: Tree | None = None) -> None:
        """`tree` is what the event stored, if it is at hand."""
        key = event.key[len(self.prefix) :]
        previous = self.items.get(key)
        item = None if event.value is None else Item(key, event.revision, event.value, tree)
        if item is None:
            if previous is None:
                return
            del self.items[key]
            self._order.pop(bisect_left(self._order, key))
        else:
            if previous is None:
                insort(self._order, key)
            self.items[key] = item
        self._publish(key, Change(event.revision, item, previous))

    def forget(self, revision: int) -> None:
        """Lets go of changes up to the revision, but for the latest few."""
        while len(self.changes) > LEAST_EVENTS and self.changes[0].revision <= revision:
            self._drop_oldest()

    def begin_anew(self, revision: int) -> None:
        """Lets go of all changes: whoever knows less than the revision has to list."""
        self.changes.clear()
        self.oldest, self._bytes, self._fresh = revision, 0, 0

    @property
    def is_settled(self) -> bool:
        """Whether of all but the latest changes only what is stored is kept."""
        return self._fresh <= FRESH_EVENTS

    def settle(self) -> None:
        """Makes it so. Not before those who watch have been told and could read."""
        while not self.is_settled:
            self.changes[-self._fresh].settle(is_held=self.is_held)
            self._fresh -= 1

    def _publish(self, key: str, change: Change) -> None:
        self.changes.append(change)
        self._bytes += change.size
        self._fresh += 1
        while len(self.changes) > WINDOW_EVENTS or self._bytes > WINDOW_BYTES:
            self._drop_oldest()
        for listener in self._listeners.of(key, self._nodes_of(key)):
            try:
                listener(change)
            except Exception:  # our fault, but no reason to follow nothing any more
                LOG.exception("%s %s at %d was not taken in by %r", self.resource, key, change.revision, listener)

    def _nodes_of(self, key: str) -> Iterable[str]:
        """Of a pod that has just changed, where it was and is, if anybody wants to know."""
        if self._by_node is None:
            return ()
        if self._listeners.ask_for_nodes:
            return self._by_node.change(key)
        self._by_node.note(key)
        return ()

    def _drop_oldest(self) -> None:
        gone = self.changes.popleft()
        self.oldest, self._bytes = gone.revision, self._bytes - gone.size
        if self._fresh > len(self.changes):
            self._fresh = len(self.changes)
            gone.settle(is_held=self.is_held)


class Cache:
    """All kinds' caches, and the revision up to which they are true."""

    def __init__(self, store: Store, kinds: Sequence[Kind], tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._by_prefix = {prefix(kind): KindCache(prefix(kind)) for kind in kinds if not kind.not_stored}
        self._by_place: dict[tuple[str, str], KindCache] = {}
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._at_hand: dict[str, Written] = {}
        self._unsettled: set[KindCache] = set()
        self._take_at_once: Callable[[], Batch | None] = _nothing
        self.revision = 0
        self.on_gap: list[Callable[[], None]] = []

    def of(self, kind: Kind) -> KindCache:
        """The cache of a stored kind; made on the spot for one that came later (a custom resource)."""
        cache = self._by_place.get(kind.place)
        if cache is None:
            cache = self._by_place[kind.place] = self._at(prefix(kind))
        return cache

    def kinds(self) -> Iterator[KindCache]:
        yield from self._by_prefix.values()

    def forget(self, revision: int) -> None:
        """Lets go of what happened up to the revision, as the store did; what is live stays."""
        for cache in self._by_prefix.values():
            cache.forget(revision)

    def continue_from(self, other: "Cache") -> None:
        """Knows what another one knew of the same store; objects are shared, as they never change."""
        for where, kept in other._by_prefix.items():
            self._at(where).continue_from(kept)
        self.revision = other.revision
        self._start_following()

    async def start(self) -> None:
        """Reads the whole store, then follows it."""
        page = await self._store.list(ROOT)
        for record in page.records:
            cache = self._at(_prefix_of(record.key))
            key = record.key[len(cache.prefix) :]
            cache.load(key, Item(key, record.mod_revision, record.value))
        for cache in self._by_prefix.values():
            cache.sort(page.revision)
        self.revision = page.revision
        self._start_following()

    async def write(self, compares: Sequence[Compare], writes: Sequence[Write], written: Written | None) -> Result:
        """A transaction of the store, whose changes are in the cache when it returns.

        `written` is what one of the writes stores, if the tree is at hand and nobody changes it any more.
        """
        if written is None:
            result = await self._store.txn(compares, writes)
            await self.wait(result.revision)
            return result
        key = written[0]
        self._at_hand[key] = written
        try:
            result = await self._store.txn(compares, writes)
            await self.wait(result.revision)
            return result
        finally:
            if self._at_hand.get(key) is written:
                del self._at_hand[key]

    async def plant(self, written: Sequence[Written]) -> bool:
        """Stores new objects with one transaction, as `write` does; False, and nothing, when one of them is there.

        All are of kinds that show what is stored.
        """
        self._at_hand.update((each[0], each) for each in written)
        try:
            puts = [Put(key, stored) for key, stored, _ in written]
            return (await self.write([Compare(put.key, 0) for put in puts], puts, None)).succeeded
        finally:
            for key, _, _ in written:
                self._at_hand.pop(key, None)

    async def wait(self, revision: int) -> None:
        """Returns once everything up to the revision is in the cache.

        A write is published before whoever wrote it hears of it, and so is mostly there to be taken at once.
        """
        if revision > self.revision and (batch := self._take_at_once()) is not None:
            self._apply(batch)
        if revision <= self.revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, future))
        await future

    def _start_following(self) -> None:
        self._tasks.spawn(self._follow(self._changes()), "watch cache")

    def _changes(self) -> AsyncIterator[Batch]:
        changes = self._store.watch(ROOT, self.revision)
        self._take_at_once = getattr(changes, "take_at_once", _nothing)
        return changes

    async def _follow(self, changes: AsyncIterator[Batch]) -> None:
        """For ever, also while the store does not answer. What it has forgotten before it was read here is a gap."""
        has_gap = False
        while True:
            try:
                if has_gap:
                    self._skip(await self._store.list(ROOT))
                    changes, has_gap = self._changes(), False
                async for batch in changes:
                    self._apply(batch)
                return
            except Compacted:
                self._take_at_once, has_gap = _nothing, True
            except StoreError as error:
                LOG.warning("the store cannot be followed just now: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
                changes = changes if has_gap else self._changes()

    def _skip(self, page: Page) -> None:
        """Over a gap, at once: all that watch are told to begin anew, also those that came while the page was read."""
        for told in self.on_gap:
            told()
        self._apply(Batch(page.revision, gap.events(self._by_prefix.values(), page)))
        for cache in self._by_prefix.values():
            cache.begin_anew(page.revision)

    def _apply(self, batch: Batch) -> None:
        """What became too much with one batch is settled with the next one: by then those who watch have it."""
        for cache in self._unsettled:
            cache.settle()
        self._unsettled.clear()
        for event in batch.events:
            written = self._at_hand.get(event.key)
            tree = written[2] if written is not None and written[1] is event.value else None
            where = _prefix_of(event.key)
            cache = self._by_prefix.get(where) or self._at(where)
            cache.apply(event, tree)
            if not cache.is_settled:
                self._unsettled.add(cache)
        self.revision = batch.revision
        if self._waiters:
            self._wake()

    def _at(self, where: str) -> KindCache:
        cache = self._by_prefix.get(where)
        if cache is None:
            cache = self._by_prefix[where] = KindCache(where)
            cache.oldest = self.revision
        return cache

    def _wake(self) -> None:
        waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        for revision, future in self._waiters:
            if revision > self.revision:
                waiting.append((revision, future))
            elif not future.done():
                future.set_result(None)
        self._waiters = waiting


def _nothing() -> None:
    """Of a watch that is always waited for."""


def prefix(kind: Kind) -> str:
    """Where a kind's objects are in the store: /registry/apps/deployments/."""
    group, plural = kind.place
    return f"{ROOT}{group or 'core'}/{plural}/"


def _prefix_of(key: str) -> str:
    first = key.find("/", len(ROOT))
    second = key.find("/", first + 1)
    return key[: second + 1]


def item_key(kind: Kind, namespace: str, name: str) -> str:
    """The key of one object inside its kind."""
    return f"{namespace}/{name}" if kind.namespaced else name
