"""The keeper: what the server keeps comes back when somebody deletes or changes it, such as the Service kubernetes.

It follows the objects that it was told of and has them mended as soon as one of them is touched. Who
keeps fighting it is answered once a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.server.cache import Cache, Change, item_key
from sampan.store.protocol import StoreError

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 1.0
AGAIN_SECONDS = 10.0

Tree = dict[str, Any]
Mend = Callable[[], Awaitable[None]]


class Unmended(RuntimeError):
    """What is kept could not be written; it is tried again."""


class Keeper:
    """`keep()` once writes are possible; a second call takes the place of the first."""

    def __init__(self, cache: Cache, clock: Clock, tasks: Tasks) -> None:
        self._cache = cache
        self._clock = clock
        self._tasks = tasks
        self._touched = asyncio.Event()
        self._kept: dict[Kind, set[str]] = {}
        self._mend: Mend | None = None

    def keep(self, kept: Iterable[tuple[Kind, Tree]], mend: Mend) -> None:
        """From now on `mend` is called when one of these objects is written or deleted."""
        is_first, self._mend = self._mend is None, mend
        for kind, obj in kept:
            keys = self._kept.get(kind)
            if keys is None:
                keys = self._kept[kind] = set()
                self._cache.of(kind).listen(self._listener(keys))
            keys.add(item_key(kind, objects.namespace(obj), objects.name(obj)))
        if is_first:
            self._tasks.spawn(self._run(), "keeper")

    def _listener(self, keys: set[str]) -> Callable[[Change], None]:
        def saw(change: Change) -> None:
            if change.last().key in keys:
                self._touched.set()

        return saw

    async def _run(self) -> None:
        while True:
            await self._touched.wait()
            self._touched.clear()
            try:
                assert self._mend is not None  # this runs after `keep`
                await self._mend()
            except (Unmended, ApiError, StoreError) as error:
                LOG.warning("the server's own objects are not complete, to be tried again: %s", error)
                self._touched.set()
                await self._clock.sleep(AGAIN_SECONDS)
            except Exception:  # our fault: what is served goes on without
                LOG.exception("the server's own objects are not complete, to be tried again")
                self._touched.set()
                await self._clock.sleep(AGAIN_SECONDS)
            else:
                await self._clock.sleep(PAUSE_SECONDS)
