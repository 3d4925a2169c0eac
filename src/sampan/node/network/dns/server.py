"""DnsServer: a node's name server for its pods, at the gateway's addresses, by UDP and TCP.

It follows Services and EndpointSlices, so that a change shows with the next answer. Where it may, it also follows
Namespaces, of which one without services has a name too, and the ConfigMap that says whom to ask for other names.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node.exposition import Exposition
from sampan.node.network.dns import upstreams
from sampan.node.network.dns.answers import Answers
from sampan.node.network.dns.connections import Connections
from sampan.node.network.dns.figures import Figures
from sampan.node.network.dns.forward import Forwarder
from sampan.node.network.dns.responder import Later, Responder
from sampan.node.network.dns.upstreams import BadUpstreams, HostServers, Server
from sampan.node.network.dns.zone import Zone

log = logging.getLogger(__name__)

CONFIG_MAP = ("kube-system", "kube-dns")
_BATCH = 64
_LARGEST_QUESTION = 4096
_WAITING_BYTES = 1 << 20

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name server is, and what it is to know.

    `addresses` are its own, `networks` those whose reverse names are the cluster's. `upstreams` are the servers for
    names elsewhere; where there are none, those of the host's `files`. `also` are addresses that lead here as well.
    `port` 0 takes one that is free.
    """

    addresses: tuple[str, ...]
    domain: str = "cluster.local"
    networks: tuple[str, ...] = ()
    upstreams: tuple[Server, ...] = ()
    files: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    port: int = 53


class DnsServer:
    """One node's. `port` is the one that it has, after `start`. `also` are caches that it starts: see `followed`."""

    kinds = (SERVICE, ENDPOINTSLICE)

    def __init__(self, place: Place, clock: Clock, also: Iterable[Cache] = ()) -> None:
        self.port = place.port
        self._place, self._clock, self._also = place, clock, tuple(also)
        self._tasks = Tasks("dns")
        self._figures = Figures()
        host = HostServers((*place.addresses, *place.also), place.files)
        self._forwarder = Forwarder(lambda: place.upstreams or host.now(), clock, self._tasks, self._figures)
        self._answers = Answers(Zone(place.domain, place.networks))
        self._responder = Responder(self._answers, self._forwarder, self._figures, clock)
        self._connections = Connections(self._responder, self._tasks)
        self._udp: list[_Udp] = []
        self._tcp: list[asyncio.Server] = []

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Answers by this version of an object from now on."""
        self._answers.change(plural, old, new)

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """All that has changed is known already."""

    def configure(self, item: Object | None) -> None:
        """Takes over the ConfigMap. What can't be used is said, and leaves everything as it is."""
        try:
            found = upstreams.of_config_map(item)
            for server in (*found.servers, *chain.from_iterable(found.stubs.values())):
                if server[0] in (*self._place.addresses, *self._place.also) and server[1] == self.port:
                    raise BadUpstreams(f"{server[0]} leads back here")
            self._forwarder.configure(found)
        except BadUpstreams as error:
            log.warning("ConfigMap %s/%s: %s", *CONFIG_MAP, error)

    async def start(self) -> None:
        """Listen; OSError when an address or port can't be had."""
        try:
            for address in self._place.addresses:
                await self._listen(address)
        except OSError:
            self._close()
            raise
        for cache in self._also:
            cache.subscribe(partial(self._told, cache.kind))
            cache.start()

    def _told(self, kind: Kind, type: str, old: Object | None, new: Object | None) -> None:
        if kind is NAMESPACE:
            self.changed(kind.plural, old, new)
        else:
            self.configure(new)

    async def stop(self) -> None:
        """Stop listening and drop what is in flight."""
        self._close()
        await self._tasks.close()

    def tell(self, found: Exposition) -> None:
        """Adds the figures."""
        self._figures.tell(found, f"dns://:{self.port}", self._forwarder.entries())

    async def _listen(self, address: str) -> None:
        """TCP first: when the port is to be any, it finds one."""
        stream = _bound(address, self.port, socket.SOCK_STREAM)
        self.port = stream.getsockname()[1]
        self._tcp.append(
            await asyncio.get_running_loop().create_server(self._connections.accept, sock=stream, backlog=128)
        )
        self._udp.append(_Udp(_bound(address, self.port, socket.SOCK_DGRAM), self._responder, self._tasks))

    def _close(self) -> None:
        for udp in self._udp:
            udp.close()
        for tcp in self._tcp:
            tcp.close()
        self._connections.close()


def followed(client: Client, clock: Clock, tasks: Tasks) -> tuple[Cache, Cache]:
    """What a name server follows beside its kinds, and does without where it may not read it."""
    namespace, name = CONFIG_MAP
    config = Cache(client, CONFIGMAP, namespace, fields=f"metadata.name={name}", clock=clock, tasks=tasks)
    return config, Cache(client, NAMESPACE, clock=clock, tasks=tasks)


class _Udp:
    """One socket. What has come is read in one go, without a task for each question."""

    def __init__(self, sock: socket.socket, responder: Responder, tasks: Tasks) -> None:
        self._socket, self._responder, self._tasks = sock, responder, tasks
        self._counts = responder.figures.way("udp", "2" if sock.family == socket.AF_INET6 else "1")
        self._clock = responder.clock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    def close(self) -> None:
        """No more questions."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        began, answered = self._clock.monotonic(), 0
        receive, respond, send = self._socket.recvfrom, self._responder.respond, self._send
        for _ in range(_BATCH):
            try:
                packet, sender = receive(_LARGEST_QUESTION)
            except BlockingIOError:
                break
            except OSError as error:
                log.debug("DNS socket: %s", error)
                continue
            answer = respond(packet, sender[0], self._counts)
            if isinstance(answer, bytes):
                answered += 1
                send(answer, sender)
            elif answer is not None:
                self._tasks.spawn(self._send_later(answer, sender), "udp", critical=False)
        if answered:
            took = (self._clock.monotonic() - began) / answered
            self._responder.figures.took(self._responder.zone, took, answered)

    async def _send_later(self, answer: Later, sender: Any) -> None:
        self._send(await answer, sender)

    def _send(self, answer: bytes, sender: Any) -> None:
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):  # who can't be reached, or whose answers pile up, asks again
                self._socket.sendto(answer, sender)


def _bound(address: str, port: int, type: socket.SocketKind) -> socket.socket:
    """A socket there that does not block."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, type)
    try:
        sock.setblocking(False)
        if type is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _make_room(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"no name server at {address}, port {port}: {error.strerror}") from error
    return sock


def _make_room(sock: socket.socket) -> None:
    """For questions that come all at once; more than the host's limit where that is allowed."""
    for option in (socket.SO_RCVBUF, getattr(socket, "SO_RCVBUFFORCE", 33)):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, _WAITING_BYTES)
