"""Wiring: what a real and a simulated cluster put together alike.

Each component has its own identity and its own door to the server; nothing here opens a socket.
"""

from sampan.client.api import Client
from sampan.cluster.in_process import InProcessTransport
from sampan.cluster.settings import Settings
from sampan.control.runner import Runner
from sampan.controllers.registry import controllers
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.scheduling.loop import Scheduler
from sampan.server.app import App
from sampan.server.bootstrap import Endpoints
from sampan.web.message import Peer


def client(app: App, identity: Peer, user_agent: str) -> Client:
    """A client in the server's process, as a certificate with this identity would be."""
    return Client(InProcessTransport(app, identity), user_agent)


def workers(app: App, ca: str, clock: Clock, ids: Ids, tasks: Tasks) -> tuple[Runner, Scheduler]:
    """The controllers and the scheduler; `ca` (PEM) is the authority that they publish."""
    manager = client(app, Peer("system:kube-controller-manager", ("system:masters",)), "kube-controller-manager")
    scheduler = client(app, Peer("system:kube-scheduler"), "kube-scheduler")
    return Runner(manager, controllers(ca), clock, ids, tasks), Scheduler(scheduler, clock, tasks, ids)


def endpoints(settings: Settings) -> Endpoints:
    """Where pods find the API and, unless nodes are simulated, DNS."""
    gateways = tuple(settings.gateway(number) for number in range(settings.nodes))
    return Endpoints(
        api_service_ip=settings.api_service_ip,
        api_address=settings.gateway(0),
        api_port=settings.api_port,
        dns_service_ip=settings.dns_service_ip,
        dns_addresses=() if settings.runtime == "simulated" else gateways,
    )
