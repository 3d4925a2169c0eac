"""The agent's port: who is let in, and what is answered."""

import asyncio
import os
from types import SimpleNamespace

import orjson
import pytest

from sampan.kinds.core.pod import POD
from sampan.node import stream_places, streams
from sampan.node.server import NodeServer
from sampan.node.stream_places import StreamPlaces
from sampan.web.message import Peer, Request

ADMIN = Peer("kube-apiserver-kubelet-client", ("system:masters",))
SOMEBODY = Peer("somebody", ("devs",))


@pytest.fixture
def ask(node):
    """Sends a request to the server of a node with one running pod."""
    pod = {"name": "web", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"containers": [{"name": "app", "image": "app:1"}], "nodeName": "node-1"}
    node.client.put(POD, {"metadata": pod, "spec": spec, "status": {"phase": "Pending"}})
    node.loop.advance(0.2)
    server = NodeServer(node.agent)

    def send(path, peer=ADMIN, query=(), method="GET", **headers):
        return node.loop.run_until_complete(server.handle(Request(method, path, query, headers, b"", peer)))

    return send


def test_anonymous(ask):
    """Nobody in particular may do nothing, not even ask for health."""
    for path in ("/healthz", "/pods", "/containerLogs/default/web/app", "/exec/default/web/app", "/nothing"):
        assert ask(path, Peer()).status == 401
    assert ask("/pods", Peer(), authorization="Bearer forged").status == 401


def test_forbidden(ask, node):
    """A certificate is not enough; opening a process needs create, whatever the method."""
    assert ask("/pods", SOMEBODY).status == 403
    asked = [o["spec"]["resourceAttributes"] for k, o in node.client.objects.items() if k[0] == "subjectaccessreviews"]
    assert {a["subresource"] for a in asked} <= {"pods", "proxy"}
    assert ask("/exec/default/web/app", SOMEBODY).status == 403
    asked = [o["spec"]["resourceAttributes"] for k, o in node.client.objects.items() if k[0] == "subjectaccessreviews"]
    assert (asked[-1]["verb"], asked[-1]["subresource"]) == ("create", "proxy")


def test_answers(ask):
    """Health, pods, and clear refusals."""
    assert ask("/healthz").status == 200
    assert [p["metadata"]["name"] for p in ask("/pods").body["items"]] == ["web"]
    assert ask("/containerLogs/default/none/app").status == 404
    assert ask("/containerLogs/default/web/other").status == 404
    assert ask("/containerLogs/default/web/app", query=(("previous", "true"),)).status == 400
    assert ask("/containerLogs/default/web/app", query=(("tailLines", "-1"),)).status == 400
    assert ask("/exec/default/web/app", query=(("stdout", "true"),)).status == 400
    for path in ("/", "/nothing", "/pods/default", "/metrics/cadvisor", "/stats", "/spec"):
        assert ask(path).status == 404


def test_logs(ask, node):
    """A container's log is streamed."""
    state = next(iter(node.runtime.states.values()))
    with open(state.log_path, "w") as file:
        file.write("2026-01-01T00:00:01Z stdout F hello\n")
    response = ask("/containerLogs/default/web/app", query=(("tailLines", "5"),))

    async def read():
        return b"".join([chunk async for chunk in response.body])

    assert node.loop.run_until_complete(read()) == b"hello\n"


def test_logs_of_what_came_before(ask, node):
    """While a container waits for its next start, the one before is the one that has just ended."""
    for attempt in range(2):
        container_id = max(node.runtime.states)
        with open(node.runtime.states[container_id].log_path, "w") as file:
            file.write(f"2026-01-01T00:00:01Z stdout F {attempt}\n")
        node.runtime.end(container_id, 1)
        node.loop.advance(0.5)

    for query in ({}, {"previous": "true"}):
        response = ask("/containerLogs/default/web/app", query=tuple(query.items()))

        async def text(body=response.body):
            return b"".join([chunk async for chunk in body])

        assert node.loop.run_until_complete(text()) == b"1\n"


def test_logs_of_a_pod_that_was_turned_away(ask, node):
    """There is no such container, and there will be none."""
    pod = {"name": "big", "namespace": "default"}
    spec = {"containers": [{"name": "app", "image": "app:1"}], "nodeName": "node-1", "nodeSelector": {"a": "b"}}
    node.client.put(POD, {"metadata": pod, "spec": spec, "status": {"phase": "Pending"}})
    node.loop.advance(0.2)
    answer = ask("/containerLogs/default/big/app")
    assert (answer.status, answer.body) == (400, b'container "app" in pod "big" is not available\n')


def test_all_places_for_streams_are_taken(ask, node, monkeypatch):
    """Logs are refused with 429; commands, once they are upgraded, by a Status on the error stream, and none is begun."""
    monkeypatch.setattr("sampan.node.stream_places.MOST_WAITING", 0)
    monkeypatch.setattr("sampan.node.server.StreamPlaces", lambda: StreamPlaces(stream_places.LOGS))
    server = NodeServer(node.agent)

    def send(path, *query, **headers):
        request = Request("GET", path, query, headers, b"", ADMIN)
        return node.loop.run_until_complete(server.handle(request))

    logs, follow = "/containerLogs/default/web/app", ("follow", "true")
    first = send(logs, follow)
    refused = send(logs, follow)
    assert (first.status, refused.status, refused.headers["Retry-After"]) == (200, 429, "1")
    assert refused.body == b"too many streams are open on node node-1, please try again later\n"
    assert send(logs).status == 200, "what is not followed needs no place"
    assert send("/portForward/default/web", connection="Upgrade").status == 429
    begun = send("/exec/default/web/app", ("command", "x"), ("output", "1"), connection="Upgrade")
    socket = FakeSocket("v5.channel.k8s.io", [])
    node.loop.run_until_complete(begun.hijack.serve(socket))
    status = orjson.loads(socket.sent[0][1:])
    assert (socket.sent[0][0], status["code"], status["reason"]) == (streams.ERROR, 429, "TooManyRequests")
    node.loop.run_until_complete(first.body.aclose())
    assert send(logs, follow).status == 200


def test_followers_that_wait_hold_nothing(ask, node, monkeypatch):
    """No descriptor each, also when they hear in the end that there is no place, or have left before."""
    monkeypatch.setattr("sampan.node.server.StreamPlaces", lambda: StreamPlaces(stream_places.LOGS, 60.0))
    server = NodeServer(node.agent)
    with open(next(iter(node.runtime.states.values())).log_path, "w") as file:
        file.write("2026-01-01T00:00:01Z stdout F hello\n")

    async def follow(gone=None):
        request = Request("GET", "/containerLogs/default/web/app", (("follow", "true"),), {}, b"", ADMIN, gone=gone)
        return await server.handle(request)

    async def flood():
        gone = asyncio.get_running_loop().create_future()
        first = await follow()
        before = len(os.listdir("/proc/self/fd"))
        staying, leaving = asyncio.ensure_future(follow()), [asyncio.ensure_future(follow(gone)) for _ in range(20)]
        while len(server._places._waiting) < 21:
            await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == before
        gone.set_result(None)
        left = await asyncio.gather(*leaving, return_exceptions=True)
        assert all(isinstance(each, ConnectionResetError) for each in left)
        await first.body.aclose()
        second = await staying
        assert await anext(second.body) == b"hello\n"
        await second.body.aclose()
        staying = await follow()
        await staying.body.aclose()

    node.loop.run_until_complete(flood())


@pytest.mark.parametrize("is_late", [False, True])
def test_a_caller_that_leaves_before_its_command_runs(ask, node, monkeypatch, is_late):
    """Its terminal's start is broken off and its place is free again; one that left while it waited is not begun at all."""
    server, begun = NodeServer(node.agent), []

    async def never(*arguments, **options):
        begun.append(arguments)
        await asyncio.Event().wait()

    monkeypatch.setattr(node.runtime, "exec", never, raising=False)
    query = (("command", "x"), ("output", "1"), ("tty", "1"))

    async def leave():
        request = Request("GET", "/exec/default/web/app", query, {"connection": "Upgrade"}, b"", ADMIN)
        answer = await server.handle(request)
        socket, free = FakeSocket("v5.channel.k8s.io", []), server._places._free
        socket.gone, socket.has_closed = asyncio.get_running_loop().create_future(), is_late
        serving = asyncio.ensure_future(answer.hijack.serve(socket))
        while not begun and not serving.done():
            await asyncio.sleep(0)
        if not is_late:
            socket.gone.set_result(None)
        async with asyncio.timeout(60):
            await serving
        assert (len(begun), server._places._free) == (not is_late, free)

    node.loop.run_until_complete(leave())


class FakeSession:
    """A process that says something once its input has ended."""

    def __init__(self, code):
        self.code, self.written, self.size, self.closed = code, b"", None, asyncio.Event()

    async def output(self):
        await self.closed.wait()
        yield "stdout", b"got " + self.written
        yield "stderr", b"warning"

    async def write(self, data):
        self.written += data

    async def close_stdin(self):
        self.closed.set()

    async def resize(self, width, height):
        self.size = (width, height)

    async def wait(self):
        return self.code

    async def close(self):
        pass


class FakeSocket:
    """A WebSocket whose messages are given."""

    def __init__(self, protocol, messages):
        self.ws_protocol, self.messages, self.sent = protocol, messages, []

    async def __aiter__(self):
        for message in self.messages:
            yield SimpleNamespace(data=message)
        await asyncio.sleep(10)

    async def send_bytes(self, data):
        self.sent.append(data)

    async def close(self):
        pass


@pytest.mark.parametrize("code", [0, 3])
async def test_exec_streams(code):
    """Input goes in, its end is seen, output and outcome come back on their channels."""
    socket = FakeSocket("v5.channel.k8s.io", [b"\x00in", b'\x04{"Width":80,"Height":25}', b"\xff\x00"])
    session = FakeSession(code)
    await streams.serve(socket, session, frozenset((streams.STDIN, streams.STDOUT, streams.STDERR)))
    assert session.size == (80, 25)
    assert socket.sent[:2] == [b"\x01got in", b"\x02warning"]
    status = orjson.loads(socket.sent[2][1:])
    assert socket.sent[2][0] == streams.ERROR
    if code == 0:
        assert status["status"] == "Success"
    else:
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


class LeavingSocket(FakeSocket):
    """One whose client sends all at once and leaves, be it by the end of its messages or by that of its connection."""

    def __init__(self, protocol, messages, *, has_gone):
        super().__init__(protocol, messages)
        if has_gone:
            self.gone = asyncio.get_running_loop().create_future()
            self.gone.set_result(None)

    async def __aiter__(self):
        for message in self.messages:
            await asyncio.sleep(0)
            yield SimpleNamespace(data=message)

    async def send_bytes(self, data):
        raise ConnectionResetError("the client went away")


@pytest.mark.parametrize("has_gone", [False, True])
async def test_a_caller_that_leaves_its_command_the_input(has_gone):
    """All of it goes in, the command sees its end, and is let end by itself before the session is closed."""
    session, order = FakeSession(0), []

    async def wait():
        await session.closed.wait()
        order.append("ended")
        return 0

    async def close():
        order.append("closed")

    session.wait, session.close = wait, close

    async def starting():
        await asyncio.sleep(0)
        return session

    socket = LeavingSocket("v5.channel.k8s.io", [b"\x00one", b"\x00two"], has_gone=has_gone)
    async with asyncio.timeout(60):
        begun = await streams.begun(socket, starting(), streams.SECONDS_ALONE)
        await streams.serve(socket, begun, frozenset((streams.STDIN, streams.STDOUT)), streams.SECONDS_ALONE)
    assert (session.written, order) == (b"onetwo", ["ended", "closed"])


async def test_a_caller_that_leaves_its_terminal():
    """The session is closed at once, and with it the process."""
    session, closed = FakeSession(0), []

    async def wait():
        await asyncio.Event().wait()

    async def close():
        closed.append(session.closed.is_set())

    session.wait, session.close = wait, close
    async with asyncio.timeout(60):
        socket = LeavingSocket("v5.channel.k8s.io", [], has_gone=True)
        await streams.serve(socket, session, frozenset((streams.STDIN, streams.STDOUT)))
    assert closed == [False]


async def test_output_that_ends_before_the_input():
    """The input still goes in, and the outcome is told when there is one."""
    session, ended = FakeSession(0), asyncio.Event()

    async def output():
        return
        yield

    async def closed():
        ended.set()

    async def wait():
        await ended.wait()
        return 0

    session.output, session.close_stdin, session.wait = output, closed, wait

    class Slow(FakeSocket):
        async def __aiter__(self):
            await asyncio.sleep(0.05)
            async for message in super().__aiter__():
                yield message

    socket = Slow("v5.channel.k8s.io", [b"\x00in", b"\xff\x00"])
    async with asyncio.timeout(60):
        await streams.serve(socket, session, frozenset((streams.STDIN, streams.STDOUT)))
    assert session.written == b"in"
    assert [orjson.loads(said[1:])["status"] for said in socket.sent] == ["Success"]
