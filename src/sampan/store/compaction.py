"""Compaction: keeps a store's history to a window of time and of revisions, for any store.

What is older than the window is forgotten in regular steps, so that a store's size follows its live
keys and its recent changes. A failure is logged and tried again at the next step. Of several servers on
one store, one does a step: who first writes down, where upstream's servers do, how far it is to go.
"""

import logging
from collections import deque
from collections.abc import Callable

from sampan.kit.clock import Clock
from sampan.store.protocol import Compare, Put, Store, StoreError

WINDOW_SECONDS = 300.0
STEP_SECONDS = 30.0
RECENT_SECONDS = 75.0
"""What others who keep history are to remember, as upstream's watch cache does."""
MAX_REVISIONS = 50_000
MARK = "compact_rev_key"
"""The key whose writer compacts; its value is the revision."""

log = logging.getLogger(__name__)


class Compaction:
    """Run it as a task: `tasks.spawn(Compaction(store, clock).run(), "compaction")`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        window_seconds: float = WINDOW_SECONDS,
        step_seconds: float = STEP_SECONDS,
        max_revisions: int = MAX_REVISIONS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._window_seconds = window_seconds
        self._step_seconds = step_seconds
        self._max_revisions = max_revisions
        self._is_shared = False
        self._marked = 0  # the revision of the mark as it was last seen
        self._compacted = 0
        self._forgotten: Callable[[int], None] | None = None
        self._samples: deque[tuple[float, int]] = deque()  # (when, the revision then), oldest first

    def share(self) -> "Compaction":
        """From now on each step is done by one of all servers on the store."""
        self._is_shared = True
        return self

    def tell(self, forgotten: Callable[[int], None]) -> "Compaction":
        """Has it called with the revision before which those who keep history too need not remember anything."""
        self._forgotten = forgotten
        return self

    async def run(self) -> None:
        """Steps for ever."""
        while True:
            await self._clock.sleep(self._step_seconds)
            try:
                await self.step()
            except StoreError as error:
                log.warning("compaction failed, to be tried again: %s", error)

    async def step(self) -> int:
        """Compacts to where the window starts now; returns that revision (0: nothing to do yet)."""
        now = self._clock.monotonic()
        current = await self._store.revision()
        self._samples.append((now, current))
        target = max(0, current - self._max_revisions)
        while self._samples and self._samples[0][0] <= now - self._window_seconds:
            target = max(target, self._samples.popleft()[1])
        recent = max((target, *(revision for at, revision in self._samples if at <= now - RECENT_SECONDS)))
        if recent and self._forgotten is not None:
            self._forgotten(recent)
        if target > self._compacted and (not self._is_shared or await self._is_ours(target)):
            await self._store.compact(target)
            self._compacted = target
        return target

    async def _is_ours(self, target: int) -> bool:
        """Whether no other server has taken this step. Raises StoreError."""
        try:
            result = await self._store.txn([Compare(MARK, self._marked)], [Put(MARK, str(target).encode())])
        except StoreError as error:  # as of an etcd that is full, which only this can help
            log.warning("it cannot be written down that history is compacted: %s", error)
            return True
        if result.succeeded:
            self._marked = result.revision
            return True
        found = result.found[0]
        self._marked = found.mod_revision if found else 0
        return False
