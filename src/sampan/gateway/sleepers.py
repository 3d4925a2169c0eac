"""Sleepers: which workloads of a cluster may be at zero replicas now, and how one of them is woken."""

import asyncio
import logging
from collections.abc import Callable

from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.control import scales
from sampan.gateway.sleeping import Sleeper
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.platform import zero
from sampan.platform.layer import Around

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
LOOK_SECONDS = 30.0
"""So often templates are read again: who changes one tells us nothing."""


class Sleepers:
    """Those of a cluster, by their names. `changed` is called when there are others, or other labels."""

    def __init__(self, around: Around, changed: Callable[[], None]) -> None:
        self.found: tuple[Sleeper, ...] = ()
        self._around = around
        self._changed = changed
        self._news = asyncio.Event()
        self._cache = Cache(around.client, HORIZONTALPODAUTOSCALER, clock=around.clock, tasks=around.tasks)

    async def start(self) -> None:
        """Returns when they are known."""
        self._cache.subscribe(self._noted)
        self._cache.start()
        await self._cache.wait_synced()
        await self._look()
        self._around.tasks.spawn(self._follow(), "sleepers")

    def _noted(self, change: str, old: Object | None, new: Object | None) -> None:
        if any(obj is not None and zero.may_sleep(obj) for obj in (old, new)):
            self._news.set()

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS if self.found else None):
                    await self._news.wait()
            except TimeoutError:
                pass
            try:
                await self._look()
            except Exception:  # those who were known are woken all the same
                log.exception("who sleeps is not known")
                await self._around.clock.sleep(AGAIN_SECONDS)
                self._news.set()

    async def _look(self) -> None:
        self._news.clear()
        before = {objects.key(sleeper.hpa): sleeper for sleeper in self.found}
        found = []
        for hpa in sorted((o for o in self._cache if zero.may_sleep(o)), key=objects.key):
            known = before.get(objects.key(hpa))
            labels = await self._labels(hpa)
            if labels is None:  # not now; what was known is better than nothing
                labels = known.labels if known is not None else {}
            found.append(Sleeper(hpa, labels))
        is_new = [(objects.key(s.hpa), s.labels) for s in found] != [(objects.key(s.hpa), s.labels) for s in self.found]
        self.found = tuple(found)
        if is_new:
            self._changed()

    async def _labels(self, hpa: Object) -> dict[str, str] | None:
        """None where they can't be known."""
        reference = hpa["spec"]["scaleTargetRef"]
        group, _, version = (reference.get("apiVersion") or "v1").rpartition("/")
        try:
            plural = await scales.resource(self._around.client, reference.get("apiVersion") or "v1", reference["kind"])
            if plural is None:
                return None
            kind = Kind(group=group, versions=(version,), name=reference["kind"], plural=plural)
            return zero.pod_labels(await self._around.client.get(kind, reference["name"], objects.namespace(hpa)))
        except (ApiError, TransportError) as error:
            log.debug("the target of the autoscaler %s is not known: %s", "/".join(objects.key(hpa)), error)
            return None
        except Exception as error:  # noqa: BLE001 (an odd one keeps no other from being woken)
            log.warning("the target of the autoscaler %s can't be read: %.200r", "/".join(objects.key(hpa)), error)
            return None


async def wake(around: Around, sleeper: Sleeper, waiting: int) -> None:
    """Gives the workload replicas, where it has none and is to have none."""
    name = "/".join(objects.key(sleeper.hpa))
    found = await scales.target(around.client, sleeper.target)
    if isinstance(found, str):
        log.warning("what the autoscaler %s scales can't be woken: %s", name, found)
        return
    spec = found.scale.get("spec") or {}
    if spec.get("replicas"):
        return
    size = zero.first_size(sleeper.hpa, waiting)
    try:
        await around.client.update(found.kind, {**found.scale, "spec": {**spec, "replicas": size}}, "scale")
        log.info("what the autoscaler %s scales is woken with %d replicas: %d requests wait", name, size, waiting)
    except (ApiError, TransportError) as error:
        log.warning("what the autoscaler %s scales can't be woken: %s", name, error)
