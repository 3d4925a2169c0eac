"""Requests for a Service at zero replicas: held in Envoy until a pod is ready, within bounds, and none lost."""

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sampan.gateway import build, envoy_process, envoy_resources, envoy_waiting, route_stats, service
from sampan.gateway.doorkeeper import Doorkeeper, Limits
from sampan.gateway.sleeping import Sleeper
from sampan.gateway.traffic import Cluster
from sampan.kinds.kind import Object
from sampan.kit.tasks import Tasks
from tests.gateway import world
from tests.gateway.world import World, gateway, gateway_class, path, route, service_before, slice_of, to
from tests.ports import free_port

LABELS = {"app": "web"}
HPA: Object = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 0},
}


def selecting(name: str = "web", **port: Any) -> Object:
    """A Service for the sleeper's pods."""
    made = world.service(name, **port)
    return {**made, "spec": {**made["spec"], "selector": LABELS}}


@dataclass
class Asleep:
    """A world with an autoscaler that may take Service `web` to zero. `woken` has how many waited at each call."""

    world: World
    keeper: Doorkeeper
    woken: list[int] = field(default_factory=list)
    routes: tuple[Object, ...] = (route({"backendRefs": [to("web")]}),)
    is_heeding: bool = True

    def offer(self, *given: Object) -> None:
        """These objects, beside the gateway and its routes, without waiting."""
        self.world.port(80)
        before = service_before(gateway(), p80=self.world.port(80))
        found = world.view([gateway_class(), gateway(), before, *self.routes, *given])
        plan = build.plan(found, None, [Sleeper(HPA, LABELS)])
        self.world.server.publish(envoy_resources.resources(plan))
        if self.is_heeding:
            self.keeper.heed(plan)

    async def publish(self, *given: Object) -> None:
        self.offer(*given)
        async with asyncio.timeout(world.SECONDS):
            await self.world.server.settled()

    async def until_waiting(self, count: int) -> None:
        await world.until(lambda: sum(self.keeper.waiting.values()) == count)


@contextlib.asynccontextmanager
async def asleep(made: World, directory: Path, limits: Limits | None = None) -> AsyncIterator[Asleep]:
    tasks = Tasks("asleep")
    woken: list[int] = []

    async def wake(cluster: Cluster, waiting: int) -> None:
        assert cluster.service == "web"
        woken.append(waiting)

    async def taken(name: str) -> None:
        await made.server.wait_has(envoy_resources.ENDPOINTS, name)

    keeper = Doorkeeper(tasks, wake, taken, limits)
    await keeper.start(directory / envoy_waiting.SOCKET)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as made.session:
        try:
            yield Asleep(made, keeper, woken)
        finally:
            await keeper.stop()
            await tasks.close()


@pytest.fixture
async def sleeping(made: World, envoy_directory: Path) -> AsyncIterator[Asleep]:
    async with asleep(made, envoy_directory) as found:
        yield found


@pytest.mark.slow
async def test_hundreds_wait_and_all_are_answered(sleeping: Asleep) -> None:
    """Whatever they ask; the workload is woken; nobody is answered before somebody is ready."""
    await sleeping.publish(selecting())
    asking = [asyncio.ensure_future(sleeping.world.get(f"/{n}", method="POST", x_number=str(n))) for n in range(300)]
    await sleeping.until_waiting(300)
    await world.until(lambda: bool(sleeping.woken))
    assert not any(each.done() for each in asking)
    await sleeping.publish(selecting(), slice_of("web", await sleeping.world.backend(name="web")))
    answers = await asyncio.gather(*asking)
    assert {code for code, _ in answers} == {200}
    assert [(said["path"], said["method"]) for _, said in answers] == [(f"/{n}", "POST") for n in range(300)]
    assert [said["headers"]["x-number"] for _, said in answers] == [str(n) for n in range(300)]
    assert envoy_waiting.OUTCOME not in {name.lower() for name in answers[0][1]["headers"]}
    assert not sleeping.keeper.waiting


async def test_whoever_comes_while_we_are_busy_is_heard(made: World, envoy_directory: Path) -> None:
    """Hundreds may connect before the first of them is looked at: to who can't Envoy says 503."""
    async with asleep(made, envoy_directory):
        with contextlib.ExitStack() as held:
            for _ in range(300):
                asking = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                asking.connect(envoy_process.reachable(envoy_directory / envoy_waiting.SOCKET))


async def test_who_is_awake_is_asked_directly(sleeping: Asleep) -> None:
    """Nobody asks the doorkeeper then."""
    backend = await sleeping.world.backend(name="web")
    await sleeping.publish(selecting(), slice_of("web", backend))
    await sleeping.keeper.stop()
    assert {(await sleeping.world.get("/"))[0] for _ in range(20)} == {200}


async def test_a_body_a_weight_and_a_rewrite_are_as_elsewhere(sleeping: Asleep) -> None:
    """A body larger than any buffer arrives whole, at the path that the rule says."""
    edits = [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}}]
    backends = [to("web", weight=1), to("none", weight=0)]
    sleeping.routes = (route({"matches": [path("/a")], "filters": edits, "backendRefs": backends}),)

    async def measure(request: web.Request) -> web.Response:
        size = sum([len(part) async for part in request.content.iter_any()])
        return web.json_response({"size": size, "path": request.path})

    await sleeping.publish(selecting())
    body = b"x" * (8 << 20)
    asking = asyncio.ensure_future(sleeping.world.session.post(sleeping.world.url("/a/c"), data=io.BytesIO(body)))
    await sleeping.until_waiting(1)
    await sleeping.publish(selecting(), slice_of("web", await sleeping.world.backend(measure)))
    async with await asking as answer:
        assert await answer.json() == {"size": len(body), "path": "/b/c"}


async def test_a_request_that_waited_is_what_it_was(sleeping: Asleep) -> None:
    """The pod sees the same headers as of one that came to it directly."""
    await sleeping.publish(selecting())
    asking = asyncio.ensure_future(sleeping.world.get("/a?b=c", host="shop.example", Authorization="x"))
    await sleeping.until_waiting(1)
    await sleeping.publish(selecting(), slice_of("web", await sleeping.world.backend(name="web")))
    held, direct = (await asking)[1], (await sleeping.world.get("/a?b=c", host="shop.example", Authorization="x"))[1]
    for said in (held, direct):
        del said["headers"]["X-Request-ID"]
    assert held == direct


async def test_a_websocket_waits(sleeping: Asleep) -> None:
    """It is opened when there is somebody to open it to."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        link = web.WebSocketResponse()
        await link.prepare(request)
        async for message in link:
            await link.send_str(f"{message.data}!")
        return link

    await sleeping.publish(selecting())
    opening = asyncio.ensure_future(sleeping.world.session.ws_connect(sleeping.world.url("/")))
    await sleeping.until_waiting(1)
    await sleeping.publish(selecting(), slice_of("web", await sleeping.world.backend(talk)))
    async with await opening as link:
        await link.send_str("hello")
        assert await link.receive_str(timeout=world.SECONDS) == "hello!"


async def test_who_goes_away_is_forgotten(sleeping: Asleep) -> None:
    """As soon as the connection is closed; then nobody is woken for it any more."""
    await sleeping.publish(selecting())
    asking = asyncio.ensure_future(sleeping.world.get("/"))
    await sleeping.until_waiting(1)
    asking.cancel()
    await sleeping.until_waiting(0)


async def test_no_more_wait_than_may(made: World, envoy_directory: Path) -> None:
    """The others are told so at once."""
    async with asleep(made, envoy_directory, Limits(per_service=2)) as sleeping:
        await sleeping.publish(selecting())
        asking = [asyncio.ensure_future(made.get("/")) for _ in range(2)]
        await sleeping.until_waiting(2)
        code, text = await made.get("/")
        assert (code, text) == (503, "too many requests wait for Service default/web already\n")
        await sleeping.publish(selecting(), slice_of("web", await made.backend(name="web")))
        assert {code for code, _ in await asyncio.gather(*asking)} == {200}


async def test_one_namespace_does_not_take_all_places(made: World, envoy_directory: Path) -> None:
    """Its other Services' requests count too; those of other namespaces have places of their own."""
    async with asleep(made, envoy_directory, Limits(per_namespace=2)) as sleeping:
        backends = [{"backendRefs": [to(name)], "matches": [path(f"/{name}")]} for name in ("web", "shop")]
        sleeping.routes = (route(*backends),)
        await sleeping.publish(selecting(), selecting("shop"))
        asking = [asyncio.ensure_future(made.get("/web")) for _ in range(2)]
        await sleeping.until_waiting(2)
        assert await made.get("/shop") == (503, "too many requests wait for Service default/shop already\n")
        assert not sleeping.keeper.is_full("other:web:80")
        for each in asking:
            each.cancel()
        await sleeping.until_waiting(0)


async def test_before_the_first_plan_requests_wait(sleeping: Asleep) -> None:
    """An Envoy that outlived the last control plane asks while the next one begins; who sleeps is woken then."""
    sleeping.is_heeding = False
    await sleeping.publish(selecting())
    asking = asyncio.ensure_future(sleeping.world.get("/"))
    await sleeping.until_waiting(1)
    assert not sleeping.woken
    sleeping.is_heeding = True
    await sleeping.publish(selecting())
    await world.until(lambda: bool(sleeping.woken))
    await sleeping.publish(selecting(), slice_of("web", await sleeping.world.backend(name="web")))
    assert (await asking)[0] == 200


async def test_without_a_plan_nobody_waits_for_ever(made: World, envoy_directory: Path) -> None:
    """The caches may take long."""
    async with asleep(made, envoy_directory, Limits(seconds=0.2)) as sleeping:
        sleeping.is_heeding = False
        await sleeping.publish(selecting())
        assert (await made.get("/"))[0] == 504


async def test_http2_takes_little_that_waits(sleeping: Asleep) -> None:
    """What a client may send before anybody reads it: Envoy's own windows are of 16 MiB and more."""
    await sleeping.publish(selecting())
    reader, writer = await asyncio.open_connection(world.PROXY, sleeping.world.port(80))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    windows: dict[str, int] = {}
    while len(windows) < 2:
        head = await asyncio.wait_for(reader.readexactly(9), world.SECONDS)
        body = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] == 4 and body:  # SETTINGS
            said = {body[at + 1]: int.from_bytes(body[at + 2 : at + 6], "big") for at in range(0, len(body), 6)}
            windows["stream"] = said[4]
        elif head[3] == 8:  # WINDOW_UPDATE
            windows["connection"] = 65535 + int.from_bytes(body, "big")
    writer.close()
    assert windows == {"stream": 256 << 10, "connection": 1 << 20}


def test_buffers_are_small() -> None:
    """Of each listener and cluster: it is what a request that waits costs."""
    given = [gateway_class(), gateway(), service_before(gateway(), p80=18600), selecting()]
    plan = build.plan(world.view([*given, route({"backendRefs": [to("web")]})]), None, [Sleeper(HPA, LABELS)])
    made = envoy_resources.resources(plan)
    parts = [*made[envoy_resources.LISTENERS].values(), *made[envoy_resources.CLUSTERS].values()]
    assert len(parts) == 5
    assert {part["per_connection_buffer_limit_bytes"] <= 256 << 10 for part in parts} == {True}


async def test_nobody_waits_for_ever(made: World, envoy_directory: Path) -> None:
    """A workload that does not come: it is woken again and again, and then the client is told."""
    async with asleep(made, envoy_directory, Limits(seconds=0.2)) as sleeping:
        await sleeping.publish(selecting())
        code, text = await made.get("/")
        assert (code, text) == (504, "Service default/web was at zero replicas and did not become ready in time\n")
        assert sleeping.woken == [1]


async def test_a_routes_own_timeout_holds(sleeping: Asleep) -> None:
    """It covers the time of waiting."""
    sleeping.routes = (route({"backendRefs": [to("web")], "timeouts": {"request": "200ms"}}),)
    await sleeping.publish(selecting())
    assert (await sleeping.world.get("/"))[0] == 504
    await sleeping.until_waiting(0)


async def test_nobody_at_the_door_is_an_answer(sleeping: Asleep) -> None:
    """While we are not there, who sleeps can't be woken."""
    await sleeping.publish(selecting())
    await sleeping.keeper.stop()
    assert (await sleeping.world.get("/"))[0] == 503


async def _saying(text: str) -> web.AppRunner:
    """A server that does not listen yet."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text, headers={"Connection": "close"})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    return runner


async def test_a_pod_that_goes_loses_no_request(sleeping: Asleep) -> None:
    """Its server is closed before Envoy hears of it: who is refused there waits for the next one, as others do."""
    runner = await _saying("first")
    await web.TCPSite(runner, "127.0.8.1", 0).start()
    first = slice_of("web", ("127.0.8.1", runner.addresses[0][1]))
    await sleeping.publish(selecting(), first)
    assert await sleeping.world.get("/") == (200, "first")
    await runner.cleanup()
    asking = [asyncio.ensure_future(sleeping.world.get("/")) for _ in range(20)]
    await sleeping.until_waiting(20)
    await sleeping.publish(selecting())
    await world.until(lambda: bool(sleeping.woken))
    assert not any(each.done() for each in asking)
    await sleeping.publish(selecting(), slice_of("web", await sleeping.world.backend(name="next")))
    assert {(code, said["by"]) for code, said in await asyncio.gather(*asking)} == {(200, "next")}


async def test_a_pod_that_listens_late_loses_no_request(sleeping: Asleep) -> None:
    """Without a probe it is ready when its process has begun: it is tried again until it takes connections."""
    await sleeping.publish(selecting())
    asking = asyncio.ensure_future(sleeping.world.get("/"))
    await sleeping.until_waiting(1)
    runner = await _saying("late")
    port = free_port()
    await sleeping.publish(selecting(), slice_of("web", ("127.0.8.2", port)))
    await sleeping.until_waiting(0)
    await web.TCPSite(runner, "127.0.8.2", port).start()
    assert await asking == (200, "late")
    await runner.cleanup()


async def test_an_ending_pod_is_no_reason_not_to_wake(sleeping: Asleep) -> None:
    """Others' last pods serve while they end; here the next request waits for a new one."""
    last = slice_of("web", await sleeping.world.backend(name="last"), ready=False, serving=True, terminating=True)
    await sleeping.publish(selecting(), last)
    asking = asyncio.ensure_future(sleeping.world.get("/"))
    await sleeping.until_waiting(1)
    asking.cancel()


async def test_who_waits_is_counted(sleeping: Asleep, envoy_directory: Path) -> None:
    """As a request of the Service that is under way; then as one that was answered, once."""
    await sleeping.publish(selecting("web", port=8081))
    sleeping.routes = (route({"backendRefs": [to("web", port=8081)]}),)
    await sleeping.publish(selecting("web", port=8081))
    metrics = service.Metrics(envoy_directory)
    await metrics.start("127.0.0.1")
    try:
        before = route_stats.backends(await metrics.stats())["default", "web"]
        asking = [asyncio.ensure_future(sleeping.world.get("/")) for _ in range(3)]
        await sleeping.until_waiting(3)
        held = route_stats.backends(await metrics.stats())["default", "web"]
        assert (held.active - before.active, held.requests - before.requests) == (3, 3)
        await sleeping.publish(selecting("web", port=8081), slice_of("web", await sleeping.world.backend(name="web")))
        await asyncio.gather(*asking)
        after = route_stats.backends(await metrics.stats())["default", "web"]
        assert (after.active - before.active, after.requests - before.requests) == (0, 3)
        assert after.by_class[2] - before.by_class[2] == 3
    finally:
        await metrics.stop()


async def test_a_service_of_other_pods_has_no_room(sleeping: Asleep) -> None:
    """It is told 503 at once, as without any autoscaler."""
    other = selecting()
    other["spec"]["selector"] = {"app": "other"}
    await sleeping.publish(other)
    assert (await sleeping.world.get("/"))[0] == 503
