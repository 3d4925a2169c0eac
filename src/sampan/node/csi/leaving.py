"""Leaving: volumes that no pod here has any more are unstaged, as often as that takes; no pod waits for it for long."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

from sampan.client.transport import TransportError
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.node.volumes.failure import VolumeFailure

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 122.0
"""As a kubelet has them."""

Key = tuple[str, str]


class Errand:
    """One volume's."""

    def __init__(self) -> None:
        self.was_tried, self.again = asyncio.Event(), asyncio.Event()


class Leaving:
    """Those of one node. `unstage` does it, where it is (still) to be done."""

    def __init__(self, unstage: Callable[[Key], Awaitable[None]], tasks: Tasks) -> None:
        self._unstage, self._tasks = unstage, tasks
        self._errands: dict[Key, Errand] = {}

    def begin(self, key: Key) -> Errand:
        """It is tried from now on, as often as that takes; now also if it waits for its next turn."""
        errand = self._errands.get(key)
        if errand is None:
            errand = self._errands[key] = Errand()
            self._tasks.spawn(self._until_done(key, errand), f"volume {key[1]} leaves", critical=False)
        errand.again.set()
        return errand

    async def wait_tried(self, errands: Iterable[Errand]) -> None:
        """Returns once each was tried, or hangs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                for errand in errands:
                    await errand.was_tried.wait()

    async def _until_done(self, key: Key, errand: Errand) -> None:
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                errand.again.clear()
                if await self._is_done(key):
                    if not errand.again.is_set():
                        return
                    continue  # another pod gave it back meanwhile
                errand.was_tried.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await errand.again.wait()
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            self._errands.pop(key, None)
            errand.was_tried.set()

    async def _is_done(self, key: Key) -> bool:
        try:
            await self._unstage(key)
        except (VolumeFailure, ApiError, TransportError, OSError) as error:
            log.warning("volume %s of %s: %s; trying again", key[1], key[0], error)
            return False
        return True
