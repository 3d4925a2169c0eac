"""Ending a container: its preStop hook, its turn among the pod's containers, the stop signal, SIGKILL; all within one grace.

A sidecar's hook runs when the pod begins to end; its signal waits until the containers have ended that may need it, or
the grace is over. When a pod is to end sooner than was said first, its containers are killed anew, with what is left.
"""

import asyncio
import logging

from sampan.node import podspec
from sampan.node.events import Recorder
from sampan.node.handlers import Target
from sampan.node.observed import Emit, KillContainer
from sampan.node.parts import Handlers, Parts
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import RuntimeFailure

log = logging.getLogger(__name__)

SHORTEST_GRACE_SECONDS = 2.0
RETRY_SECONDS = 1.0


class Killer:
    """Of one node. `internal_ip` is the node's own address."""

    def __init__(self, parts: Parts, handlers: Handlers, recorder: Recorder, internal_ip: str) -> None:
        self._runtime, self._clock = parts.runtime, parts.clock
        self._handlers, self._recorder, self._internal_ip = handlers, recorder, internal_ip

    async def kill(self, record: PodRecord, command: KillContainer) -> None:
        """Ends it. When the runtime can't, the container counts as running again."""
        path = podspec.field_path(record.pod, command.name)
        self._recorder.emit(record.pod, Emit("Normal", "Killing", command.message, path))
        until = self._clock.monotonic() + command.grace_seconds
        if command.grace_seconds > 0:
            await self._say_before(record, command, path)
        if command.waits_for and (left := until - self._clock.monotonic()) > 0:
            await record.wait_ended(command.waits_for, left)
        left = max(until - self._clock.monotonic(), SHORTEST_GRACE_SECONDS)
        try:
            await self._runtime.stop(command.id, "", left)
        except (RuntimeFailure, OSError) as error:  # a process that can't be killed yet is a TimeoutError
            log.warning("stopping %s of %s: %s", command.name, podspec.full_name(record.pod), error)
            await self._clock.sleep(RETRY_SECONDS)
            record.stopping.discard(command.id)

    async def _say_before(self, record: PodRecord, command: KillContainer, path: str) -> None:
        container = podspec.container(record.pod, command.name) or {}
        hook = (container.get("lifecycle") or {}).get("preStop")
        if not hook:
            return
        target = Target(command.id, record.pod_ip or self._internal_ip, container, "preStop")
        outcome = await self._handlers.run(hook, target, command.grace_seconds)
        if not (outcome.success or outcome.answered):
            self._recorder.emit(record.pod, Emit("Warning", "FailedPreStopHook", "PreStopHook failed", path))


def hasten(record: PodRecord) -> None:
    """Gives up what is under way, so that the containers are killed anew with the grace that counts now."""
    kills: dict[str, asyncio.Task[None]] = record.kills
    for container_id, task in kills.items():
        task.cancel()
        record.stopping.discard(container_id)
    kills.clear()
