"""Cache: a kind's live objects, kept by list and watch for ever, with indexes.

Resumes at the last resourceVersion it saw, relists when the server has forgotten it (410), and backs off
while the server can't be reached. Readers get the objects themselves: never mutate them. A subscriber that fails at one
object hears of the others all the same, and of this one again later.
"""

import asyncio
import functools
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sampan.client.api import Client, Key
from sampan.client.index import BUILT_IN, Index, Terms, of_object
from sampan.client.transport import TransportError
from sampan.client.waiters import Waiters
from sampan.kinds.kind import Kind, Object
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError

log = logging.getLogger(__name__)

Change = tuple[str, Object | None, Object | None]
Callback = Callable[[str, Object | None, Object | None], None]
IndexFunction = Callable[[Object], Iterable[str]]

FIRST_BACKOFF_SECONDS = 0.05
LAST_BACKOFF_SECONDS = 10.0
LONG_SECONDS = 5.0
FIRST_AGAIN_SECONDS, LAST_AGAIN_SECONDS = 1.0, 300.0
"""Until a subscriber is told again of a change at which it failed."""
MAX_GONE = 500
GONE_SECONDS = 300.0


def key_of(obj: Object) -> Key:
    """(namespace, name)."""
    metadata = obj["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


@dataclass(eq=False)
class Cache:
    """The objects of one kind that match; `start()` (or a wait) begins following."""

    client: Client
    kind: Kind
    namespace: str = ""
    fields: str = ""
    labels: str = ""
    clock: Clock = field(kw_only=True)
    tasks: Tasks = field(kw_only=True)
    resource_version: str = field(default="", init=False)
    _objects: dict[Key, Object] = field(default_factory=dict, init=False)
    _changed: dict[Key, float] = field(default_factory=dict, init=False)
    _gone: dict[str, float] = field(default_factory=dict, init=False)
    _subscribers: list[Callback] = field(default_factory=list, init=False)
    _indexes: dict[str, Index] = field(default_factory=dict, init=False)
    _waiters: Waiters = field(default_factory=Waiters, init=False)
    _started: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)
    _following: "asyncio.Task[None] | None" = field(default=None, init=False)
    _failures: int = field(default=0, init=False)
    _expired: bool = field(default=False, init=False)

    def start(self) -> None:
        """Begins to follow; once only. Who knows all there is needs no list, and no watch before there is more."""
        if not self._started:
            self._started = True
            self.resource_version = self.resource_version or self.client.nothing(self.kind)
            if not (self.synced and self._sleep()):
                self._follow()

    def continue_from(self, other: "Cache") -> None:
        """Knows what another one of the same kind, with the same indexes, has seen; before `start`."""
        self.resource_version = other.resource_version
        self._objects, self._changed = dict(other._objects), dict(other._changed)
        self._gone = dict(other._gone)
        self._indexes = {name: index.copy() for name, index in other._indexes.items()}

    def stop(self) -> None:
        """Follows no longer; what was there counts as deleted."""
        self._stopped = True
        if self._following is not None:
            self._following.cancel()
        for key in list(self._objects):
            self._store(key, None)

    @property
    def synced(self) -> bool:
        """Whether a complete list has been seen."""
        return bool(self.resource_version)

    def get(self, key: Key) -> Object | None:
        """The object, or None."""
        return self._objects.get(key)

    def items(self, namespace: str = "") -> list[Object]:
        """All objects, or those of one namespace. These and all other lists come in the order of their keys."""
        if not self._objects:
            return []
        return self.indexed("namespace", namespace) if namespace else self.indexed("all", "")

    def owned_by(self, uid: str) -> list[Object]:
        """Objects with an ownerReference to this uid, controller or not."""
        if not self._objects:
            return []
        index = self._indexes.get("owner") or self._index("owner")
        return [self._objects[key] for key in index.under(uid)] if index.has_any(uid) else []

    def controlled_by(self, uid: str) -> list[Object]:
        """Objects whose controller has this uid."""
        return self.indexed("controller", uid)

    def orphans(self, namespace: str) -> list[Object]:
        """Objects of a namespace that have no controller."""
        return self.indexed("orphan", namespace)

    def labelled(self, namespace: str, equalities: dict[str, str]) -> list[Object]:
        """Objects of a namespace that carry all these labels."""
        if not equalities:
            return self.items(namespace)
        index, objects = self._index("label"), self._objects
        terms = sorted((f"{namespace}/{name}={value}" for name, value in equalities.items()), key=index.count)
        found = index.under(terms[0])
        for term in terms[1:]:
            found = [key for key in found if index.has(term, key)]
        return [objects[key] for key in found]

    def saw_go(self, uid: str) -> bool:
        """Whether a watch told of the end of the object with this uid, not long ago: nothing has a uid that was used."""
        return uid in self._gone

    def add_index(self, name: str, function: IndexFunction, place: str = "") -> None:
        """Keeps an index of the terms that `function` gives for each object. A second time is harmless.

        `place` is the field of the object that `function` reads, if it reads no other.
        """
        if name not in self._indexes:
            self._begin_index(name, of_object(function, place))

    def indexed(self, name: str, term: str) -> list[Object]:
        """Objects under one term of an index."""
        found = self._index(name).under(term)
        if not found:
            return []
        objects = self._objects
        return [objects[key] for key in found]

    def count(self, name: str, term: str) -> int:
        """How many objects there are under one term of an index."""
        return self._index(name).count(term)

    def _index(self, name: str) -> Index:
        """One that was added, or one that every cache has when it is asked for."""
        return self._indexes.get(name) or self._begin_index(name, BUILT_IN[name])

    def _begin_index(self, name: str, terms: Terms) -> Index:
        made = self._indexes[name] = Index(terms)
        for key, obj in self._objects.items():
            made.put(key, None, obj)
        return made

    def age_seconds(self, key: Key) -> float:
        """How long a change of this object could have been seen here and was not; by the monotonic clock."""
        now = self.clock.awake()
        return now - self._changed.get(key, now)

    def subscribe(self, callback: Callback, *, replay: bool = True) -> None:
        """Calls callback(type, old, new) for each change; what is there already comes as ADDED, now, if it is to."""
        self._subscribers.append(callback)
        for key, obj in list(self._objects.items()) if replay else ():
            self.tell(callback, key, ("ADDED", None, obj))

    async def wait_synced(self) -> None:
        """Returns once a complete list has been seen."""
        self.start()
        await self._waiters.wait(lambda: self.synced)

    async def wait_seen(self, resource_version: str) -> None:
        """Returns once every change up to this resourceVersion is in the cache. Bound it from outside."""
        await self._waiters.wait(lambda: _number(self.resource_version) >= _number(resource_version))

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Returns once the predicate holds; it is asked again after each change."""
        await self._waiters.wait(is_so)

    def _sleep(self) -> bool:
        about = (self.kind, self.namespace, self.resource_version, self.labels, self.fields)
        ask = functools.partial(self.client.watching, *about)
        return self.client.sleep(self.kind, _number(self.resource_version), ask, self._follow)

    def _follow(self) -> None:
        if not (self._stopped or self.tasks.is_closed):
            self._following = self.tasks.spawn(self._follow_for_ever(), f"cache {self.kind.resource}")

    async def _follow_for_ever(self) -> None:
        while True:
            began = self.clock.monotonic()
            try:
                if not self.resource_version or self._expired:
                    await self._relist()
                await self._watch()
                problem = "the server ended the watch"
            except (ApiError, TransportError) as error:
                self._expired = isinstance(error, ApiError) and (error.code == 410 or error.reason == "Expired")
                problem = str(error)
            if self.clock.monotonic() - began > LONG_SECONDS:
                self._failures = 0
            await self._back_off(problem)

    async def _relist(self) -> None:
        listing = await self.client.list(self.kind, self.namespace, labels=self.labels, fields=self.fields)
        fresh = {key_of(obj): obj for obj in listing.items}
        for key in [key for key in self._objects if key not in fresh]:
            self._store(key, None)
        for key, obj in fresh.items():
            old = self._objects.get(key)
            if old is None or old["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
                self._store(key, obj)
        self._expired = False
        self._saw(listing.resource_version)

    async def _watch(self) -> None:
        events = self.client.watch(
            self.kind, self.namespace, resource_version=self.resource_version, labels=self.labels, fields=self.fields
        )
        try:
            async for event in events:
                self._failures = 0
                if event.type == "DELETED":
                    self._note_end(event.object)
                if event.type != "BOOKMARK":
                    self._store(key_of(event.object), None if event.type == "DELETED" else event.object)
                self._saw(event.object["metadata"]["resourceVersion"])
        except GeneratorExit:  # dropped with its whole loop: nothing can be waited for any more
            raise
        except BaseException:
            await events.aclose()  # type: ignore[attr-defined]
            raise

    async def _back_off(self, problem: str) -> None:
        """At once the first time, then doubling, spread by kind so that caches do not come back all together."""
        count, self._failures = self._failures, self._failures + 1
        if not count:
            await self.clock.sleep(0)
            return
        seconds = min(FIRST_BACKOFF_SECONDS * 2 ** min(count - 1, 16), LAST_BACKOFF_SECONDS)
        spread = zlib.crc32(f"{self.kind.resource} {count}".encode()) / 2**32
        log.info("following %s again: %s", self.kind.resource, problem)
        await self.clock.sleep(seconds * (0.5 + spread))

    def _saw(self, resource_version: str) -> None:
        self.resource_version = resource_version
        self._waiters.wake()

    def _note_end(self, obj: Object) -> None:
        """Only of what a watch tells: what a list lacks may be younger than the list."""
        gone, now = self._gone, self.clock.monotonic()
        uid = str(obj["metadata"].get("uid", ""))
        gone.pop(uid, None)  # the oldest stand first
        gone[uid] = now
        while len(gone) > MAX_GONE or gone[next(iter(gone))] < now - GONE_SECONDS:
            del gone[next(iter(gone))]

    def _store(self, key: Key, new: Object | None) -> None:
        old = self._objects.get(key)
        if old is None and new is None:
            return
        for index in self._indexes.values():
            index.put(key, old, new)
        if new is None:
            self._objects.pop(key)
            self._changed.pop(key, None)
        else:
            self._objects[key] = new
            self._changed[key] = self.clock.awake()
        change = ("DELETED" if new is None else "ADDED" if old is None else "MODIFIED", old, new)
        for callback in self._subscribers:
            self.tell(callback, key, change)

    def tell(self, callback: Callback, key: Key, change: Change, times: int = 0) -> None:
        """Calls a subscriber. That it fails at one object is our fault, but no reason to end: it is said, and tried again."""
        try:
            callback(*change)
        except Exception:
            log.exception("%s %s: a change was not taken in, for the %dth time", self.kind.name, key, times + 1)
            if not self.tasks.is_closed:
                again = self._tell_again(callback, key, change, times + 1)
                self.tasks.spawn(again, f"{self.kind.resource} {key} again", critical=False)

    async def _tell_again(self, callback: Callback, key: Key, change: Change, times: int) -> None:
        """Unless it has changed once more meanwhile."""
        await self.clock.sleep(min(FIRST_AGAIN_SECONDS * 4.0 ** min(times - 1, 9), LAST_AGAIN_SECONDS))
        if self._objects.get(key) is change[2] and not self._stopped:
            self.tell(callback, key, change, times)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)


def _number(resource_version: str) -> int:
    try:
        return int(resource_version)
    except ValueError:
        return 0
