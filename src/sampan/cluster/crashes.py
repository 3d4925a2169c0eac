"""Crashes of a simulated cluster's parts: at an instant, at a write, or by chance; and when they are back."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sampan.client.transport import TransportError
from sampan.cluster.history import Change
from sampan.cluster.simulated import SimulatedCluster
from sampan.kit.dice import Dice
from sampan.meta.status import ApiError
from sampan.store.protocol import StoreError

PLANE = "the control plane"


@dataclass(slots=True)
class AtWrite:
    """A crash of the control plane at a transaction: at the one of that number, or at any, with dice."""

    number: int
    back_after: float | None
    dice: Dice | None = None
    chance: float = 0.0
    times: int | None = 1

    @property
    def is_over(self) -> bool:
        """Whether it happens no more."""
        return self.times == 0

    def is_due(self, number: int) -> bool:
        """Whether it happens at this transaction."""
        if self.is_over or not (self.dice.happens(self.chance) if self.dice else number == self.number):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Crashes:
    """Those that are to come, and who is on the way back. `tell` is told of each."""

    def __init__(self, cluster: SimulatedCluster, tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._tell = tell
        self._writes = 0
        self._counted = ""
        self._due: list[AtWrite] = []
        self._boots: dict[str, asyncio.Future[None]] = {}
        cluster.observe(self._count)
        cluster.unrest.append(lambda: bool(self._due))

    def plane(self, back_after: float | None) -> None:
        """The control plane, at this instant."""
        self._tell(f"crash {PLANE}")
        self._stop_booting(PLANE)
        self._cluster.crash_control_plane()
        if back_after is not None:
            self._boot(PLANE, back_after, self._cluster.boot_control_plane)

    def node(self, name: str, back_after: float | None) -> None:
        """A node, at this instant, and its containers with it. Raises LookupError for a name of none."""
        self._cluster.machine(name)
        self._tell(f"crash node {name}")
        self._stop_booting(name)
        with contextlib.suppress(KeyError):  # it was down
            self._cluster.crash_node(name)
        self._boot_node(name, back_after)

    def agent(self, name: str, back_after: float | None) -> None:
        """A node's agent, at this instant; its containers go on. Raises LookupError for a name of none."""
        self._cluster.machine(name)
        if not self._cluster.is_node_up(name):
            return
        self._tell(f"crash the agent of {name}")
        self._stop_booting(name)
        self._cluster.crash_agent(name)
        self._boot_node(name, back_after)

    def _boot_node(self, name: str, back_after: float | None) -> None:
        if back_after is not None:
            self._boot(name, back_after, lambda: self._cluster.boot_node(name))

    def at_write(self, number: int, back_after: float | None) -> None:
        """The control plane, at the n-th transaction from now."""
        self._due.append(AtWrite(self._writes + number, back_after))

    def at_writes(self, crash: AtWrite) -> None:
        """The control plane, at transactions that dice choose."""
        self._due.append(crash)

    def end(self) -> None:
        """There are no more, and whoever is down is started."""
        self._due.clear()
        if not self._cluster.is_up and PLANE not in self._boots:
            self._boot(PLANE, 0.0, self._cluster.boot_control_plane)
        for name in self._cluster.machines:
            if not self._cluster.is_node_up(name) and name not in self._boots:
                self._boot(name, 0.0, lambda name=name: self._cluster.boot_node(name))  # type: ignore[misc]

    def _count(self, change: Change) -> None:
        """A transaction of several writes is several changes of one resourceVersion; it counts once."""
        revision = change.tree["metadata"]["resourceVersion"] if self._due else ""
        if not revision or revision == self._counted:
            return
        self._counted = revision
        self._writes += 1
        due = [crash for crash in self._due if crash.is_due(self._writes)]
        if due:
            self._due = [crash for crash in self._due if not crash.is_over]
            self.plane(due[0].back_after)

    def _stop_booting(self, name: str) -> None:
        boot = self._boots.pop(name, None)
        if boot is not None:
            boot.cancel()

    def _boot(self, name: str, seconds: float, start: Callable[[], Awaitable[None]]) -> None:
        async def boot() -> None:
            await asyncio.sleep(seconds)
            self._tell(f"start {name}")
            with contextlib.suppress(StoreError, ApiError, TransportError):  # killed again meanwhile
                await start()

        self._boots[name] = asyncio.ensure_future(boot(), loop=self._cluster.loop)
        self._boots[name].add_done_callback(self._booted)

    def _booted(self, task: asyncio.Future[None]) -> None:
        self._boots = {name: known for name, known in self._boots.items() if known is not task}
        if not task.cancelled() and (error := task.exception()) is not None:
            self._cluster.fail(error)
