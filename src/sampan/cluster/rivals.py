"""Rivals: a second set of controllers and a second scheduler beside the first, as when nobody elects a leader."""

import asyncio
from typing import Any

from sampan.client.api import CALM, Client
from sampan.cluster.plane import AUTHORITY
from sampan.cluster.simulated import SimulatedCluster
from sampan.control.runner import Runner
from sampan.controllers.registry import controllers
from sampan.kit.tasks import Tasks
from sampan.scheduling.loop import Scheduler
from sampan.web.message import Peer

GROUP = "rivals"
"""What tells them from the first, for an Aim."""
MANAGER = Peer("system:kube-controller-manager", ("system:masters", GROUP))
PLANNER = Peer("system:kube-scheduler", (GROUP,))

Object = dict[str, Any]


class Rivals:
    """They work from the next moment on, until `end`; a crash of the control plane leaves them as they are."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._tasks = Tasks(GROUP)
        manager, planner = (Client(cluster.doors.door(who), who.common_name, watch=CALM) for who in (MANAGER, PLANNER))
        rules = controllers(AUTHORITY, self._sign, cluster.settings.gates, cluster.options)
        self._runner = Runner(manager, rules, cluster.clock, cluster.ids, self._tasks)
        self._scheduler = Scheduler(planner, cluster.clock, self._tasks, cluster.ids, cluster.scheduling)
        cluster.doors.rivals += 1
        cluster.guests.append(self._kill)
        self._beginning = cluster.loop.call_soon(self._begin)

    def end(self) -> None:
        """They are killed."""
        self._cluster.doors.rivals -= 1
        self._cluster.guests.remove(self._kill)
        self._kill()

    def _kill(self) -> None:
        self._beginning.cancel()
        self._runner.kill()
        self._tasks.kill()

    def _begin(self) -> None:
        asyncio.ensure_future(self._tasks.wait(), loop=self._cluster.loop).add_done_callback(self._ended)
        self._tasks.spawn(self._start(), "start")

    async def _start(self) -> None:
        await self._runner.start()
        await self._scheduler.start()

    def _ended(self, done: "asyncio.Future[None]") -> None:
        """A failure of theirs is a failure of the step in which it happens."""
        if not done.cancelled() and (error := done.exception()) is not None:
            self._cluster.fail(error)

    def _sign(self, account: Object, secret: Object) -> str:
        return self._cluster.app.legacy_token(account, secret)
