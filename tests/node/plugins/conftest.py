"""The plugins of a node without the node: what it has them do is done by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.plugins.plugins import Plugins

PATIENCE_SECONDS = 60.0


class HeldClock(SystemClock):
    """Time passes, but who waits for long waits until it is told: `release` ends all of these waits."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, asyncio.Event]] = []
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    async def sleep(self, seconds: float) -> None:
        if seconds < 10:
            await asyncio.sleep(min(seconds, 0.01))
            return
        event = asyncio.Event()
        wait = seconds, event
        self.waiting.append(wait)
        try:
            await event.wait()
        finally:
            self.waiting = [other for other in self.waiting if other is not wait]

    def release(self) -> list[float]:
        waiting, self.waiting = self.waiting, []
        for _, event in waiting:
            event.set()
        return [seconds for seconds, _ in waiting]


class Api:
    """As much of a client as is needed; `deleted` has the selectors of what was deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete_collection(self, kind: Any, namespace: str, *, fields: str) -> dict[str, Any]:
        self.deleted.append(fields)
        return {}


class Node:
    """Its plugins, restarted at will."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock, self.api = root, HeldClock(), Api()
        self.bound: list[dict[str, Any]] = []
        self.woken: list[str] = []
        self.drivers_came = 0

    async def start(self) -> None:
        self.tasks = Tasks("test")
        self.plugins = Plugins(self.root, (self.api, "node-1"), self.clock, self.tasks)  # type: ignore[arg-type]
        self.plugins.open(self)
        self.plugins.start()

    def pods(self) -> list[dict[str, Any]]:
        return self.bound

    def look_at(self, uid: str) -> None:
        self.woken.append(uid)

    def offer(self) -> None:
        """The amounts are looked at by those who want to know."""

    def try_again(self) -> None:
        self.drivers_came += 1

    async def stop(self) -> None:
        await self.tasks.close()
        await self.plugins.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Looks at the condition for as long as something happens."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := condition()):
                await asyncio.sleep(0)
        return found


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """Started, and stopped afterwards."""
    made = Node(tmp_path)
    await made.start()
    yield made
    await made.stop()
