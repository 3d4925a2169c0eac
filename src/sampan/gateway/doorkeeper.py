"""The doorkeeper: answers Envoy's questions about requests that wait, when somebody is awake or when it is too late.

The first request that finds nobody wakes the workload. A client that goes away is forgotten at once.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from sampan.gateway import envoy_waiting
from sampan.gateway.envoy_waiting import FULL, GO_ON, LATE, OUTCOME
from sampan.gateway.traffic import Cluster, Plan
from sampan.gateway.xds import listen
from sampan.kit.tasks import Tasks

log = logging.getLogger(__name__)

MOST_PER_SERVICE, MOST_PER_NAMESPACE, MOST = 1000, 2000, 5000
"""How many may wait at a time: for one Service's port, for those of one namespace, and for all."""
AGAIN_SECONDS = 1.0
MOMENT_SECONDS = 0.5
"""For so long who comes although somebody is ready waits for news: it comes because a pod takes no connections."""
TAKEN_SECONDS = 5.0
_LONGEST_LINE = 128 << 10

Wake = Callable[[Cluster, int], Awaitable[None]]
Taken = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests may wait for one Service's port, in one namespace and for all, and for how long."""

    per_service: int = MOST_PER_SERVICE
    per_namespace: int = MOST_PER_NAMESPACE
    all: int = MOST
    seconds: float = envoy_waiting.HOLD_SECONDS


@dataclass(slots=True)
class Room:
    """One port of a Service, and whether pods are ready. `news` is set when that changes."""

    label: str
    cluster: Cluster
    is_ready: bool = False
    is_being_woken: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Doorkeeper:
    """`wake` is called again and again while requests wait for a Service; `taken` returns when Envoy has a cluster's endpoints.

    Before the first `heed` every request waits: Envoy may have outlived the last one of us.
    """

    def __init__(self, tasks: Tasks, wake: Wake, taken: Taken, limits: Limits | None = None) -> None:
        self._tasks = tasks
        self._wake, self._taken = wake, taken
        self._limits = limits or Limits()
        self._rooms: dict[str, Room] = {}
        self._waiting: Counter[str] = Counter()
        self._is_known = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many wait for what, by its label."""
        return dict(self._waiting)

    async def start(self, path: Path) -> None:
        """Listens. Only the socket's owner may connect."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.1,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        await self._runner.setup()
        await listen(self._runner, path)

    async def stop(self) -> None:
        """Who waits is not answered."""
        if self._runner is not None:
            await self._runner.cleanup()

    def heed(self, plan: Plan) -> None:
        """Whom requests may wait for now, and who is ready."""
        known = {envoy_waiting.label(cluster): cluster for cluster in plan.sleepers}
        for label, cluster in known.items():
            room = self._rooms.setdefault(label, Room(label, cluster))
            self._tell(room, is_ready=bool(plan.endpoints.get(cluster)))
        for label in self._rooms.keys() - known.keys():
            self._tell(self._rooms.pop(label), is_ready=True)  # it is no sleeper any more: as with any other Service
        self._is_known.set()

    def _tell(self, room: Room, *, is_ready: bool) -> None:
        if room.is_ready != is_ready:
            room.is_ready = is_ready
            room.news.set()
            room.news = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.Response:
        label = request.rel_url.raw_path.split("/", 2)[1]
        return web.Response(headers={OUTCOME: FULL if self.is_full(label) else await self._outcome(label)})

    def is_full(self, label: str) -> bool:
        """Whether no more may wait there. One namespace alone doesn't take the places of all others."""
        namespace = envoy_waiting.namespace(label)
        beside = sum(count for each, count in self._waiting.items() if envoy_waiting.namespace(each) == namespace)
        return (
            self._waiting[label] >= self._limits.per_service
            or beside >= self._limits.per_namespace
            or self._waiting.total() >= self._limits.all
        )

    async def _outcome(self, label: str) -> str:
        self._waiting[label] += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._is_known.wait()
                room = self._rooms.get(label)
                return await self._wait(room) if room is not None else ""
        except TimeoutError:
            return LATE
        finally:
            self._waiting -= Counter((label,))

    async def _wait(self, room: Room) -> str:
        if room.is_ready:
            await self._within(MOMENT_SECONDS, room.news.wait())
        while not room.is_ready:
            if not room.is_being_woken:
                room.is_being_woken = True
                self._tasks.spawn(self._keep_waking(room), f"wake {room.cluster.name}", critical=False)
            await room.news.wait()
        await self._within(TAKEN_SECONDS, self._taken(envoy_waiting.awake(room.cluster)))
        return GO_ON

    async def _within(self, seconds: float, awaited: Awaitable[object]) -> None:
        """Waits for it, but not longer."""
        try:
            async with asyncio.timeout(seconds):
                await awaited
        except TimeoutError:
            log.debug("nothing happened within %g seconds", seconds)

    async def _keep_waking(self, room: Room) -> None:
        """An autoscaler may take it down again at the same moment, so once is not enough."""
        try:
            while (count := self._waiting[room.label]) and not room.is_ready:
                await self._wake(room.cluster, count)
                await self._within(AGAIN_SECONDS, room.news.wait())
        finally:
            room.is_being_woken = False
