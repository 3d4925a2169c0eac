"""Graceful shutdown: delays the machine's shutdown until the node's pods have ended, by priority.

logind tells of a shutdown that begins. From then on the node is not Ready and takes no pod; when the last group of
pods has ended, or has used up its time, the delay ends. A shutdown that is called off leaves a node that is Ready.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.node import shutdown_order
from sampan.node.gate import Gate
from sampan.node.heartbeat import Heartbeat
from sampan.node.kubelet_config import KubeletConfig
from sampan.node.observed import Emit, Termination
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import EXITED
from sampan.node.snapshot import TERMINAL

if TYPE_CHECKING:
    from sampan.node.logind import Logind

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
LOOK_SECONDS = 0.1
REPORT_SECONDS = 2.0
"""How long the API has to hear of the ends, before the machine goes down."""
NODE_SHUTDOWN = "NodeShutdown"


class Shutdown:
    """Of one node; does nothing where no time is configured for it. `connect` makes a connection to logind."""

    def __init__(
        self,
        config: KubeletConfig,
        records: Mapping[str, PodRecord],
        helpers: tuple[Heartbeat, Gate, Callable[[Any, Emit], None]],
        wake: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._config, self._records, self._wake, self._clock = config, records, wake, clock
        self._heartbeat, self._gate, self._emit = helpers
        self._lock = -1
        self._ending: asyncio.Task[None] | None = None
        self.is_begun = False

    def start(self, tasks: Tasks) -> None:
        """Looks after shutdowns from now on, if the node is told to."""
        if shutdown_order.steps(self._config):
            self._gate.checks_after.append(lambda pod: shutdown_order.NOT_ADMITTED if self.is_begun else None)
            tasks.spawn(self._follow_for_ever(tasks), "shutdown")

    async def _follow_for_ever(self, tasks: Tasks) -> None:
        try:
            from sampan.node.logind import Logind, LogindError
        except ImportError:
            log.error("shutdownGracePeriod needs jeepney: pip install 'sampan[systemd]'")  # noqa: TRY400 (no more to say)
            return
        said = ""
        try:
            while True:
                try:
                    logind = await asyncio.to_thread(Logind)
                    try:
                        await self._follow(logind, tasks)
                    finally:
                        logind.close()
                except LogindError as error:
                    if str(error) != said:
                        log.warning("logind: %s; trying again", error)
                    said = str(error)
                await self._clock.sleep(RECONNECT_SECONDS)
        finally:
            self._unlock()

    async def _follow(self, logind: "Logind", tasks: Tasks) -> None:
        await asyncio.to_thread(logind.allow_delay, shutdown_order.whole_seconds(self._config))
        await self._delay(logind)
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(logind.fileno(), arrived.set)
        try:
            while True:
                for is_beginning in logind.take_signals():
                    if is_beginning:
                        self._begin(tasks)
                    else:
                        await self._call_off(logind)
                await arrived.wait()
                arrived.clear()
        finally:
            loop.remove_reader(logind.fileno())

    async def _delay(self, logind: "Logind") -> None:
        taking = asyncio.ensure_future(asyncio.to_thread(logind.inhibit))
        try:
            fresh = await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait((taking,))
            if taking.exception() is None:
                os.close(taking.result())  # or the machine's next shutdown would wait for nobody
            raise
        self._unlock()
        self._lock = fresh

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin(self, tasks: Tasks) -> None:
        if self.is_begun:
            return
        self.is_begun = True
        log.warning("the machine shuts down")
        self._say("Shutdown manager detected shutdown event", shutdown_order.NODE_MESSAGE)
        self._ending = tasks.spawn(self._end_pods(), "end of all pods", critical=False)

    async def _call_off(self, logind: "Logind") -> None:
        if not self.is_begun:
            return
        self.is_begun = False
        log.warning("the machine's shutdown was called off")
        self._say("Shutdown manager detected shutdown cancelled", "")
        if self._ending is not None:
            self._ending.cancel()
        await self._delay(logind)

    def _say(self, text: str, unready: str) -> None:
        """Tells of the shutdown, and whether the node is Ready now."""
        node, reason = self._heartbeat.node(), "NodeNotReady" if unready else "NodeReady"
        self._emit(node, Emit("Normal", NODE_SHUTDOWN, text))
        self._heartbeat.say_unready(unready)
        self._emit(node, Emit("Normal", reason, f"Node {objects.name(node)} status is now: {reason}"))

    async def _end_pods(self) -> None:
        """Ends group after group, each within its time; then the machine may go down."""
        try:
            for group in shutdown_order.groups(self._config, [record.pod for record in self._living()]):
                await self._end_group(group)
            ended = [record for record in self._records.values() if record.terminated is not None]
            await self._wait(lambda: all(_is_told(record) for record in ended), REPORT_SECONDS)
        finally:
            if self.is_begun:
                self._unlock()

    async def _end_group(self, group: shutdown_order.Group) -> None:
        uids = {pod["metadata"]["uid"] for pod in group.pods}
        members = [record for record in self._living() if record.uid in uids]
        for record in members:
            grace = shutdown_order.grace_seconds(record.pod, group)
            reason, text = shutdown_order.REASON, shutdown_order.MESSAGE
            record.terminated = Termination(reason, text, grace, text)
            self._wake(record.uid)
        if not await self._wait(lambda: all(_has_ended(record) for record in members), group.seconds):
            log.warning("shutdown: not all pods have ended within %d s", group.seconds)

    async def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether the condition holds before the time is over."""
        until = self._clock.monotonic() + seconds
        while not condition():
            if self._clock.monotonic() >= until:
                return False
            await self._clock.sleep(LOOK_SECONDS)
        return True

    def _living(self) -> list[PodRecord]:
        return [record for record in self._records.values() if record.rejected is None and not _is_told(record)]


def _has_ended(record: PodRecord) -> bool:
    return not record.starting and all(state.state == EXITED for state in record.states.values())


def _is_told(record: PodRecord) -> bool:
    """Whether the API knows that the pod has ended."""
    return (record.pod.get("status") or {}).get("phase") in TERMINAL
