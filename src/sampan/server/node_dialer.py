"""The server's connections to node agents: HTTPS with the server's own client certificate.

Redirects are not followed: what an agent answers is final.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from sampan.meta import status
from sampan.web import listener
from sampan.web.messages import until_closed

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 1.0
"""An agent that does not take a WebSocket's end by then, since its caller waits for its turn, sees the connection end."""
CHUNK_BYTES = 65536
ERROR_STREAM = 3
BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
NODE_LOST = "the connection to the node was lost"
WITH_STATUS = ("v4.", "v5.")
"""The sub-protocols whose error stream carries a Status; the older ones carry text."""


class HttpsDialer:
    """Dials agents with one TLS context; connections are made when needed."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str) -> tuple[int, AsyncIterator[bytes]]:
        """Status code and body. OSError when the agent cannot be reached."""
        try:
            answer = await self._open().get(url, allow_redirects=False)
        except aiohttp.ClientError as error:
            raise _broken(error) from error
        return answer.status, _Body(answer)

    async def websocket(self, url: str, protocols: tuple[str, ...]) -> Any:
        """An open WebSocket. ApiError when the agent refuses, OSError when it cannot be reached."""
        try:
            return await self._open().ws_connect(
                url,
                protocols=[p for p in protocols if p],
                max_msg_size=listener.WEBSOCKET_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise _refused(error) from error
        except aiohttp.ClientError as error:
            raise _broken(error) from error

    def upgrade(self, backend: Any) -> listener.Upgrade:
        """Joins a client's WebSocket to an open one."""

        async def serve(client: Any) -> None:
            await listener.relay(client, backend)

        return listener.Upgrade((backend.protocol,) if backend.protocol else (), serve, backend.close)

    def command(self, backend: Any) -> listener.Upgrade:
        """The same for a command, whose client is told where the agent is lost before it could say what came of it."""

        async def serve(client: Any) -> None:
            await listener.relay(
                client, _Command(backend) if (backend.protocol or "").startswith(WITH_STATUS) else backend
            )

        return listener.Upgrade((backend.protocol,) if backend.protocol else (), serve, backend.close)

    def messages(self, body: AsyncIterator[bytes]) -> listener.Upgrade:
        """Sends a body as messages of a WebSocket, as bytes or, where the client asks for it, as base64 texts."""

        close = getattr(body, "aclose", None)

        async def send(client: Any) -> None:
            with contextlib.suppress(ConnectionError):
                async for piece in body:
                    if client.ws_protocol == BASE64:
                        await client.send_str(base64.b64encode(piece).decode())
                    else:
                        await client.send_bytes(piece)

        async def serve(client: Any) -> None:
            ways = asyncio.ensure_future(send(client)), asyncio.ensure_future(until_closed(client))
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                if close is not None:
                    await close()
                await client.close()

        return listener.Upgrade((BINARY, BASE64), serve, close)

    def refusal(self, error: status.ApiError, protocol: str) -> listener.Upgrade:
        """Accepts a client's WebSocket, says on its error stream what failed, and closes."""
        body = orjson.dumps(error.status) if protocol.startswith(WITH_STATUS) else error.message.encode()

        async def serve(client: Any) -> None:
            await client.send_bytes(bytes((ERROR_STREAM,)) + body)
            await client.close()

        return listener.Upgrade((protocol,) if protocol else (), serve)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, auto_decompress=False, trace_configs=[_without_redirects()]
            )
        return self._session


class _Command:
    """An agent's WebSocket. One that ends without an outcome has one all the same."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.send_bytes, self.send_str, self.close = backend.send_bytes, backend.send_str, backend.close

    async def __aiter__(self) -> AsyncIterator[aiohttp.WSMessage]:
        has_outcome = False
        async for message in self._backend:
            has_outcome |= message.type is aiohttp.WSMsgType.BINARY and message.data[:1] == bytes((ERROR_STREAM,))
            yield message
        if not has_outcome:
            lost = bytes((ERROR_STREAM,)) + orjson.dumps(status.internal(NODE_LOST).status)
            yield aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, lost, None)


def _without_redirects() -> aiohttp.TraceConfig:
    """Upgrades follow redirects unless stopped: an agent could send us, with our certificate, to another."""

    async def refuse(session: Any, context: Any, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        raise OSError("the agent answered with a redirect, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


class _Body:
    """What an agent answers, as it comes: a log that is followed may be silent for ever."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        chunk = b""
        with contextlib.suppress(aiohttp.ClientError):
            chunk = await self._answer.content.readany()
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Nobody wants the rest."""
        self._answer.close()


def _broken(error: aiohttp.ClientError) -> OSError:
    """An agent that has closed the connection, or does not speak as it should."""
    if isinstance(error, OSError):
        return error
    return OSError("EOF" if isinstance(error, aiohttp.ServerDisconnectedError) else f"malformed HTTP response: {error}")


def _refused(error: aiohttp.WSServerHandshakeError) -> status.ApiError:
    text = error.headers.get("X-Sampan-Status", "") if error.headers else ""
    if text:
        tree = orjson.loads(text)
        return status.ApiError(tree)
    reason = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}.get(
        error.status, "InternalError"
    )
    return status.failure(error.status, reason, f"the node agent refused: {error.message}")
