"""HTTP carries requests, refusals and watches cut anywhere."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.meta.status import ApiError, not_found
from sampan.web.message import Request

LINES = b"".join(
    b'{"type":"ADDED","object":{"metadata":{"name":"p%d","resourceVersion":"%d"}}}\n' % (i, i) for i in range(3)
)


async def _pods(request: web.Request) -> web.StreamResponse:
    assert request.headers["authorization"] == "Bearer t"
    if "watch" not in request.query:
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "p"}}]})
    response = web.StreamResponse()
    await response.prepare(request)
    for start in range(0, len(LINES), 50):
        await response.write(LINES[start : start + 50])
        await asyncio.sleep(0)
    return response


async def _pod(request: web.Request) -> web.Response:
    return web.json_response(not_found("", "pods", "x").status, status=404)


async def test_requests_refusals_and_watches() -> None:
    """A list is typed, a refusal is the server's Status, a watch's frames are whole, a dead port is named."""
    app = web.Application()
    app.router.add_get("/api/v1/pods", _pods)
    app.router.add_get("/api/v1/namespaces/d/pods/x", _pod)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    transport = HttpTransport(Access(f"http://127.0.0.1:{port}", token="t"))
    client = Client(transport, "test")
    try:
        listing = await client.list(POD)
        assert (listing.resource_version, listing.items[0]["kind"]) == ("7", "Pod")
        names = [event.object["metadata"]["name"] async for event in client.watch(POD, resource_version="7")]
        assert names == ["p0", "p1", "p2"]
        try:
            await client.get(POD, "x", "d")
        except ApiError as error:
            assert (error.code, error.message) == (404, 'pods "x" not found')
        answer = await transport.request(Request("GET", "/api/v1/namespaces/d/pods/x", wants_stream=True))
        assert isinstance(answer.body, AsyncIterator)
        assert b"not found" in b"".join([chunk async for chunk in answer.body if isinstance(chunk, bytes)])
        await runner.cleanup()
        try:
            await client.list(POD)
        except TransportError as error:
            assert "/api/v1/pods" in str(error)
    finally:
        await transport.close()


async def test_what_is_read_ends_with_its_connection() -> None:
    """Whoever reads a stream, or the rest of an answer, is not left waiting when the connection is given up."""

    over = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        await over.wait()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", endless)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    transport = HttpTransport(Access(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    failures: list[None] = []
    transport.on_failure = lambda: failures.append(None)
    try:
        late, answer = [await transport.request(Request("GET", "/w", (("watch", "true"),))) for _ in range(2)]
        assert isinstance(answer.body, AsyncIterator)
        assert isinstance(late.body, AsyncIterator)
        assert await anext(answer.body) == b"first\n"
        rest = asyncio.ensure_future(transport.request(Request("GET", "/")))
        while len(transport._read) < 2:
            await asyncio.sleep(0)
        transport.change(transport.access)
        await transport.drop_former()
        async with asyncio.timeout(60):
            for waiting in (anext(answer.body), anext(late.body), rest):
                with pytest.raises(TransportError, match="was given up"):
                    await waiting
        assert len(failures) == 3
    finally:
        over.set()
        await transport.close()
        await runner.cleanup()
