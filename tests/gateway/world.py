"""A world for the gateway: objects as a cluster would hold them, backends on loopback, and a real Envoy before them."""

import asyncio
import contextlib
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sampan.control.view import Snapshot, View
from sampan.gateway import build, envoy_resources, kinds, proxy
from sampan.gateway.traffic import Plan
from sampan.gateway.xds import Server
from sampan.kinds.kind import Object
from sampan.kit.frozen import freeze
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from tests.ports import gateway_port

SECONDS = 60.0
PROXY = "127.0.0.1"
Handler = Callable[[web.Request], Any]

BY_NAME = {kind.name: kind for kind in build.READS}


def complete(obj: Object) -> Object:
    """What every stored object has."""
    kind = BY_NAME[obj["kind"]]
    metadata = {"uid": f"{kind.name}-{obj['metadata']['name']}", "resourceVersion": "1", "generation": 1}
    metadata |= {"creationTimestamp": "2026-01-01T00:00:00Z", **obj["metadata"]}
    if kind.namespaced:
        metadata.setdefault("namespace", "default")
    return {"apiVersion": kind.api_version, **obj, "metadata": metadata}


def view(given: Iterable[Object], memory: Any = None) -> View:
    """A view of these objects alone."""
    listed = [freeze(complete(obj)) for obj in given]
    sources = {kind.resource: Snapshot([o for o in listed if o["kind"] == kind.name]) for kind in build.READS}
    return View(sources, memory=memory or {})


def gateway_class() -> Object:
    return {
        "kind": "GatewayClass",
        "metadata": {"name": "sampan", "annotations": {proxy.ADDRESS: PROXY}},
        "spec": {"controllerName": kinds.CONTROLLER_NAME},
    }


def ingress_class() -> Object:
    return {"kind": "IngressClass", "metadata": {"name": "sampan"}, "spec": {"controller": kinds.INGRESS_CONTROLLER}}


def listener(name: str = "web", port: int = 80, protocol: str = "HTTP", **more: Any) -> Object:
    return {"name": name, "port": port, "protocol": protocol, **more}


def gateway(*listeners: Object, name: str = "main", **more: Any) -> Object:
    return {
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"gatewayClassName": "sampan", "listeners": list(listeners or (listener(),)), **more},
    }


def service_before(gateway: Object, **ports: int) -> Object:
    """The Service that the controller makes before a Gateway: p80=12345 is Envoy's port for 80."""
    made = complete(gateway)
    owned = {"ownerReferences": [objects.owner_reference(made)]}
    mapped = {int(name[1:]): port for name, port in ports.items()}
    return proxy.service(proxy.service_key(made), mapped, owned, type="LoadBalancer")


def route(*rules: Object, name: str = "web", kind: str = "HTTPRoute", parents: Any = None, **spec: Any) -> Object:
    return {
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"parentRefs": parents or [{"name": "main"}], "rules": list(rules), **spec},
    }


def to(service: str, **more: Any) -> Object:
    """A backendRef."""
    return {"name": service, "port": 80, **more}


def path(value: str, type: str = "PathPrefix") -> Object:
    """A match."""
    return {"path": {"type": type, "value": value}}


def service(name: str, **port: Any) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", **port}]
    return {"kind": "Service", "metadata": {"name": name}, "spec": {"type": "ClusterIP", "ports": ports}}


def slice_of(name: str, *addresses: tuple[str, int], **conditions: bool) -> Object:
    """An EndpointSlice: all addresses have the port of the first."""
    said = {"ready": True, **conditions}
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": said} for address, _ in addresses],
        "ports": [{"name": "http", "port": addresses[0][1] if addresses else 80, "protocol": "TCP"}],
    }


async def until(is_so: Callable[[], bool]) -> None:
    """For what nobody tells."""
    async with asyncio.timeout(SECONDS):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@dataclass
class World:
    """`publish` gives Envoy what these objects mean, and returns when it has it."""

    server: Server
    session: aiohttp.ClientSession
    ports: dict[int, int] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    _runners: list[web.AppRunner] = field(default_factory=list)
    _tallies: list["Tally"] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _addresses: Any = field(default_factory=lambda: itertools.count(2))

    async def publish(self, *given: Object) -> None:
        self.offer(*given)
        async with asyncio.timeout(SECONDS):
            await self.server.settled()

    def offer(self, *given: Object) -> None:
        """The same without waiting. A Service stands before each Gateway among them."""
        gateways = [o for o in given if o["kind"] == "Gateway"]
        before = [
            service_before(g, **{f"p{entry['port']}": self.port(entry["port"]) for entry in g["spec"]["listeners"]})
            for g in gateways
        ]
        self.plan = build.plan(view([gateway_class(), *given, *before]))
        self.server.publish(envoy_resources.resources(self.plan))

    def port(self, public: int) -> int:
        """Envoy's port for one of a Gateway."""
        return self.ports.setdefault(public, gateway_port())

    async def backend(self, handler: Handler | None = None, name: str = "") -> tuple[str, int]:
        """A server; without a handler it answers with its name and what it was asked."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler or _echo(name))
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        address = f"127.0.0.{next(self._addresses)}"
        site = web.TCPSite(runner, address, 0)
        await site.start()
        return address, int(runner.addresses[0][1])

    async def serving(self, name: str, handler: Handler | None = None, **port: Any) -> list[Object]:
        """A Service with one endpoint that is such a backend."""
        return [service(name, **port), slice_of(name, await self.backend(handler, name))]

    async def tally(self, name: str) -> tuple["Tally", list[Object]]:
        """A Service whose one endpoint counts requests, and does so quickly."""
        tally = Tally()
        self._tallies.append(tally)
        address = f"127.0.0.{next(self._addresses)}"
        listening = await asyncio.get_running_loop().create_server(lambda: _Counting(tally), address, 0)
        self._servers.append(listening)
        port = listening.sockets[0].getsockname()[1]
        return tally, [service(name), slice_of(name, (address, port))]

    async def many(self, count: int, connections: int = 8) -> None:
        """So many requests for /, over a few connections; each must be answered 200."""

        loop = asyncio.get_running_loop()
        asking = [_Asking(count // connections, loop.create_future()) for _ in range(connections)]
        for protocol in asking:
            await loop.create_connection(lambda protocol=protocol: protocol, PROXY, self.port(80))
        async with asyncio.timeout(SECONDS * 2):
            answers = [answer for protocol in asking for answer in await protocol.done]
        assert set(answers) == {b"HTTP/1.1 200 OK"}

    def url(self, path: str = "/", port: int = 80) -> str:
        return f"http://{PROXY}:{self.port(port)}{path}"

    async def get(self, path: str = "/", host: str = "", method: str = "GET", **headers: str) -> tuple[int, Any]:
        """Status and answer, of an echo as a tree."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Host": host} if host else {})
        async with self.session.request(method, self.url(path), headers=sent, allow_redirects=False) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else await answer.text()

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        for listening in self._servers:
            listening.close()
        for tally in self._tallies:
            for transport in tally.transports:
                transport.abort()
        await asyncio.sleep(0)


class Tally:
    """How many requests came, over which connections."""

    def __init__(self) -> None:
        self.count = 0
        self.transports: list[asyncio.Transport] = []


class _Counting(asyncio.Protocol):
    """Answers each request with nothing."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._tally.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._tally.count += len(whole)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * len(whole))


class _Asking(asyncio.Protocol):
    """Asks again as soon as it is answered; `done` gets the first line of each answer."""

    def __init__(self, count: int, done: "asyncio.Future[list[bytes]]") -> None:
        self.done = done
        self._left = count
        self._rest = b""
        self._lines: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in whole:
            self._lines.append(head.partition(b"\r\n")[0])
            self._ask()

    def _ask(self) -> None:
        if self._left:
            self._left -= 1
            self._transport.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        else:
            self._transport.close()
            self.done.set_result(self._lines)


def _echo(name: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        said = {"by": name, "path": request.raw_path, "method": request.method, "headers": dict(request.headers)}
        return web.json_response(said)

    return answer


async def stop(server: Server) -> None:
    """Every question at it ends.

    One that was accepted as the server ended is known to nobody, and closed by the collector alone. Until then an Envoy
    would wait for its answer, for an hour, and not ask the next world's server.
    """
    await server.stop()
    gc.collect()


@contextlib.asynccontextmanager
async def of(socket_path: Path) -> AsyncIterator[World]:
    """A world whose xDS server is on that socket."""
    tasks = Tasks("world")
    server = Server(tasks)
    await server.start(socket_path)
    async with aiohttp.ClientSession() as session:
        world = World(server, session)
        try:
            yield world
        finally:
            await world.close()
            await stop(server)
            await tasks.close()
