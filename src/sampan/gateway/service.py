"""Service: what runs beside the controllers: Envoy, its configuration as the cluster's objects say, and its metrics."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sampan.client.cache import Cache
from sampan.control.view import View
from sampan.gateway import (
    build,
    envoy_process,
    envoy_resources,
    envoy_waiting,
    kinds,
    metrics_text,
    proxy,
    route_stats,
    sleepers,
    sleeping,
)
from sampan.gateway.doorkeeper import Doorkeeper
from sampan.gateway.envoy_process import Envoy
from sampan.gateway.refusal_teller import Teller
from sampan.gateway.traffic import Cluster, Plan
from sampan.gateway.xds import Server
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.platform import own_address
from sampan.platform.layer import Around

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.02
VIRTUAL_ADDRESS = "192.0.2.1"
WAKING_SECONDS = 10.0


async def serve(around: Around) -> None:
    """Until cancelled, which ends Envoy; after a failure, or where we come back, it goes on serving until we are there again.

    Envoy starts with the first Gateway or Ingress: it would be the largest part of an idle cluster. Where there is no host,
    the proxy is only said to be there.
    """
    if around.directory is None:
        await _announce(around, VIRTUAL_ADDRESS)
        return
    directory = around.directory / "gateway"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    program, envoy = envoy_process.find(), Envoy(directory, around.clock)
    server, metrics = Server(around.tasks), Metrics(directory)
    translator = Translator(around, server, directory / envoy.LOG)

    async def begin() -> None:
        await server.start(directory / envoy.SOCKET)
        await translator.start(directory / envoy_waiting.SOCKET)
        address = await _own_address(around)
        is_running = bool(envoy.pid)
        metrics.is_asleep = not is_running and not translator.wanted.is_set()
        port = await metrics.start(address)
        await _announce(around, address, port, is_asleep=False if is_running else metrics.is_asleep or None)
        if not is_running:
            await translator.wanted.wait()
            metrics.is_asleep = False
        around.tasks.spawn(envoy.run(program), "envoy")
        around.tasks.spawn(envoy.keep_log_short(), "envoy's log")
        if not is_running:
            await _serving(server, envoy)
            await _announce(around, address)

    try:
        around.tasks.spawn(begin(), "begin")
        await around.tasks.wait()
    except asyncio.CancelledError:
        await asyncio.shield(_ended(around, envoy))
        raise
    finally:
        await metrics.stop()
        await translator.stop()
        await server.stop()


async def _serving(server: Server, envoy: Envoy) -> None:
    """Returns when Envoy has all that it is to have, or after a while if it runs: it may refuse something of it."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.settled(), WAKING_SECONDS)
            return
        if envoy.pid and server.was_asked:
            return


async def _ended(around: Around, envoy: Envoy) -> None:
    """Whoever keeps it running is told first: it is not to be started again."""
    await around.tasks.close()
    if not around.is_coming_back():
        await envoy.end()


class Translator:
    """Caches of all that matters, and the plan of traffic made anew after each change; who sleeps is woken for requests."""

    def __init__(self, around: Around, server: Server, envoy_log: Path) -> None:
        self._around = around
        self._teller = Teller(server, envoy_log, around.client, around.clock)
        self._server = server
        self._caches = {
            kind.resource: Cache(around.client, kind, clock=around.clock, tasks=around.tasks) for kind in build.READS
        }
        self._changed = asyncio.Event()
        self._plan = Plan()
        self._resources = envoy_resources.resources(self._plan)
        self._is_all_due = True
        self.wanted = asyncio.Event()
        """Set as soon as there is anything to serve."""
        self._sleepers = sleepers.Sleepers(around, self._changed.set)
        self._keeper = Doorkeeper(around.tasks, self._wake, self._taken)

    async def start(self, waiting: Path) -> None:
        """Returns when the first plan is published. Envoy may ask at the socket `waiting` who is awake."""
        await self._keeper.start(waiting)
        for name, cache in self._caches.items():
            cache.subscribe(self._noted_endpoints if name == ENDPOINTSLICE.resource else self._noted)
            cache.start()
        for cache in self._caches.values():
            await cache.wait_synced()
        await self._sleepers.start()
        self._publish()
        self._around.tasks.spawn(self._follow(), "translation")
        self._around.tasks.spawn(self._teller.follow(), "refusals")

    async def stop(self) -> None:
        """Requests that wait are not answered."""
        await self._keeper.stop()

    async def _wake(self, cluster: Cluster, waiting: int) -> None:
        sleeper = sleeping.of(View(self._caches), cluster, self._sleepers.found)
        if sleeper is not None:
            await sleepers.wake(self._around, sleeper, waiting)

    async def _taken(self, name: str) -> None:
        await self._server.wait_has(envoy_resources.ENDPOINTS, name)

    def _noted(self, change: str, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _said(old) != _said(new):
            self._is_all_due = True
            self._changed.set()

    def _noted_endpoints(self, change: str, old: Object | None, new: Object | None) -> None:
        """The most frequent change: routes and all the rest are not looked at again for it."""
        if old is None or new is None or _said(old) != _said(new):
            self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            await self._around.clock.sleep(BATCH_SECONDS)
            self._publish()

    def _publish(self) -> None:
        self._changed.clear()
        is_all_due, self._is_all_due = self._is_all_due, True
        view, sleepers = View(self._caches), self._sleepers.found
        try:
            plan = build.plan if is_all_due else build.with_endpoints
            made = plan(view, self._plan, sleepers)
            resources = envoy_resources.resources(made, (self._plan, self._resources))
            self._server.publish(resources)
        except Exception:  # what Envoy has is better than nothing
            log.exception("the traffic can't be planned; what was planned last stays")
            return
        self._plan, self._resources, self._is_all_due = made, resources, False
        if made.entrances:
            self.wanted.set()
        self._teller.heed(made, self._caches[kinds.GATEWAY.resource])
        self._keeper.heed(made)


class Metrics:
    """What Envoy counts, for Prometheus, on a port of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.is_asleep = False
        """Whether Envoy was not needed yet: there is nothing to tell then, which is no failure."""

    async def start(self, address: str) -> int:
        """The port."""
        app = web.Application()
        app.router.add_get("/metrics", self._text)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(envoy_process.reachable(self._directory / Envoy.ADMIN))
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.SockSite(self._runner, _listening(address))
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def stats(self) -> dict[str, Any]:
        """As Envoy tells them; nothing while it is asleep."""
        assert self._session is not None  # started
        if self.is_asleep:
            return {}
        async with self._session.get(f"http://envoy{route_stats.QUERY}") as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return found

    async def _text(self, request: web.Request) -> web.Response:
        try:
            stats = await self.stats()
        except aiohttp.ClientError as error:
            raise web.HTTPServiceUnavailable(text=f"Envoy does not answer: {error}") from error
        return web.Response(text=metrics_text.exposition(stats), headers={"Content-Type": metrics_text.CONTENT_TYPE})


def _said(obj: Object) -> tuple[Any, ...]:
    """What of an object the plan may hang on."""
    rest = {name: value for name, value in obj.items() if name not in ("metadata", "status")}
    return rest, objects.labels(obj), objects.annotations(obj), objects.is_deleting(obj)


def _listening(address: str) -> socket.socket:
    """A socket there, also where the address comes to this machine only later."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
    made.bind((address, 0))
    made.listen(16)
    made.setblocking(False)
    return made


async def _own_address(around: Around) -> str:
    """Where nodes reach us: as we were told, even where that comes to this machine only later, or as is found out."""
    if ipaddress.ip_address(around.address).is_loopback:
        return await own_address.find(around)
    return around.address


async def _announce(around: Around, address: str, metrics_port: int = 0, *, is_asleep: bool | None = False) -> None:
    """Says on our GatewayClass where the proxy is: controllers read it there.

    None, as it starts: what was said before stays, since load balancers' addresses would go and come again otherwise.
    """
    known = objects.annotations(await around.client.get(kinds.GATEWAYCLASS, kinds.CLASS))
    if is_asleep is None:
        is_asleep = proxy.ADDRESS not in known or proxy.ASLEEP in known
    said = {proxy.ADDRESS: address, proxy.ASLEEP: "true" if is_asleep else None}
    if metrics_port:
        said[proxy.METRICS_PORT] = str(metrics_port)
    if any(known.get(name) != value for name, value in said.items()):
        await around.client.patch(kinds.GATEWAYCLASS, ("", kinds.CLASS), {"metadata": {"annotations": said}})
