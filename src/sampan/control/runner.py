"""Runner: runs controllers. One shared cache per kind, one queue per controller, a few workers each.

A change in a cache makes keys due; a worker builds a view, asks the rule, and carries out its plan.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.discovery import discover
from sampan.client.transport import TransportError
from sampan.control.controller import Controller, Keys, owner_keys
from sampan.control.events import Recorder
from sampan.control.everywhere import Everywhere
from sampan.control.view import path_terms
from sampan.control.worker import Surroundings, Worker
from sampan.kinds.kind import Kind, Object
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError

log = logging.getLogger(__name__)

REDISCOVER_SECONDS = 30.0
FOLLOWED_VERBS = {"list", "watch", "delete"}


class Runner:
    """`metrics` counts (controller, "success" | "conflict" | "refused" | "error")."""

    def __init__(
        self, client: Client, controllers: Sequence[Controller | Everywhere], clock: Clock, ids: Ids, tasks: Tasks
    ) -> None:
        self.metrics: Counter[tuple[str, str]] = Counter()
        self._client = client
        self._controllers = controllers
        self._clock = clock
        self._ids = ids
        self._parent_tasks = tasks
        self._tasks = Tasks("controllers")
        self.caches: dict[str, Cache] = {}
        self._everywhere: dict[str, Cache] = {}
        self._kinds: dict[str, Kind] = {}
        self.recorder = Recorder(client, clock, self._tasks)
        self.workers: list[Worker] = []

    async def start(self) -> None:
        """Starts to follow and to work; returns at once."""
        self._parent_tasks.spawn(self._tasks.wait(), "controllers")
        for controller in self._controllers:
            if isinstance(controller, Controller):
                self._add(controller)
        everywhere = [c for c in self._controllers if isinstance(c, Everywhere)]
        if everywhere:
            workers = [self._worker(c.name, c.reconcile, None) for c in everywhere]
            self._tasks.spawn(self._discover_for_ever(everywhere, workers), "discovery")
        for cache in self.caches.values():
            cache.start()

    async def wait_synced(self) -> None:
        """Returns once the caches of all controllers have seen a complete list."""
        for cache in list(self.caches.values()):
            await cache.wait_synced()

    async def stop(self) -> None:
        """Stops working and following."""
        for worker in self.workers:
            worker.queue.close()
        await self._tasks.close()

    def cache(self, kind: Kind) -> Cache:
        """The shared cache of a kind."""
        if kind.resource not in self.caches:
            self.caches[kind.resource] = Cache(self._client, kind, clock=self._clock, tasks=self._tasks)
        return self.caches[kind.resource]

    def _add(self, controller: Controller) -> None:
        worker = self._worker(controller.name, controller.reconcile, controller.parent)
        for kind in controller.kinds:
            self.cache(kind)
        for index in controller.indexes:
            self.cache(index.kind).add_index(index.path, path_terms(index.path))
        self._feed(worker, controller.parent, lambda view, obj: (objects.key(obj),))
        for kind in controller.owns:
            self._feed(worker, kind, owner_keys(controller.parent))
        for watch in controller.watches:
            self._feed(worker, watch.kind, watch.keys)
        self._tasks.spawn(self._work_when_synced(worker, controller), f"{controller.name} start")

    def _worker(self, name: str, rule: object, parent: Kind | None) -> Worker:
        shared = Surroundings(self._client, self._clock, self.recorder, self.metrics)
        caches = self.caches if parent is not None else self._everywhere
        worker = Worker(name, rule, parent, caches, shared, self._kinds)  # type: ignore[arg-type]
        self.workers.append(worker)
        return worker

    def _feed(self, worker: Worker, kind: Kind, keys: Keys) -> None:
        """Changes of the kind make keys due, as the object was and as it is now."""

        def changed(change: str, old: Object | None, new: Object | None) -> None:
            view = worker.view()
            due = dict.fromkeys(key for obj in (old, new) if obj is not None for key in keys(view, obj))
            for key in due:
                worker.queue.add(key)

        self.cache(kind).subscribe(changed)

    async def _work_when_synced(self, worker: Worker, controller: Controller) -> None:
        for kind in controller.kinds:
            await self.cache(kind).wait_synced()
        # A mapping may have looked into a cache that was still empty, so everything is due once.
        for obj in self.cache(controller.parent):
            worker.queue.add(objects.key(obj))
        self._employ(worker, controller.workers)

    def _employ(self, worker: Worker, count: int) -> None:
        for number in range(count):
            self._tasks.spawn(worker.run(), f"{worker.name} {number}")

    async def _discover_for_ever(self, controllers: Iterable[Everywhere], workers: Sequence[Worker]) -> None:
        """Keeps one cache per kind that there is; the workers begin when the first ones are complete."""
        pairs = list(zip(controllers, workers, strict=True))
        employed = False
        while True:
            try:
                found = await discover(self._client)
            except (ApiError, TransportError) as error:
                log.warning("discovery: %s", error)
                await self._clock.sleep(1.0)
                continue
            for kind in found.kinds:
                self._follow(kind, pairs)
            if not employed:
                employed = True
                for cache in list(self._everywhere.values()):
                    await cache.wait_synced()
                for controller, worker in pairs:
                    self._employ(worker, controller.workers)
            await self._clock.sleep(REDISCOVER_SECONDS)

    def _follow(self, kind: Kind, pairs: Sequence[tuple[Everywhere, Worker]]) -> None:
        """A kind that some controller reads in full is shared; the others are followed by their metadata."""
        if kind.resource in self._everywhere or not set(kind.verbs) >= FOLLOWED_VERBS:
            return
        if all(kind.resource in controller.without for controller, _ in pairs):
            return
        cache = self.caches.get(kind.resource)
        if cache is None:
            cache = Cache(self._client.metadata_only(), kind, clock=self._clock, tasks=self._tasks)
        self._everywhere[kind.resource] = cache
        self._kinds[kind.resource] = kind
        for controller, worker in pairs:
            if kind.resource not in controller.without:
                _feed_everywhere(controller, worker, cache)
        cache.start()


def _feed_everywhere(controller: Everywhere, worker: Worker, cache: Cache) -> None:
    def changed(change: str, old: Object | None, new: Object | None) -> None:
        for ref in controller.due(worker.view(), cache.kind.resource, old, new):
            worker.queue.add(ref)

    cache.subscribe(changed)
