"""Wiring: what a real and a simulated cluster put together alike.

Each component has its own identity and its own door to the server; nothing here opens a socket.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sampan.client.api import WATCH, Client, WatchTerms
from sampan.client.transport import Transport
from sampan.cluster import client_metrics, controller_metrics
from sampan.cluster.in_process import InProcessTransport
from sampan.cluster.settings import Settings
from sampan.control.runner import Runner
from sampan.controllers.registry import controllers
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.scheduling.config import DEFAULTS, Configuration
from sampan.scheduling.loop import Scheduler
from sampan.server.app import App
from sampan.server.bootstrap import Endpoints
from sampan.web.message import Peer


def client(app: App, identity: Peer, user_agent: str, watch: WatchTerms = WATCH) -> Client:
    """A client in the server's process, as a certificate with this identity would be."""
    return Client(InProcessTransport(app, identity), user_agent, watch=watch)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every part is handed: time, ids, an owner for its tasks, how it watches; and how pods are placed."""

    clock: Clock
    ids: Ids
    tasks: Tasks
    watch: WatchTerms = WATCH
    scheduling: Configuration = DEFAULTS


def workers(
    app: App, ca: str, around: Surroundings, door: Callable[[Peer], Transport] | None = None
) -> tuple[Runner, Scheduler]:
    """The controllers and the scheduler; `ca` (PEM) is the authority that they publish.

    `door` is how an identity reaches the server, if not straight in its process.
    """
    clock, ids, tasks, watch = around.clock, around.ids, around.tasks, around.watch
    counts = client_metrics.ClientMetrics(app.metrics, clock.monotonic)
    door = door or functools.partial(InProcessTransport, app)
    masters = Peer("system:kube-controller-manager", ("system:masters",))
    manager = Client(door(masters), "kube-controller-manager", watch=watch)
    scheduler = Client(door(Peer("system:kube-scheduler")), "kube-scheduler", watch=watch)
    for each in (manager, scheduler):
        each.transport = counts.metered(each.transport)
    runner = Runner(manager, controllers(ca, app.legacy_token), clock, ids, tasks)
    app.components.add("controller-manager", _check(lambda: bool(runner.workers)))
    controller_metrics.add(app.metrics, runner)
    planner = Scheduler(scheduler, clock, tasks, ids, around.scheduling)
    app.components.add("scheduler", _check(lambda: planner.is_running))
    return runner, planner


def _check(is_running: Callable[[], bool]) -> Callable[[], Awaitable[str]]:
    """What ComponentStatus says of a part of this process; one that fails ends the process."""

    async def check() -> str:
        return "" if is_running() else "it does not run yet"

    return check


def endpoints(settings: Settings) -> Endpoints:
    """Where pods find the API and, unless nodes are simulated, DNS."""
    gateways = tuple(settings.gateway(number) for number in range(settings.nodes))
    return Endpoints(
        api_service_ip=settings.api_service_ip,
        api_address=settings.gateway(0),
        api_port=settings.api_port,
        dns_service_ip=settings.dns_service_ip,
        dns_addresses=() if settings.runtime == "simulated" else gateways,
        service_cidr=settings.service_cidr,
    )
