"""Strangers: what is on the node of pods that nobody wants any more, found when an agent starts; all of it is removed.

A step that fails is tried again until it succeeds: what a pod had is given back in order, and never forgotten.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from sampan.kit.tasks import Tasks
from sampan.node.parts import Parts
from sampan.node.podfiles import PodFiles
from sampan.node.runtime.protocol import EXITED, ContainerState

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
RETRY_SECONDS = 2.0

Step = Callable[[], Awaitable[None]]


class Strangers:
    """Of one node."""

    def __init__(self, parts: Parts, files: PodFiles, tasks: Tasks, gone: Callable[[str], None]) -> None:
        """`gone` is told of each pod (by uid) of which nothing is left."""
        self._parts, self._files, self._tasks, self._gone = parts, files, tasks, gone
        self._leaving: set[str] = set()

    def is_leaving(self, uid: str) -> bool:
        """Whether there is still something of the pod here that is being removed."""
        return uid in self._leaving

    def end(self, strangers: Mapping[str, Sequence[ContainerState]]) -> None:
        """Begins to remove all that these pods (by uid) have here."""
        self._leaving |= strangers.keys()
        for uid, states in strangers.items():
            self._tasks.spawn(self._end(uid, states), f"orphan {uid}", critical=False)

    async def _end(self, uid: str, states: Sequence[ContainerState]) -> None:
        log.info("pod %s is no longer wanted here; ending its %d containers", uid, len(states))
        parts = self._parts
        steps: list[Step] = [
            partial(self._stop, states),
            partial(parts.runtime.release, uid),
            partial(parts.network.remove, uid),
            partial(parts.volumes.teardown, uid),
            partial(self._remove_files, uid),
        ]
        if parts.plugins is not None:
            steps.append(partial(parts.plugins.release_at_last, uid))
        for step in steps:
            while not await self._is_done(uid, step):
                await parts.clock.sleep(RETRY_SECONDS)
        self._leaving.discard(uid)
        self._gone(uid)

    async def _remove_files(self, uid: str) -> None:
        self._files.remove_by_uid(uid)

    async def _stop(self, states: Sequence[ContainerState]) -> None:
        runtime = self._parts.runtime
        running = [state.id for state in states if state.state != EXITED]
        await asyncio.gather(*(runtime.stop(container_id, "", GRACE_SECONDS) for container_id in running))
        await asyncio.gather(*(runtime.remove(state.id) for state in states))

    async def _is_done(self, uid: str, step: Step) -> bool:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 (the world's fault, such as a driver that is not there yet)
            log.warning("what pod %s left here: %r; trying again", uid, error)
            return False
        return True
