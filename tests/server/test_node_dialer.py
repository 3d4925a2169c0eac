"""The way to an agent that answers badly, refuses, or says nothing for ever."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest

from sampan.meta.status import ApiError
from sampan.server.node_dialer import HttpsDialer
from sampan.server.subresources import streams
from sampan.web.listener import Address, Listener
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
