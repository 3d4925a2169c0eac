"""The way to an agent that answers badly, refuses, or says nothing for ever."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import orjson
import pytest

from sampan.meta.status import ApiError
from sampan.server.node_dialer import HttpsDialer
from sampan.server.subresources import streams
from sampan.web.listener import Address, Listener, Upgrade
from sampan.web.message import Request, Response


@asynccontextmanager
async def agent(answer: bytes, *, ended: asyncio.Event | None = None) -> AsyncIterator[str]:
    """One that answers this and closes; or waits for its caller's end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if ended is not None:
            await reader.read()
            ended.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@pytest.fixture
async def dialer() -> AsyncIterator[HttpsDialer]:
    made = HttpsDialer(ssl.create_default_context())
    yield made
    await made.close()


@pytest.mark.parametrize(("answer", "text"), [(b"", "EOF"), (b"nonsense\r\n\r\n", "malformed HTTP response")])
async def test_no_answer(dialer: HttpsDialer, answer: bytes, text: str) -> None:
    """As of an agent that has no room for one more connection: an OSError, of which clients are told."""
    async with agent(answer) as url:
        with pytest.raises(OSError, match=text):
            await dialer.get(url)
        with pytest.raises((OSError, ApiError), match=f"{text}|refused"):
            await dialer.websocket(url, ())


async def test_all_places_are_taken(dialer: HttpsDialer) -> None:
    """The agent's 429 is told as one, with the time after which it may be tried again."""
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 5\r\n\r\nlater"
    async with agent(refusal) as url:
        code, body = await dialer.get(url)
        error = await streams._refusal(code, body)
        assert (error.code, error.reason, error.message) == (429, "TooManyRequests", "later")
        assert error.headers["Retry-After"] == "1"
        with pytest.raises(ApiError) as caught:
            await dialer.websocket(url, ())
        assert (caught.value.code, caught.value.reason) == (429, "TooManyRequests")


async def test_a_forward_that_has_no_place(dialer: HttpsDialer) -> None:
    """Is told when it may try again."""
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 5\r\n\r\nlater"
    async with agent(refusal) as url:
        with pytest.raises(ApiError) as caught:
            await streams.Streams(cast(Any, None), dialer)._dialed(url, "")
    assert (caught.value.code, caught.value.status["details"]) == (429, {"retryAfterSeconds": 1})


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])
@pytest.mark.parametrize("has_outcome", [False, True])
async def test_an_agent_that_is_lost_amid_a_command(dialer: HttpsDialer, protocol: str, *, has_outcome: bool) -> None:
    """Its client is told so, unless it knows what came of the command; older protocols have no word for that."""
    said = [b"\x01hello", *([b'\x03{"status":"Success"}'] if has_outcome else [])]

    async def run(socket: Any) -> None:
        for each in said:
            await socket.send_bytes(each)

    async def join(request: Request) -> Response:
        if request.path == "/agent":
            return Response(101, hijack=Upgrade((protocol,), run))
        backend = await dialer.websocket(f"http://127.0.0.1:{port}/agent", (protocol,))
        return Response(101, hijack=dialer.command(backend))

    server = Listener(join, lambda request, error: Response(500), None)
    port = await server.listen(Address("127.0.0.1", 0))
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/", protocols=(protocol,)) as client,
    ):
        heard = [message.data async for message in client]
    await server.close()
    assert heard[: len(said)] == said
    if has_outcome or protocol == "channel.k8s.io":
        assert heard == said
    else:
        assert heard[-1][:1] == b"\x03"
        told = orjson.loads(heard[-1][1:])
        assert (told["status"], told["reason"]) == ("Failure", "InternalError")
        assert told["message"] == "Internal error occurred: the connection to the node was lost"


async def test_a_silent_log_by_websocket(dialer: HttpsDialer) -> None:
    """When its reader leaves, the agent is left too."""
    ended = asyncio.Event()
    log = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with agent(log, ended=ended) as url, asyncio.timeout(60):

        async def handle(request: Request) -> Response:
            _, body = await dialer.get(url)
            return Response(101, hijack=dialer.messages(body))

        listener = Listener(handle, lambda request, error: Response(500), None)
        port = await listener.listen(Address("127.0.0.1", 0))
        async with aiohttp.ClientSession() as session:
            client: Any = await session.ws_connect(f"http://127.0.0.1:{port}/", protocols=("binary.k8s.io",))
            assert await client.receive_bytes() == b"x"
            await client.close()
        await ended.wait()
        await listener.close()
