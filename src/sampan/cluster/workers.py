"""Workers: a control plane's controllers and its scheduler.

They work from the start on; or, where several control planes share a store, only while this one leads.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.transport import Transport
from sampan.cluster import client_metrics, controller_metrics, scheduler_metrics
from sampan.cluster.in_process import InProcessTransport
from sampan.cluster.wiring import Surroundings
from sampan.control.election import Candidate
from sampan.control.leading import Leading, Work
from sampan.control.runner import Runner
from sampan.control.worker import Worker
from sampan.controllers.registry import controllers
from sampan.kit.tasks import Tasks
from sampan.scheduling.loop import Scheduler
from sampan.server.app import App
from sampan.web.message import Peer

MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
PEERS = {MANAGER: Peer(f"system:{MANAGER}", ("system:masters",)), SCHEDULER: Peer(f"system:{SCHEDULER}")}
COMPONENTS = {MANAGER: MANAGER, SCHEDULER: "default-scheduler"}
ELECTIONS = "leader-election"

Wrap = Callable[[Transport], Transport]


class Steady:
    """They work from the start on.

    `start` returns when everything is under way; `resume` when it is where others were, on a copy of their store, and
    knows what those knew. `stop` ends it in peace, `kill` at this instant, so far as it does not end with the tasks of
    the surroundings.
    """

    def __init__(self, make: "_Make") -> None:
        self.runner = make.runner(make.around.tasks)
        self._scheduler = make.scheduler(make.around.tasks)
        make.measure(lambda: self.runner)
        make.check(lambda: bool(self.runner.workers), lambda: self._scheduler.is_running)

    @property
    def caches(self) -> Mapping[str, Cache]:
        """What the controllers know, by resource."""
        return self.runner.caches

    async def start(self) -> None:
        await self.runner.start()
        await self._scheduler.start()
        await self.runner.wait_synced()

    async def resume(self, before: "Steady | Elected") -> None:
        assert isinstance(before, Steady)  # as a copy is
        await self.runner.start(before.runner)
        await self._scheduler.start(before._scheduler)

    def hurry(self) -> None:
        """The wall clock has jumped: what was to be done at a time of day may be overdue."""
        self.runner.hurry()

    async def stop(self) -> None:
        await self._scheduler.stop()
        await self.runner.stop()

    def kill(self) -> None:
        self.runner.kill()


class Elected:
    """The controllers, and the scheduler, work while this control plane has the lease of their name."""

    def __init__(self, make: "_Make") -> None:
        self._make = make
        self._runner: Runner | None = None
        around = make.around
        self._leading: dict[str, Leading] = {}
        for name in (MANAGER, SCHEDULER):
            client = Client(make.transport(name), f"{name}/{ELECTIONS}", watch=around.watch)
            me = Candidate(around.candidate, ("kube-system", name), around.terms)
            self._leading[name] = Leading(client, me, around.clock, around.tasks, COMPONENTS[name])
        make.measure(lambda: self._runner)
        make.check(*(functools.partial(getattr, leading, "is_running") for leading in self._leading.values()))
        leads = lambda: [(name, leading.leads) for name, leading in self._leading.items()]  # noqa: E731
        controller_metrics.add_elections(make.app.metrics, leads)

    @property
    def caches(self) -> Mapping[str, Cache]:
        return self._runner.caches if self._runner is not None else {}

    async def start(self) -> None:
        for name, begin in ((MANAGER, self._manage), (SCHEDULER, self._schedule)):
            self._leading[name].start(begin)
        for leading in self._leading.values():
            await leading.wait_settled()

    async def resume(self, before: "Steady | Elected") -> None:
        await self.start()

    def hurry(self) -> None:
        """As that of `Steady`, if this one leads."""
        if self._runner is not None:
            self._runner.hurry()

    async def stop(self) -> None:
        await asyncio.gather(*(leading.stop() for leading in self._leading.values()))

    def kill(self) -> None:
        for leading in self._leading.values():
            leading.kill()

    def _manage(self, tasks: Tasks) -> Work:
        runner = self._runner = self._make.runner(tasks, self._leading[MANAGER].fenced)

        async def start() -> None:
            await runner.start()
            await runner.wait_synced()

        return Work(start, runner.stop, runner.kill)

    def _schedule(self, tasks: Tasks) -> Work:
        scheduler = self._make.scheduler(tasks, self._leading[SCHEDULER].fenced)
        return Work(scheduler.start, scheduler.stop, tasks.kill)


def workers(
    app: App, ca: str, around: Surroundings, door: Callable[[Peer], Transport] | None = None
) -> Steady | Elected:
    """Those of a control plane; `ca` (PEM) is the authority that they publish.

    `door` is how an identity reaches the server, if not straight in its process.
    """
    make = _Make(app, ca, around, door or functools.partial(InProcessTransport, app))
    return Elected(make) if around.candidate else Steady(make)


class _Make:
    """How controllers and scheduler are put together."""

    def __init__(self, app: App, ca: str, around: Surroundings, door: Callable[[Peer], Transport]) -> None:
        self.app = app
        self.around = around
        self._ca = ca
        self._door = door
        self._counts = client_metrics.ClientMetrics(app.metrics, around.clock.monotonic)
        self._on_worker: Callable[[Worker], None] | None = None
        self._planner: Scheduler | None = None
        self._planned = scheduler_metrics.Measured(app.metrics, lambda: self._planner)

    def measure(self, runner: Callable[[], Runner | None]) -> None:
        """Has the queues of the controllers counted that work at the time."""

        def present() -> list[Worker]:
            found = runner()
            return found.workers if found is not None else []

        self._on_worker = controller_metrics.add(self.app.metrics, present)

    def check(self, manages: Callable[[], bool], schedules: Callable[[], bool]) -> None:
        """What ComponentStatus says of a part of this process; one that fails ends the process."""
        self.app.components.add("controller-manager", _check(manages))
        self.app.components.add("scheduler", _check(schedules))

    def transport(self, name: str) -> Transport:
        """That of one of the two, counted."""
        return self._counts.metered(self._door(PEERS[name]))

    def runner(self, tasks: Tasks, wrap: Wrap | None = None) -> Runner:
        """The controllers."""
        around = self.around
        rules = controllers(self._ca, self.app.legacy_token, self.app.gates, around.options)
        made = Runner(self._client(MANAGER, wrap), rules, around.clock, around.ids, tasks)
        made.sign = around.sign
        made.on_worker = lambda worker: self._on_worker(worker) if self._on_worker is not None else None
        return made

    def scheduler(self, tasks: Tasks, wrap: Wrap | None = None) -> Scheduler:
        """The scheduler."""
        around = self.around
        made = Scheduler(self._client(SCHEDULER, wrap), around.clock, tasks, around.ids, around.scheduling)
        made.outside.door = around.extender_door
        made.counts, self._planner = self._planned, made
        return made

    def _client(self, name: str, wrap: Wrap | None) -> Client:
        transport = self.transport(name)
        return Client(wrap(transport) if wrap is not None else transport, name, watch=self.around.watch)


def _check(is_running: Callable[[], bool]) -> Callable[[], Awaitable[str]]:
    async def check() -> str:
        return "" if is_running() else "it does not run yet"

    return check
