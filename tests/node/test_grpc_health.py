"""gRPC probes against a server that is healthy, sick, silent, absent or another one."""

import asyncio
from contextlib import asynccontextmanager

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from sampan.kit.clock import SystemClock
from sampan.node import grpc_health
from sampan.node.handlers import Handlers, Target
from tests.ports import free_port


class Health:
    """Answers with the bytes that are set for a service; None never answers."""

    def __init__(self, answers):
        self.answers, self.seen = answers, []

    async def check(self, stream):
        request = await stream.recv_message()
        self.seen.append(request)
        answer = self.answers.get(request[2:].decode(), GRPCError(Status.NOT_FOUND, "unknown service"))
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        await stream.send_message(answer)

    def __mapping__(self):
        return {grpc_health.METHOD: Handler(self.check, Cardinality.UNARY_UNARY, bytes, bytes)}


@asynccontextmanager
async def serving(*handlers):
    server, port = Server(handlers, codec=grpc_health.Bytes()), free_port()
    await server.start("127.0.0.1", port)
    try:
        yield port
    finally:
        server.close()
        await server.wait_closed()


async def probed(port, service=None, timeout_seconds=60.0):
    handler = {"grpc": {"port": port, "service": service}}
    return await Handlers(None, SystemClock()).run(handler, Target("c", "127.0.0.1", {}), timeout_seconds)


async def test_a_server_says_how_it_is():
    """Of all of it, and of a service by name; in a kubelet's words."""
    long = "a" * 200
    health = Health({"": b"\x08\x01", "sick": b"\x08\x02", "odd": b"", "a" * 199: b"\x08\x01"})
    async with serving(health) as port:
        assert (await probed(port)).success
        sick = await probed(port, "sick")
        assert (sick.success, sick.output) == (False, 'service unhealthy (responded with "NOT_SERVING")')
        assert (await probed(port, "odd")).output == 'service unhealthy (responded with "UNKNOWN")'
        missing = await probed(port, "other")
        assert missing.output == "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
        await probed(port, long)
    assert health.seen[0] == b""
    assert health.seen[-1] == b"\x0a\xc8\x01" + long.encode()


async def test_a_server_without_health_service():
    """Says that it does not implement it."""
    async with serving(Health({"": GRPCError(Status.UNIMPLEMENTED, "unknown service grpc.health.v1.Health")})) as port:
        said = (await probed(port)).output
    why = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
    assert said == why + "unknown service grpc.health.v1.Health"


async def test_nobody_and_a_silent_one():
    """Both are failures, by their time-outs."""
    port = free_port()
    said = await probed(port, timeout_seconds=5.0)
    why = f'timeout: failed to connect service "127.0.0.1:{port}" within 5s: context deadline exceeded'
    assert (said.success, said.errored, said.output) == (False, False, why)
    async with serving(Health({"": None})) as port:
        assert (await probed(port, timeout_seconds=1.0)).output == "timeout: health rpc did not complete within 1s"


async def test_one_that_speaks_something_else():
    """An HTTP/1 server, or one that hangs up, is a failure and not an error of ours."""

    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        said = await probed(server.sockets[0].getsockname()[1], timeout_seconds=60.0)
    assert (said.success, said.errored) == (False, False)
