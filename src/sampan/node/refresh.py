"""Refresh: what a pod's volumes are made of is followed while the pod is here, and its change brings them up to date.

A ConfigMap or Secret is watched by its name, once for all pods that have it in a volume, from the first of them until
a while after the last; one that is immutable is not. Tokens are asked for anew before they expire. Nothing is polled.
A pod that is to end keeps what it has.

https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sampan.client.cache import Cache
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Kind
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.node.fetch import Fetcher
from sampan.node.observed import VOLUMES
from sampan.node.parts import Parts
from sampan.node.record import PodRecord, version
from sampan.node.volumes import sources

LINGER_SECONDS = 300.0
"""How long an object is followed after its last pod: the next one of a CronJob comes soon."""
FIRST_RETRY_SECONDS, RETRY_SECONDS = 1.0, 60.0
"""After a failure, and after many in a row."""

Object = dict[str, Any]
Place = tuple[str, str, str]  # plural, namespace, name

_KINDS: dict[str, Kind] = {sources.CONFIG_MAP: CONFIGMAP, sources.SECRET: SECRET}


class Refresher:
    """That of one node. `refresh` brings a pod's volumes up to date, and says whether that went well."""

    def __init__(
        self,
        parts: Parts,
        fetcher: Fetcher,
        tasks: Tasks,
        refresh: Callable[[PodRecord], Awaitable[bool]],
        wake: Callable[[str, float], None],
    ) -> None:
        self._parts, self._fetcher, self._tasks = parts, fetcher, tasks
        self._refresh, self._wake = refresh, wake
        self._followed: dict[Place, _Followed] = {}
        self._places: dict[str, set[Place]] = {}
        self._timers: dict[str, tuple[asyncio.TimerHandle, PodRecord]] = {}
        self._due: dict[str, PodRecord] = {}
        self._pauses: dict[str, float] = {}
        self._is_busy = False

    def attend(self, record: PodRecord) -> None:
        """Follows what the pod's volumes are made of, and nothing else any more for it."""
        wanted = {}
        for source in sources.of_volumes(record.pod):
            if (kind := _KINDS.get(source.kind)) is not None:
                wanted[kind.plural, objects.namespace(record.pod), source.name] = kind
        before = self._places.get(record.uid, set())
        for place in before - wanted.keys():
            self._leave(record.uid, place)
        for place, kind in wanted.items():
            followed = self._followed.get(place)
            if followed is None:
                followed = self._followed[place] = _Followed(place)
                self._begin(followed, kind)
            followed.join(record)
        if wanted or before:
            self._places[record.uid] = set(wanted)
        renewal = self._fetcher.renewal(record.pod)
        if renewal is not None and record.volumes is not None:
            self._later(record, renewal - self._parts.clock.now())

    def look_again(self) -> None:
        """The wall clock has jumped: tokens are asked for anew, as drivers are."""
        self._fetcher.forget_tokens()
        for _, record in tuple(self._timers.values()):
            self.ask(record)

    def let_go(self, uid: str) -> None:
        """The pod's volumes are no more."""
        self._due.pop(uid, None)
        self._pauses.pop(uid, None)
        self._stop_timer(uid)
        for place in self._places.pop(uid, ()):
            self._leave(uid, place)

    def ask(self, record: PodRecord) -> None:
        """Has the pod's volumes brought up to date soon."""
        if self._tasks.is_closed:
            return
        if record.volumes is None:  # it waits for what has come now
            if VOLUMES in record.failures:
                record.failures.pop(VOLUMES)
                self._wake(record.uid, 0.0)
            return
        self._due[record.uid] = record
        if not self._is_busy:
            self._is_busy = True
            self._tasks.spawn(self._work(), "volumes", critical=False)

    def count(self) -> int:
        """How many objects are watched now."""
        return sum(followed.cache is not None for followed in self._followed.values())

    async def _work(self) -> None:
        try:
            while self._due:
                uid, record = next(iter(self._due.items()))
                del self._due[uid]
                if record.volumes is None or record.is_ending:
                    continue
                if await self._refresh(record):
                    self._pauses.pop(uid, None)
                    self.attend(record)
                elif not record.is_ending:
                    pause = self._pauses[uid] = min(2 * self._pauses.get(uid, FIRST_RETRY_SECONDS / 2), RETRY_SECONDS)
                    self._later(record, pause)
        finally:
            self._is_busy = False

    def _later(self, record: PodRecord, seconds: float) -> None:
        self._stop_timer(record.uid)
        later = asyncio.get_running_loop().call_later
        self._timers[record.uid] = later(max(seconds, 1.0), self.ask, record), record

    def _stop_timer(self, uid: str) -> None:
        timer, _ = self._timers.pop(uid, (None, None))
        if timer is not None:
            timer.cancel()

    def _begin(self, followed: "_Followed", kind: Kind) -> None:
        known = self._fetcher.known(followed.place)
        if known is not None and known.get("immutable"):
            return
        _, namespace, name = followed.place
        clock, tasks = self._parts.clock, self._tasks
        cache = Cache(self._parts.client, kind, namespace, f"metadata.name={name}", clock=clock, tasks=tasks)
        followed.cache = cache

        def changed(type: str, old: Object | None, new: Object | None) -> None:
            if followed.cache is not cache or objects.key(new or old or {}) != (namespace, name):
                return
            is_news = _version(self._fetcher.known(followed.place)) != _version(new)
            self._fetcher.saw(followed.place, new)
            if new is not None and new.get("immutable"):
                followed.end()
            if new is None and not followed.users:
                self._end(followed)
            for record in list(followed.users.values()) if is_news or old is not None else ():
                self.ask(record)

        cache.subscribe(changed)
        cache.start()

    def _leave(self, uid: str, place: Place) -> None:
        followed = self._followed.get(place)
        if followed is None or followed.users.pop(uid, None) is None or followed.users:
            return
        followed.idle = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end, followed)

    def _end(self, followed: "_Followed") -> None:
        if self._followed.get(followed.place) is followed and not followed.users:
            del self._followed[followed.place]
            followed.end()


class _Followed:
    """One object, and the pods that have it in a volume. It has no cache once it can't change."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.cache: Cache | None = None
        self.users: dict[str, PodRecord] = {}
        self.idle: asyncio.TimerHandle | None = None

    def join(self, record: PodRecord) -> None:
        self.users[record.uid] = record
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None

    def end(self) -> None:
        cache, self.cache = self.cache, None
        if cache is not None:
            cache.stop()


def _version(obj: Object | None) -> int:
    return 0 if obj is None else version(obj)
