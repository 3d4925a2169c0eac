"""Wiring: what a real and a simulated cluster put together alike.

Each component has its own identity and its own door to the server; nothing here opens a socket.
"""

from dataclasses import dataclass
from pathlib import Path

from sampan.client.api import WATCH, Client, WatchTerms
from sampan.cluster import pki
from sampan.cluster.in_process import InProcessTransport
from sampan.cluster.settings import Settings
from sampan.control import load_balancing
from sampan.control.election import Terms
from sampan.control.worker import Sign
from sampan.controllers import node_ipam, node_serving_approving, registry
from sampan.kinds.core.event import EVENT
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.scheduling.config import DEFAULTS, Configuration
from sampan.scheduling.extenders import Door, over_http
from sampan.server import api_servers, event_expiry
from sampan.server.app import App
from sampan.server.bootstrap import Endpoints
from sampan.server.cache import prefix
from sampan.web.message import Peer

TERMS = Terms()
LIFETIMES = {prefix(EVENT): int(event_expiry.TTL_SECONDS), api_servers.PLACE: api_servers.LIFE_SECONDS}
"""For how many seconds things are in a store that has them go by itself."""


def client(app: App, identity: Peer, user_agent: str, watch: WatchTerms = WATCH) -> Client:
    """A client in the server's process, as a certificate with this identity would be."""
    return Client(InProcessTransport(app, identity), user_agent, watch=watch)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every part is handed: time, ids, an owner for its tasks, how it watches; and how pods are placed.

    `sign` is the cluster's authority, where it has one. `candidate` is how this control plane is called where several
    share a store, of which one at a time works; "" where it is alone; `terms` are those of the election. `extender_door` leads to the scheduler's extenders.
    `options` are the controllers'. `directory` is where parts may keep files, None for nowhere, and `address` that by
    which nodes and pods reach this host.
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
    options: registry.Options = registry.USUAL
    directory: Path | None = None
    address: str = "127.0.0.1"


def endpoints(settings: Settings) -> Endpoints:
    """Where pods find the API and, unless nodes are simulated, DNS."""
    gateways = tuple(settings.gateway(number) for number in range(settings.nodes))
    return Endpoints(
        api_service_ip=settings.api_service_ip,
        api_address=settings.api_address,
        api_port=settings.api_port,
        dns_service_ip=settings.dns_service_ip,
        dns_addresses=() if settings.runtime == "simulated" else gateways,
        service_cidr=",".join(settings.service_cidrs),
    )


def options(settings: Settings) -> registry.Options:
    """What was chosen for the controllers."""
    return registry.Options(
        balancing(settings), pod_pools(settings), settings.node_grace_seconds, serving_terms(settings)
    )


def serving_terms(settings: Settings) -> node_serving_approving.Terms:
    """What is the API's, and what the nodes beside the (first) control plane were given of it."""
    hosts, local = pki.server_hosts(settings), settings.node_addresses()
    return node_serving_approving.Terms(
        hosts, settings.service_cidrs, local, shares_addresses=settings.load_balancer == "node"
    )


def pod_pools(settings: Settings) -> tuple[node_ipam.Pool, ...]:
    """Whence nodes get the networks of their pods. Those of this host come with theirs, and so do all simulated ones."""
    if settings.runtime == "simulated":
        return ()
    lengths = zip(settings.pod_cidrs, (24, 64), strict=False)
    return tuple(node_ipam.Pool(cidr, length, settings.nodes) for cidr, length in lengths)


def balancing(settings: Settings) -> load_balancing.Terms:
    """Where Services of type LoadBalancer get their addresses."""
    pools = tuple(filter(None, settings.load_balancer_cidr.split(",")))
    return load_balancing.Terms(pools, nodes=settings.load_balancer == "node", ports=frozenset((settings.api_port,)))
