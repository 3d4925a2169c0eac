"""Probes and hooks over HTTP, against a server that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sampan.kit.clock import SystemClock
from sampan.node.handlers import Handlers, Target
from sampan.node.outcome import Outcome


class Server:
    """Answers each path with a status and, where it is one, a redirect; `heard` has the head of each request."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.answers: dict[str, tuple[int, str]] = {}
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heard.append(head)
        status, location = self.answers.get(head.split()[1], (404, ""))
        redirect = f"Location: {location}\r\n" if location else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{redirect}Content-Length: 4\r\n\r\nbody".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


async def ask(server: Server, path: str, purpose: str = "liveness", **get: object) -> Outcome:
    handlers = Handlers(None, SystemClock())  # type: ignore[arg-type]
    target = Target("c", "127.0.0.1", {"ports": [{"name": "web", "containerPort": server.port}]}, purpose)
    try:
        return await handlers.run({"httpGet": {"path": path, "port": "web", **get}}, target, 5.0)
    finally:
        await handlers.close()


async def test_redirects(server: Server) -> None:
    """On the same host they are followed; one that leads elsewhere is a success with a warning."""
    server.answers = {
        "/well": (200, ""),
        "/ill": (500, ""),
        "/to-well": (302, "/well"),
        "/to-ill": (307, f"http://127.0.0.1:{server.port}/ill"),
        "/away": (301, "http://localhost:1/ill"),
        "/round": (302, "/round"),
        "/nowhere": (300, ""),
    }
    warned = Outcome(True, "Probe terminated redirects, Response body: body", warned=True)
    assert await ask(server, "/well") == await ask(server, "to-well") == Outcome(True)
    failed = Outcome(False, "HTTP probe failed with statuscode: 500", answered=True)
    assert await ask(server, "/ill") == await ask(server, "/to-ill") == failed
    assert await ask(server, "/away") == warned
    assert (await ask(server, "/nowhere")).warned
    assert (await ask(server, "/round")).output.endswith('/round": stopped after 10 redirects')


async def test_headers(server: Server) -> None:
    """Each that is asked for, as often as it is; who asks is told unless it is not to be."""
    server.answers = {"/": (200, "")}
    await ask(server, "/")
    await ask(server, "/", "preStop")
    twice = [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]
    await ask(server, "/", httpHeaders=[*twice, {"name": "user-agent"}, {"name": "Host", "value": "there"}])
    plain, hook, own = server.heard
    assert "User-Agent: kube-probe/1.36\r\n" in plain and "Accept: */*\r\n" in plain
    assert "User-Agent: kube-lifecycle/1.36\r\n" in hook
    assert "X-A: 1\r\n" in own and "X-A: 2\r\n" in own and "Host: there\r\n" in own
    assert "user-agent" not in own.lower() and own.lower().count("host:") == 1


async def test_nobody_answers(server: Server) -> None:
    """The address is said as upstream says it."""
    handlers = Handlers(None, SystemClock())  # type: ignore[arg-type]
    found = await handlers.run({"httpGet": {"port": 1}}, Target("c", "127.0.0.1", {}), 5.0)
    assert found.output == 'Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused'
    await handlers.close()
