"""Custom resources: follows the CustomResourceDefinitions and serves their kinds, from the moment they are stored.

For each definition: which names it gets, that it is established, and, when it is deleted, that its objects
go first. The kinds change with the definition in the same turn of the loop in which the cache learns of it,
so that no client can see a definition established that is not served.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sampan.kinds.apiextensions import crd_spec, custom, naming
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION as DEFINITION
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.kit.workqueue import QueueClosed, WorkQueue
from sampan.meta import objects
from sampan.meta.apply import managed
from sampan.server import aside
from sampan.server import served as served_kinds
from sampan.server.cache import Cache, Change, Item, encode
from sampan.server.conversion import WebhookConverter
from sampan.server.custom_cleanup import Cleanup
from sampan.server.outbound import Outbound
from sampan.server.registry import Registry
from sampan.server.review_call import ReviewCall
from sampan.server.served import Served
from sampan.store.protocol import Compare, Delete, Put, Store, StoreError, Write

LOG = logging.getLogger(__name__)
MANAGER = "kube-apiserver"
RETRY_SECONDS = 1.0
FAULT_SECONDS = 60.0
"""After a fault of ours, which a later look hardly mends."""

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What Definitions are made of."""

    cache: Cache
    store: Store
    registry: Registry
    served: Served
    clock: Clock
    ids: Ids
    tasks: Tasks
    outbound: Outbound | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a definition's kinds depend on: its spec, which its generation tells apart, and the accepted names."""

    place: tuple[str, str]
    uid: str
    generation: int
    names: Tree | None


class Definitions:
    """`start()` when the cache is full; from then on every definition is followed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cache = parts.cache.of(DEFINITION)
        self._queue: WorkQueue[str] = WorkQueue(parts.clock)
        self._reviews = ReviewCall(parts.outbound)
        self._cleanup = Cleanup(parts.cache, parts.store, parts.clock, self._queue.add)
        self._shown: dict[str, Shown] = {}
        self._ready: dict[str, tuple[Shown, Sequence[Kind]]] = {}

    def start(self) -> None:
        """Serves what is established, and looks at every definition once."""
        self._cache.listen(self._follow)
        for item in self._cache.range():
            self._serve(item.key, item.tree)
            self._queue.add(item.key)
        self._parts.tasks.spawn(self._work(), "custom resource definitions")

    def close(self) -> None:
        self._queue.close()

    # In the turn in which the cache learns of it

    def _follow(self, change: Change) -> None:
        if change.item is not None:
            self._serve(change.item.key, change.item.tree, is_large=_is_large(change.item))
            self._queue.add(change.item.key)
        elif change.previous is not None:
            self._drop(change.previous.key)
            self._cleanup.forget(change.previous.key)
            for item in self._others(change.previous.key, change.previous.tree):
                self._queue.add(item.key)  # a name may have become free

    def _serve(self, name: str, crd: Tree, *, is_large: bool = False) -> None:
        """The kinds as the definition has them now; the same values as long as nothing about them changes.

        Those of a large definition have been made before it is established, and follow its changes a little later.
        """
        if not crd_spec.is_established(crd) or self._is_built_in(crd):
            return
        shown, spec = _shown(crd), crd["spec"]
        if self._shown.get(name) == shown:
            return
        ready, kinds = self._ready.pop(name, (None, ()))
        if ready != shown:
            if is_large and name in self._shown:
                return  # until the new ones are made, the kinds of before are served
            kinds = custom.kinds_of(crd)
        self._shown[name] = shown
        place = (spec["group"], spec["names"]["plural"])
        converter = None
        if (spec.get("conversion") or {}).get("strategy") == "Webhook":
            converter = WebhookConverter(crd, self._reviews, self._parts.registry, self._parts.ids)
        self._parts.registry.versions.set_converter(place, converter)
        self._parts.served.replace(source(name), kinds)

    def _drop(self, name: str) -> None:
        self._ready.pop(name, None)
        shown = self._shown.pop(name, None)
        if shown is not None:
            self._parts.registry.versions.set_converter(shown.place, None)
            self._parts.served.replace(source(name), ())

    def _is_built_in(self, crd: Tree) -> bool:
        """Whether a built-in resource has the same place, which it keeps."""
        place = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        return any(kind.place == place for kind in self._parts.served.of(served_kinds.BUILT_IN))

    # Afterwards, one definition at a time

    async def _work(self) -> None:
        while True:
            try:
                name = await self._queue.get()
            except QueueClosed:
                return
            try:
                await self._look(name)
            except StoreError as error:
                LOG.warning("definition %s: %s", name, error)
                self._queue.add_after(name, RETRY_SECONDS)
            except Exception:  # our fault, but no single definition may stop the server and the others
                LOG.exception("definition %s", name)
                self._queue.add_after(name, FAULT_SECONDS)
            finally:
                self._queue.done(name)

    async def _look(self, name: str) -> None:
        item = self._cache.get(name)
        if item is None:
            return
        if objects.is_deleting(item.tree):
            if crd_spec.CLEANUP_FINALIZER in objects.finalizers(item.tree):
                await self._clean(item)
            return
        others = [other.tree for other in self._others(name, item.tree)]
        status = naming.status(item.tree, others, self._parts.clock.now())
        if _is_large(item):
            await self._prepare(item, {**item.tree, "status": status})
        if status == item.tree.get("status"):
            return
        before = (item.tree.get("status") or {}).get("acceptedNames")
        if await self._write(item, lambda crd: crd.update(status=status)) and before != status["acceptedNames"]:
            for other in self._others(name, item.tree):
                self._queue.add(other.key)

    async def _prepare(self, item: Item, crd: Tree) -> None:
        """Makes a large definition's kinds where it holds nobody up, and serves them when it is established already."""
        shown = _shown(crd)
        if not crd_spec.is_established(crd) or self._shown.get(item.key) == shown:
            return
        kinds = await aside.run(partial(custom.kinds_of, is_complete=True), crd, size=len(item.stored))
        kept = self._cache.get(item.key)
        if kept is not None and _shown({**kept.tree, "status": crd["status"]}) == shown:
            self._ready[item.key] = (shown, kinds)
            self._serve(item.key, kept.tree, is_large=True)

    async def _clean(self, item: Item) -> None:
        if self._is_built_in(item.tree):
            text = "instances overlap with built-in resources in storage"
            verdict: tuple[str, str, str] | None = ("False", "OverlappingBuiltInResource", text)
        elif not crd_spec.is_established(item.tree):
            verdict = ("False", "NeverEstablished", "resource was never established")
        else:
            verdict = await self._cleanup.step(item.key, item.tree)
        if verdict is None:
            in_progress = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
            await self._write(item, self._cleanup.setter(in_progress))
        else:
            await self._write(item, self._cleanup.setter(verdict, finish=True))

    def _others(self, name: str, crd: Tree) -> list[Item]:
        """The other definitions of the same group."""
        group = crd["spec"]["group"]
        return [item for item in self._cache.range() if item.key != name and item.tree["spec"]["group"] == group]

    async def _write(self, item: Item, change: Callable[[Tree], None]) -> bool:
        """Writes the definition as `change` leaves it; False when somebody else was faster (it comes again then)."""
        write = managed.Write(MANAGER, "Update", DEFINITION.api_version, "status", self._parts.clock.now())
        new = await aside.run(_changed, item, change, write, size=len(item.stored))
        if new is None:
            return True
        key = self._cache.prefix + item.key
        stored: Write = Put(key, encode(new))
        if objects.is_deleting(new) and not objects.finalizers(new):
            stored = Delete(key)
        result = await self._parts.store.txn([Compare(key, item.revision)], [stored])
        await self._parts.cache.wait(result.revision)
        if not result.succeeded:
            self._queue.add(item.key)
        return result.succeeded


def source(name: str) -> str:
    """What Served knows a definition's kinds by."""
    return f"crd:{name}"


def _shown(crd: Tree) -> Shown:
    spec, names = crd["spec"], (crd.get("status") or {}).get("acceptedNames")
    place = (spec["group"], spec["names"]["plural"])
    return Shown(place, objects.uid(crd), crd["metadata"].get("generation") or 0, names)


def _is_large(item: Item) -> bool:
    return len(item.stored) >= aside.LARGE_BYTES


def _changed(item: Item, change: Callable[[Tree], None], write: managed.Write) -> Tree | None:
    """The definition as `change` leaves it; None when that is as it was."""
    new = item.copy()
    change(new)
    if new == item.tree:
        return None
    new["metadata"]["managedFields"] = managed.track(new, item.tree, write, DEFINITION.type)
    return new
