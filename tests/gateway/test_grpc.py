"""GRPCRoutes on a real Envoy: a call reaches the Service that its method belongs to."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpclib import const
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server as GrpcServer
from grpclib.server import Stream

from tests.gateway.test_waiting import asleep, selecting
from tests.gateway.world import PROXY, World, gateway, route, service, slice_of, to
from tests.ports import free_port


class Bytes(CodecBase):
    """Messages as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class Named:
    """Answers every method that it knows with its name."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()

    async def _call(self, stream: Stream[Any, Any]) -> None:
        await stream.recv_message()
        await stream.send_message(self.name)

    def __mapping__(self) -> dict[str, const.Handler]:
        methods = ("/shop.Cart/Add", "/shop.Cart/Clear", "/shop.Stock/Count", "/other.Thing/Do")
        return {method: const.Handler(self._call, const.Cardinality.UNARY_UNARY, bytes, bytes) for method in methods}


async def test_calls_by_service_method_and_header(made: World) -> None:
    """An exact method before its service, a header before none; who has no route is not implemented."""
    servers, backends = [], []
    for number, name in enumerate(("cart", "add", "vip", "count")):
        server = GrpcServer([Named(name)], codec=Bytes())
        address, port = f"127.0.1.{number + 2}", free_port()
        await server.start(address, port)
        servers.append(server)
        backends += [service(name), slice_of(name, (address, port))]
    cart = {"service": "shop.Cart"}
    rules = (
        {"matches": [{"method": cart}], "backendRefs": [to("cart")]},
        {"matches": [{"method": {**cart, "method": "Add"}}], "backendRefs": [to("add")]},
        {"matches": [{"method": cart, "headers": [{"name": "x-vip", "value": "1"}]}], "backendRefs": [to("vip")]},
        {
            "matches": [{"method": {"type": "RegularExpression", "service": "shop[.]St.*", "method": "C.*"}}],
            "backendRefs": [to("count")],
        },
    )
    await made.publish(gateway(), route(*rules, kind="GRPCRoute"), *backends)
    channel = Channel(PROXY, made.port(80), codec=Bytes())

    async def call(method: str, **metadata: str) -> str:
        asked = UnaryUnaryMethod(channel, method, bytes, bytes)
        found: bytes = await asked(b"", metadata={name.replace("_", "-"): value for name, value in metadata.items()})
        return found.decode()

    try:
        assert await call("/shop.Cart/Add") == "add"
        assert await call("/shop.Cart/Clear", x_vip="1") == "vip"
        assert await call("/shop.Stock/Count") == "count"
        with pytest.raises(GRPCError) as refused:
            await call("/other.Thing/Do")
        assert refused.value.status is const.Status.UNIMPLEMENTED
    finally:
        channel.close()
        for server in servers:
            server.close()
            await server.wait_closed()


async def test_a_call_waits_for_a_pod(made: World, envoy_directory: Path) -> None:
    """Over HTTP/2 like any other request, until somebody is ready; the answer has its trailers."""
    calls = route({"backendRefs": [to("web")]}, kind="GRPCRoute")
    async with asleep(made, envoy_directory) as sleeping:
        sleeping.routes = (calls,)
        await sleeping.publish(selecting())
        channel = Channel(PROXY, made.port(80), codec=Bytes())
        server = GrpcServer([Named("web")], codec=Bytes())
        port = free_port()
        try:
            asking = asyncio.ensure_future(UnaryUnaryMethod(channel, "/shop.Cart/Add", bytes, bytes)(b""))
            await sleeping.until_waiting(1)
            await server.start("127.0.8.3", port)
            await sleeping.publish(selecting(), slice_of("web", ("127.0.8.3", port)))
            assert await asking == b"web"
        finally:
            channel.close()
            server.close()
            await server.wait_closed()
