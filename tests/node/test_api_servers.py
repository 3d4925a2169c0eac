"""An agent and the API servers: it leaves one that is of no use, comes back, and knows them all when it starts."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.kit.clock import Clock, SystemClock
from sampan.node.api_servers import FILE, RETURN_AFTER, ApiServers, Start
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.message import Request
from tests.client.test_servers import slice

PATIENT_SECONDS, HASTY_SECONDS = 80.0, 2.0
"""Leases: so long that nobody is taken for dead who is only slow, and so short that the test is."""


class Later(SystemClock):
    """The machine's, and so much later as the test says."""

    passed = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.passed


class Server:
    """One that is ready, "hangs", is "unready" or "gone"."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.is_now = "gone"
        self._runner: web.AppRunner | None = None
        self.at_work: list[str] = []
        """The paths that are being asked for."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def start(self, tls: ssl.SSLContext) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls, reuse_address=True).start()
        self.port, self.is_now = self._runner.addresses[0][1], "ready"

    async def stop(self) -> None:
        self.is_now = "gone"
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.at_work.append(request.path)
        try:
            while self.is_now == "hangs" or (request.path == "/slow" and self.is_now == "ready"):
                await asyncio.sleep(0.01)
        finally:
            self.at_work.remove(request.path)
        return web.Response(status=500 if self.is_now == "unready" else 200, text=str(self.port))


class World:
    """Two servers and an agent's way to them."""

    def __init__(self, folder: Path) -> None:
        authority = certificates.new_authority("ca", time.time())
        pair = certificates.issue(authority, Subject("api", hosts=("127.0.0.1", "kubernetes")), time.time())
        pair.save(folder, "api")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "api.crt", folder / "api.key")
        self.authority = authority.certificate.decode()
        self.folder = folder
        self.home, self.other = Server(), Server()

    def agent(
        self, lease_seconds: float = PATIENT_SECONDS, clock: Clock | None = None
    ) -> tuple[ApiServers, HttpTransport]:
        transport = HttpTransport(Access(self.home.url, ca=self.authority))
        start = Start("n", self.home.url, "10.244.0.1", self.folder)
        return ApiServers(start, transport, clock or SystemClock(), lease_seconds), transport

    async def tell(self, agent: ApiServers, *servers: Server) -> None:
        """What the API says about itself."""
        for server in servers:
            agent.changed("endpointslices", None, slice(f"kubernetes-{server.port}", ["10.244.0.1"], server.port))
        await agent.apply({})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    for server in (made.home, made.other):
        await server.start(made.tls)
    yield made
    for server in (made.home, made.other):
        await server.stop()


async def asked(transport: HttpTransport, path: str = "/") -> str:
    answer = await transport.request(Request("GET", path))
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


@pytest.mark.parametrize("fault", ["gone", "unready"])
async def test_one_that_is_of_no_use(world: World, fault: str) -> None:
    """Is left for one that is ready, and come back to once it has been ready for a while."""
    clock = Later()
    agent, transport = world.agent(clock=clock)
    await world.tell(agent, world.home, world.other)
    await agent.look()
    assert agent.current == world.home.url
    await world.home.stop() if fault == "gone" else setattr(world.home, "is_now", fault)
    await agent.look()
    assert await asked(transport) == str(world.other.port)
    await agent.look()
    assert agent.current == world.other.url
    if fault == "gone":
        await world.home.start(world.tls)
    world.home.is_now = "ready"
    for _ in range(RETURN_AFTER):
        await agent.look()
        assert agent.current == world.other.url
        clock.passed += 10.0
    await agent.look()
    assert await asked(transport) == str(world.home.port)
    await transport.close()


@pytest.mark.slow
async def test_one_that_hangs(world: World) -> None:
    """What is under way on it ends at once when it is left, to be asked again elsewhere."""
    agent, transport = world.agent(HASTY_SECONDS)
    await world.tell(agent, world.home, world.other)
    world.home.is_now = "hangs"
    waiting = asyncio.ensure_future(asked(transport))
    async with asyncio.timeout(60):
        while agent.current != world.other.url:
            await agent.look()
        with pytest.raises(TransportError):
            await waiting
    assert await asked(transport) == str(world.other.port)
    await transport.close()


async def test_streams_on_all_its_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say nothing about the server: it is asked on another one."""
    monkeypatch.setattr("sampan.client.http.CONNECTIONS", 2)
    agent, transport = world.agent()
    await world.tell(agent, world.home, world.other)
    streams = [asyncio.ensure_future(asked(transport, "/slow")) for _ in range(2)]
    async with asyncio.timeout(60):
        while len(world.home.at_work) < 2:
            await asyncio.sleep(0.01)
    await agent.look()
    assert agent.current == world.home.url
    assert not any(stream.done() for stream in streams)
    for stream in streams:
        stream.cancel()
    await transport.close()


async def test_others_are_asked_side_by_side(world: World) -> None:
    """Some that hang do not keep it from one that is ready."""
    third = Server()
    await third.start(world.tls)
    agent, transport = world.agent()
    await world.tell(agent, world.home, world.other, third)
    await world.home.stop()
    world.other.is_now = third.is_now = "hangs"
    looking = asyncio.ensure_future(agent.look())
    async with asyncio.timeout(60):
        while not (world.other.at_work and third.at_work):
            assert not looking.done()
            await asyncio.sleep(0.01)
        world.other.is_now = third.is_now = "ready"
        await looking
    assert agent.current in (world.other.url, third.url)
    await transport.close()
    await third.stop()


async def test_one_server_by_two_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked on time again and again, as it is where there are two; when it fails, its other name is tried."""
    looks: list[ApiServers] = []

    async def look(agent: ApiServers) -> None:
        looks.append(agent)

    one, way = world.agent(HASTY_SECONDS / 100)
    two, other_way = world.agent(HASTY_SECONDS / 100)
    for agent, servers in ((one, [world.other]), (two, [world.home, world.other])):
        agent._start = replace(agent._start, own_address="")
        await world.tell(agent, *servers)
    monkeypatch.setattr(ApiServers, "look", look)
    running = [asyncio.ensure_future(agent.run()) for agent in (one, two)]
    async with asyncio.timeout(60):
        while looks.count(two) < 20:
            await asyncio.sleep(0.01)
        assert looks.count(one) <= 1
        way.on_failure()
        while looks.count(one) < 2:
            await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    await way.close()
    await other_way.close()


async def test_where_none_is_ready(world: World) -> None:
    """It stays where it is."""
    agent, transport = world.agent()
    await world.tell(agent, world.home, world.other)
    world.home.is_now = world.other.is_now = "unready"
    await agent.look()
    assert agent.current == world.home.url
    await transport.close()


async def test_a_failure_makes_it_look_at_once(world: World) -> None:
    """Nobody waits for the next time that it would have looked: this one is far off."""
    agent, transport = world.agent()
    await world.tell(agent, world.home, world.other)
    running = asyncio.ensure_future(agent.run())
    await world.home.stop()
    async with asyncio.timeout(60):
        while True:
            try:
                assert await asked(transport) == str(world.other.port)
                break
            except TransportError:
                await asyncio.sleep(0.01)
    running.cancel()
    await transport.close()


async def test_one_that_is_listed_no_more(world: World) -> None:
    """The one in use is left when it dies, though by then only the other one is known."""
    agent, transport = world.agent()
    await world.tell(agent, world.home, world.other)
    world.home.is_now = "unready"
    await agent.look()
    world.home.is_now = "ready"
    gone: Any = slice(f"kubernetes-{world.other.port}", ["10.244.0.1"], world.other.port)
    agent.changed("endpointslices", gone, None)
    await agent.apply({})
    running = asyncio.ensure_future(agent.run())
    await world.other.stop()
    async with asyncio.timeout(60):
        while agent.current != world.home.url:
            with contextlib.suppress(TransportError):
                await asked(transport)
            await asyncio.sleep(0.01)
    running.cancel()
    await transport.close()


async def test_what_is_under_way_when_it_comes_back(world: World) -> None:
    """Has its answer; nothing breaks because a server got well."""
    clock = Later()
    agent, transport = world.agent(clock=clock)
    await world.tell(agent, world.home, world.other)
    world.home.is_now = "unready"
    await agent.look()
    waiting = asyncio.ensure_future(asked(transport, "/slow"))
    world.home.is_now = "ready"
    while agent.current != world.home.url:
        await agent.look()
        clock.passed += 10.0
    world.other.is_now = "unready"  # which lets the slow one go
    assert await waiting == str(world.other.port)
    await transport.close()


async def test_it_starts_with_what_it_knew(world: World) -> None:
    """A later agent finds a server though its own is gone; a file that is no list counts for nothing."""
    agent, transport = world.agent()
    await world.tell(agent, world.home, world.other)
    await transport.close()
    assert sorted(json.loads((world.folder / FILE).read_text())) == sorted([world.home.url, world.other.url])
    await world.home.stop()
    agent, transport = world.agent()
    await agent.look()
    assert await asked(transport) == str(world.other.port)
    await transport.close()
    for rubbish in (
        "",
        "{",
        "7",
        '[7, "http://x", null]',
        '["https://[bad", "https://x:99999999"]',
        '{"https://x": 1}',
    ):
        (world.folder / FILE).write_text(rubbish)
        assert world.agent()[0].known == (world.home.url,)


async def test_others_are_told_which_there_are(world: World) -> None:
    """As soon as it knows, though it knew before; each time that it changes; and again where they could not take it."""
    told: list[set[str]] = []

    def tell(servers: Sequence[str]) -> None:
        told.append(set(servers))
        assert set(agent.known) - {world.home.url} == set(servers) - {world.home.url}  # it uses them before others do
        if len(told) == 2:
            raise OSError("just now")

    both = {world.home.url, world.other.url}
    (world.folder / FILE).write_text(json.dumps(sorted(both)))
    agent, transport = world.agent()
    agent._start = replace(agent._start, tell=tell)
    await world.tell(agent, world.home, world.other)
    await agent.apply({})
    assert told == [both]
    gone: Any = slice(f"kubernetes-{world.other.port}", ["10.244.0.1"], world.other.port)
    agent.changed("endpointslices", gone, None)
    await agent.apply({})
    await agent.apply({})
    assert told[1:] == [{world.home.url}, {world.home.url}]
    assert json.loads((world.folder / FILE).read_text()) == [world.home.url]
    await transport.close()


async def test_with_one_server_nothing_is_done(world: World) -> None:
    """No file is written and nobody is asked; one that leaves later is forgotten, the own one never."""
    agent, transport = world.agent()
    await world.tell(agent, world.home)
    assert agent.known == (world.home.url,)
    assert not (world.folder / FILE).exists()
    await world.tell(agent, world.other)
    assert len(agent.known) == 2
    gone: Any = slice(f"kubernetes-{world.other.port}", ["10.244.0.1"], world.other.port)
    agent.changed("endpointslices", gone, None)
    await agent.apply({})
    assert agent.known == (world.home.url,)
    assert json.loads((world.folder / FILE).read_text()) == [world.home.url]
    await transport.close()
