"""Compaction: keeps a store's history to a window of time and of revisions, for any store.

What is older than the window is forgotten in regular steps, so that a store's size follows its live
keys and its recent changes. A failure is logged and tried again at the next step.
"""

import logging
from collections import deque

from sampan.kit.clock import Clock
from sampan.store.protocol import Store, StoreError

WINDOW_SECONDS = 300.0
STEP_SECONDS = 30.0
MAX_REVISIONS = 50_000

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
        self._samples: deque[tuple[float, int]] = deque()  # (when, the revision then), oldest first

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
        if target:
            await self._store.compact(target)
        return target
