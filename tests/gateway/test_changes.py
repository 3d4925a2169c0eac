"""Changes while requests go on: none is lost. And what Envoy counts meanwhile."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sampan.client.api import Client, Key
from sampan.gateway import metrics_text, refusal_teller, refusals, route_stats
from sampan.gateway.envoy_process import Envoy
from sampan.kinds.kind import Kind
from sampan.kit.clock import SystemClock
from tests.gateway import world
from tests.gateway.world import World, gateway, listener, path, route, slice_of, to
from tests.ports import gateway_port


async def test_changes_lose_no_request(made: World) -> None:
    """Weights, new and removed Services, endpoints that come and go, rules and listeners, under a client that never waits."""
    one, two = await made.serving("one"), await made.serving("two")
    more = await made.backend(name="more")
    both = route({"backendRefs": [to("one", weight=1), to("two", weight=1)]})
    found: list[int] = []
    is_over = asyncio.Event()

    async def ask() -> None:
        while not is_over.is_set():
            found.append((await made.get("/"))[0])

    await made.publish(gateway(), route({"backendRefs": [to("one")]}), *one)
    asking = [asyncio.ensure_future(ask()) for _ in range(4)]
    try:
        for weights in ((100, 0), (90, 10), (50, 50), (0, 100)):
            backends = [to(name, weight=weight) for name, weight in zip(("one", "two"), weights, strict=True)]
            await made.publish(gateway(), route({"backendRefs": backends}), *one, *two)
        await made.publish(gateway(), route({"backendRefs": [to("two")]}), *two)
        await made.publish(gateway(), route({"backendRefs": [to("two")]}), two[0], slice_of("two", more))
        await made.publish(gateway(), both, *one, *two)
        await made.publish(gateway(), both, route({"matches": [path("/x")]}, name="x"), *one, *two)
        await made.publish(gateway(), gateway(listener(port=81), name="second"), both, *one, *two)
        await made.publish(gateway(), both, *one, *two)
    finally:
        is_over.set()
        await asyncio.gather(*asking)
    assert set(found) == {200}
    assert len(found) > 100


async def test_endpoints_come_and_go(made: World) -> None:
    """None, not ready, ready, gone: as the slices say."""
    service, ready = await made.serving("a")
    unready = {**ready, "endpoints": [{**ready["endpoints"][0], "conditions": {"ready": False}}]}
    rest = [gateway(), route({"backendRefs": [to("a")]}), service]
    found = []
    for slices in ([], [unready], [ready], [unready], [ready], []):
        await made.publish(*rest, *slices)
        found.append((await made.get("/"))[0])
    assert found == [503, 503, 200, 503, 200, 503]


class FakeClient(Client):
    """Remembers what is patched."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, Any]] = []

    async def patch(self, kind: Kind, key: Key, change: Any, *_: Any, **__: Any) -> Any:
        self.told.append((key, change["metadata"]["annotations"]))


async def test_what_envoy_refuses_stops_nothing_else(made: World, envoy_directory: Path) -> None:
    """A port that is taken: its Gateway says why; the listeners before stay, and the next change comes through."""
    client = FakeClient()
    teller = refusal_teller.Teller(made.server, envoy_directory / Envoy.LOG, client, SystemClock())
    backends = await made.serving("a")
    good = [gateway(), route({"backendRefs": [to("a")]}), *backends]
    await made.publish(*good)
    with socket.socket() as taken:
        made.ports[81] = gateway_port()
        taken.bind(("127.0.0.1", made.ports[81]))
        taken.listen()
        both = [gateway(listener(port=81), name="second"), *good]
        made.offer(*both)
        await world.until(lambda: bool(made.server.refused))
        seen = [world.complete(obj) for obj in both if obj["kind"] == "Gateway"]
        teller.heed(made.plan, seen)
        await teller.tell()
        (((_, name), said),) = client.told
        why = json.loads(said[refusals.ANNOTATION])
        assert (name, [*why], "Address already in use" in why["81"]) == ("second", ["81"], True)
        await made.publish(*good, route({"backendRefs": [to("missing")]}, name="x", hostnames=["x.example"]))
    await world.until(lambda: not made.server.refused)
    seen[0]["metadata"]["annotations"] = said
    await teller.tell()
    assert client.told[1:] == [(("default", "second"), {refusals.ANNOTATION: None})]
    assert [(await made.get("/", host))[0] for host in ("x.example", "y.example")] == [500, 200]


async def test_an_endpoint_that_refuses_is_passed_over(made: World) -> None:
    """A connection that can't be made is no lost request."""
    service, good = await made.serving("a")
    address = good["endpoints"][0]["addresses"][0]
    nobody = {"addresses": ["127.0.9.9"], "conditions": {"ready": True}}
    both = {**good, "endpoints": [nobody, {"addresses": [address], "conditions": {"ready": True}}]}
    await made.publish(gateway(), route({"backendRefs": [to("a")]}), service, both)
    assert {(await made.get("/"))[0] for _ in range(20)} == {200}


async def test_a_connection_that_breaks_loses_no_request_that_only_reads(made: World) -> None:
    """It is asked again; one that may have changed something is not."""
    asked: list[str] = []

    async def breaking(request: web.Request) -> web.Response:
        asked.append(request.method)
        if len(asked) % 2:
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    await made.publish(gateway(), route({"backendRefs": [to("a")]}), *await made.serving("a", breaking))
    assert [(await made.get("/", method=method))[0] for method in ("GET", "POST")] == [200, 503]
    assert asked == ["GET", "GET", "POST"]


async def test_what_is_counted(made: World, envoy_directory: Path) -> None:
    """By Service and by route: requests, codes, latencies."""
    await made.publish(
        gateway(), route({"backendRefs": [to("counted")]}, name="counts.it"), *await made.serving("counted")
    )
    for _ in range(7):
        await made.get("/")

    connector = aiohttp.UnixConnector(str(envoy_directory / Envoy.ADMIN))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with asyncio.timeout(60):
            while True:  # its threads tell what they counted a moment later
                async with session.get(f"http://envoy{route_stats.QUERY}") as answer:
                    stats = await answer.json(content_type=None)
                requests, buckets = route_stats.per_backend(stats).get(("default", "counted"), (0, {}))
                if requests == 7 and max(buckets.values(), default=0) == 7:
                    break
    assert route_stats.routes(stats)["HTTPRoute", "default", "counts_it"].by_class[2] == 7
    text = metrics_text.exposition(stats)
    assert 'sampan_gateway_service_requests_total{namespace="default",service="counted",code="2xx"} 7' in text
    assert 'sampan_gateway_service_request_duration_seconds_count{namespace="default",service="counted"} 7' in text
