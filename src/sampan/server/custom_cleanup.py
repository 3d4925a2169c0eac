"""When a CustomResourceDefinition is deleted: its objects go first, those with finalizers when these are gone.

Each `step` deletes what can go and is called again when the objects change, so that nothing waits or polls.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#delete-a-customresourcedefinition
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sampan.kinds.apiextensions import crd_spec
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.meta import conditions, objects, timestamps
from sampan.server import aside
from sampan.server.cache import Cache, Change, Item, KindCache, encode
from sampan.store.protocol import Compare, Delete, Put, Store, Write

BATCH = 100

Tree = dict[str, Any]
Verdict = tuple[str, str, str]


class Cleanup:
    """`again(name)` is called when a definition's objects have changed while it waits for them."""

    def __init__(self, cache: Cache, store: Store, clock: Clock, again: Callable[[str], None]) -> None:
        self._cache, self._store, self._clock, self._again = cache, store, clock, again
        self._waiting: dict[str, tuple[KindCache, Callable[[Change], None]]] = {}

    async def step(self, name: str, crd: Tree) -> Verdict | None:
        """The Terminating condition once all objects are gone; None as long as some are there."""
        instances = self._cache.of(place(crd))
        self._wait(name, instances)
        while todo := await _staying(instances.range()):
            for start in range(0, len(todo), BATCH):
                await self._delete(instances, todo[start : start + BATCH])
        if instances.items:
            return None
        self.forget(name)
        return "False", "InstanceDeletionCompleted", "removed all instances"

    def setter(self, verdict: Verdict, *, finish: bool = False) -> Callable[[Tree], None]:
        """Writes the condition into a definition, and with `finish` takes the finalizer off."""

        def change(crd: Tree) -> None:
            status = crd.setdefault("status", {})
            kind, now = crd_spec.TERMINATING, self._clock.now()
            status["conditions"] = conditions.set(status.get("conditions"), kind, *verdict, now)
            if finish:
                left = [f for f in objects.finalizers(crd) if f != crd_spec.CLEANUP_FINALIZER]
                crd["metadata"]["finalizers"] = left
                if not left:
                    del crd["metadata"]["finalizers"]

        return change

    def forget(self, name: str) -> None:
        """Stops waiting for a definition's objects."""
        found = self._waiting.pop(name, None)
        if found is not None:
            found[0].unlisten(found[1])

    def _wait(self, name: str, instances: KindCache) -> None:
        if name not in self._waiting:
            listener = _caller(self._again, name)
            self._waiting[name] = (instances, listener)
            instances.listen(listener)

    async def _delete(self, instances: KindCache, items: Sequence[Item]) -> None:
        """In one transaction; when one of them has changed meanwhile, the next look finds them all again."""
        compares = [Compare(instances.prefix + item.key, item.revision) for item in items]
        writes = await aside.by_turns(partial(self._gone, instances.prefix), items, _size)
        result = await self._store.txn(compares, writes)
        await self._cache.wait(result.revision)

    def _gone(self, prefix: str, item: Item) -> Write:
        key = prefix + item.key
        tree = item.copy()
        if not objects.finalizers(tree):
            return Delete(key)
        metadata = tree["metadata"]
        metadata["deletionTimestamp"] = timestamps.format(self._clock.now())
        metadata["deletionGracePeriodSeconds"] = 0
        metadata["generation"] = (metadata.get("generation") or 0) + 1
        return Put(key, encode(tree))


async def _staying(items: Sequence[Item]) -> list[Item]:
    """Those that nobody deletes yet."""
    going = await aside.by_turns(lambda item: objects.is_deleting(item.tree), items, _size)
    return [item for item, is_going in zip(items, going, strict=True) if not is_going]


def _size(item: Item) -> int:
    return len(item.stored)


def place(crd: Tree) -> Kind:
    """The kind by which the cache knows where a definition's objects are."""
    spec = crd["spec"]
    names = spec["names"]
    return Kind(spec["group"], (crd_spec.storage_version(spec),), names["kind"], names["plural"])


def _caller(again: Callable[[str], None], name: str) -> Callable[[Change], None]:
    return lambda change: again(name)
