"""Runner: runs controllers. One shared cache per kind, one queue per controller, a few workers each.

A change in a cache makes keys due; a worker builds a view, asks the rule, and carries out its plan.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.control.controller import Controller, Watch
from sampan.control.events import Recorder
from sampan.control.everywhere import Everywhere
from sampan.control.following import Following
from sampan.control.kin import Kin
from sampan.control.plan import Key
from sampan.control.view import path_terms
from sampan.control.worker import Fetch, Sign, Surroundings, Worker
from sampan.kinds.kind import Kind, Object
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects

LOG = logging.getLogger(__name__)

Seen = Object | None
"""An object before or after a change."""


class Runner:
    """`metrics` counts (controller, "success" | "conflict" | "refused" | "error"). `on_worker` is told of each worker,
    before it works.
    """

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
        self._kin: dict[str, Kin] = {}
        self._following = Following(client, self.caches, clock, self._tasks)
        self.recorder = Recorder(client, clock, self._tasks)
        self.workers: list[Worker] = []
        self.on_worker: Callable[[Worker], None] | None = None
        self.sign: Sign | None = None
        self.fetch: Fetch | None = None
        self._before: Runner | None = None
        self._earlier: dict[str, Worker] = {}

    async def start(self, before: "Runner | None" = None) -> None:
        """Starts to follow and to work; returns at once. It goes on where another one was `before`, if there was."""
        if before is not None:
            self._before, self._earlier = before, {worker.name: worker for worker in before.workers}
        self._parent_tasks.spawn(self._tasks.wait(), "controllers")
        for controller in self._controllers:
            if isinstance(controller, Controller):
                self._add(controller)
        everywhere = [c for c in self._controllers if isinstance(c, Everywhere)]
        for kind in (kind for controller in everywhere for kind in controller.reads):
            self.cache(kind)
        if everywhere:
            workers = [self._worker(c.name, c.reconcile, None) for c in everywhere]
            self._tasks.spawn(self._work_everywhere(everywhere, workers), "all kinds")
        for cache in self.caches.values():
            cache.start()

    async def wait_synced(self) -> None:
        """Returns once the caches of all controllers have seen a complete list."""
        for cache in list(self.caches.values()):
            await cache.wait_synced()

    def hurry(self) -> None:
        """Looks at once at all that was to be looked at later: the wall clock has jumped."""
        for worker in self.workers:
            worker.queue.hurry()

    async def stop(self) -> None:
        """Stops working and following."""
        for worker in self.workers:
            worker.queue.close()
        await self._tasks.close()

    def kill(self) -> None:
        """The same at once, whatever is under way."""
        for worker in self.workers:
            worker.queue.close()
        self._tasks.kill()

    def cache(self, kind: Kind) -> Cache:
        """The shared cache of a kind."""
        resource = kind.resource
        found = self.caches.get(resource)
        if found is None:
            found = self.caches[resource] = Cache(self._client, kind, clock=self._clock, tasks=self._tasks)
            if self._before is not None:
                found.continue_from(self._before.caches[resource])
        return found

    def _add(self, controller: Controller) -> None:
        worker = self._worker(controller.name, controller.steps or controller.reconcile, controller.parent)
        worker.component = controller.component
        caches = [self.cache(kind) for kind in controller.kinds]
        for index in controller.indexes:
            self.cache(index.kind).add_index(index.path, path_terms(index.path), index.path.partition(".")[0])
        self._feed_parents(worker, controller)
        for kind in controller.owns:
            self._kin_of(kind).own(controller.parent, worker.queue, controller.batch_seconds)
        for watch in controller.watches:
            self._feed(worker, watch, controller.batch_seconds)
        if self._before is not None and all(cache.synced for cache in caches):
            self._go_on(worker, controller.workers)
        else:
            self._tasks.spawn(self._work_when_synced(worker, controller), f"{controller.name} start")

    def _worker(self, name: str, rule: object, parent: Kind | None) -> Worker:
        shared = Surroundings(self._client, self._clock, self.recorder, self.metrics, self.sign, self.fetch)
        caches = self.caches if parent is not None else self._following.caches
        worker = Worker(name, rule, parent, caches, shared, self._following.kinds)  # type: ignore[arg-type]
        self.workers.append(worker)
        if self.on_worker is not None:
            self.on_worker(worker)
        return worker

    def _feed_parents(self, worker: Worker, controller: Controller) -> None:
        """A change of a parent makes it due, now or when the controller says."""
        postpone, matters = controller.postpone, controller.matters

        def changed(change: str, old: Seen, new: Seen) -> None:
            seconds = None
            try:
                if matters is not None and not matters(old, new):
                    return
                if postpone is not None and old is not None and new is not None:
                    seconds = postpone(old, new, self._clock.now())
            except Exception:
                LOG.exception("%s: a change of %s counts as one", worker.name, _called(old if new is None else new))
            obj = old if new is None else new
            if obj is not None:
                worker.queue.add_after(objects.key(obj), seconds or 0.0)

        self.cache(controller.parent).subscribe(changed, replay=self._before is None)

    def _feed(self, worker: Worker, watch: Watch, seconds: float) -> None:
        """Changes of the kind make keys due, as the object was and as it is now; so much later."""
        keys, matters, view, queue = watch.keys, watch.matters, worker.overview, worker.queue

        def changed(change: str, old: Seen, new: Seen) -> None:
            try:
                if matters is not None and not matters(old, new):
                    return
            except Exception:
                LOG.exception("%s: a change of %s counts as one", worker.name, _called(old if new is None else new))
            due: dict[Key, None] = {}
            for obj in (old, new):
                if obj is not None:
                    try:
                        for key in keys(view, obj):
                            due[key] = None
                    except Exception:
                        LOG.exception("%s: a change of %s makes nothing due", worker.name, _called(obj))
            for key in due:
                queue.add_after(key, seconds)

        if watch.strays:
            self._kin_of(watch.kind).adopt(changed)
        else:
            self.cache(watch.kind).subscribe(changed, replay=self._before is None)

    def _kin_of(self, kind: Kind) -> Kin:
        """What tells owners; caches are still empty then, or as they were when another one went on to here."""
        found = self._kin.get(kind.resource)
        if found is None:
            found = self._kin[kind.resource] = Kin()
            self.cache(kind).subscribe(found.changed, replay=False)
        return found

    async def _work_when_synced(self, worker: Worker, controller: Controller) -> None:
        for kind in controller.kinds:
            await self.cache(kind).wait_synced()
        if self._before is not None:
            self._go_on(worker, controller.workers)
            return
        # A mapping may have looked into a cache that was still empty, so everything is due once.
        for obj in self.cache(controller.parent):
            if _matters_first(controller, obj):
                worker.queue.add(objects.key(obj))
        self._employ(worker, controller.workers)

    def _go_on(self, worker: Worker, count: int) -> None:
        worker.continue_from(self._earlier[worker.name])
        self._employ(worker, count)

    def _employ(self, worker: Worker, count: int) -> None:
        """One as soon as there is work, and up to so many as there is more of it."""
        numbers = iter(range(count))

        def hire() -> None:
            if (number := next(numbers, None)) is not None:
                self._tasks.spawn(worker.run(hire), f"{worker.name} {number}")

        worker.queue.hire(hire)

    async def _work_everywhere(self, controllers: Sequence[Everywhere], workers: Sequence[Worker]) -> None:
        """The workers begin when the first kinds' caches are complete."""
        pairs = list(zip(controllers, workers, strict=True))

        def is_wanted(kind: Kind) -> bool:
            return any(kind.resource not in controller.without for controller in controllers)

        def begin(cache: Cache, *, replay: bool = True) -> None:
            for controller, worker in pairs:
                if cache.kind.resource not in controller.without:
                    _feed_everywhere(controller, worker, cache, replay=replay)

        if self._before is not None:
            self._following.continue_from(self._before._following, functools.partial(begin, replay=False))
            for _, worker in pairs:
                worker.continue_from(self._earlier[worker.name])
        self._tasks.spawn(self._following.run(is_wanted, begin), "discovery")
        await self._following.wait_first()
        for controller, worker in pairs:
            self._employ(worker, controller.workers)


def _feed_everywhere(controller: Everywhere, worker: Worker, cache: Cache, *, replay: bool) -> None:
    view, queue, resource = worker.overview, worker.queue, cache.kind.resource

    def changed(change: str, old: Seen, new: Seen) -> None:
        try:
            due = tuple(controller.due(view, resource, old, new))
        except Exception:
            LOG.exception("%s: a change of %s makes nothing due", worker.name, _called(old if new is None else new))
            return
        for ref in due:
            queue.add(ref)

    cache.subscribe(changed, replay=replay)


def _matters_first(controller: Controller, obj: Object) -> bool:
    try:
        return controller.matters is None or controller.matters(None, obj)
    except Exception:
        LOG.exception("%s: %s counts", controller.name, _called(obj))
        return True


def _called(obj: Seen) -> str:
    found = obj or {}
    return f"{found.get('kind')} {'/'.join(objects.key(found))}"
