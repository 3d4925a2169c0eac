"""GRPCRoutes on a real Envoy: a call reaches the Service that its method belongs to."""

from typing import Any

import pytest
from grpclib import const
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server as GrpcServer
from grpclib.server import Stream

from tests.gateway import world
from tests.gateway.world import PROXY, World, gateway, route, service, slice_of, to


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
        address, port = f"127.0.1.{number + 2}", world.free_port()
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
