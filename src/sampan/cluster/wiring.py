"""Wiring: what a real and a simulated cluster put together alike.

Each component has its own identity and its own door to the server; nothing here opens a socket.
"""

from dataclasses import dataclass

from sampan.client.api import WATCH, Client, WatchTerms
from sampan.cluster.in_process import InProcessTransport
from sampan.cluster.settings import Settings
from sampan.control.election import Terms
from sampan.control.worker import Sign
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.scheduling.config import DEFAULTS, Configuration
from sampan.scheduling.extenders import Door, over_http
from sampan.server.app import App
from sampan.server.bootstrap import Endpoints
from sampan.web.message import Peer

TERMS = Terms()


def client(app: App, identity: Peer, user_agent: str, watch: WatchTerms = WATCH) -> Client:
    """A client in the server's process, as a certificate with this identity would be."""
    return Client(InProcessTransport(app, identity), user_agent, watch=watch)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every part is handed: time, ids, an owner for its tasks, how it watches; and how pods are placed.

    `sign` is the cluster's authority, where it has one. `candidate` is how this control plane is called where several
    share a store, of which one at a time works; "" where it is alone; `terms` are those of the election. `extender_door` leads to the scheduler's extenders.
    """

    clock: Clock
    ids: Ids
    tasks: Tasks
    watch: WatchTerms = WATCH
    scheduling: Configuration = DEFAULTS
    sign: Sign | None = None
    candidate: str = ""
    terms: Terms = TERMS
    extender_door: Door = over_http


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
