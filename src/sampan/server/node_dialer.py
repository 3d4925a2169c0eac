"""The server's connections to node agents: HTTPS with the server's own client certificate.

Redirects are not followed: what an agent answers is final.
"""

import base64
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from sampan.meta import status
from sampan.web import listener

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 65536
ERROR_STREAM = 3
BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
WITH_STATUS = ("v4.", "v5.")
"""The sub-protocols whose error stream carries a Status; the older ones carry text."""


class HttpsDialer:
    """Dials agents with one TLS context; connections are made when needed."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str) -> tuple[int, AsyncIterator[bytes]]:
        """Status code and body. OSError when the agent cannot be reached."""
        answer = await self._open().get(url, allow_redirects=False)
        return answer.status, _body(answer)

    async def websocket(self, url: str, protocols: tuple[str, ...]) -> Any:
        """An open WebSocket. ApiError when the agent refuses, OSError when it cannot be reached."""
        try:
            return await self._open().ws_connect(
                url, protocols=[p for p in protocols if p], max_msg_size=listener.WEBSOCKET_MESSAGE_BYTES
            )
        except aiohttp.WSServerHandshakeError as error:
            raise _refused(error) from error

    def upgrade(self, backend: Any) -> listener.Upgrade:
        """Joins a client's WebSocket to an open one."""

        async def serve(client: Any) -> None:
            await listener.relay(client, backend)

        return listener.Upgrade((backend.protocol,) if backend.protocol else (), serve)

    def messages(self, body: AsyncIterator[bytes]) -> listener.Upgrade:
        """Sends a body as messages of a WebSocket, as bytes or, where the client asks for it, as base64 texts."""

        async def serve(client: Any) -> None:
            async for piece in body:
                if client.ws_protocol == BASE64:
                    await client.send_str(base64.b64encode(piece).decode())
                else:
                    await client.send_bytes(piece)
            await client.close()

        return listener.Upgrade((BINARY, BASE64), serve)

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


def _without_redirects() -> aiohttp.TraceConfig:
    """Upgrades follow redirects unless stopped: an agent could send us, with our certificate, to another."""

    async def refuse(session: Any, context: Any, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        raise OSError("the agent answered with a redirect, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except aiohttp.ClientError:
        return
    finally:
        answer.close()


def _refused(error: aiohttp.WSServerHandshakeError) -> status.ApiError:
    text = error.headers.get("X-Sampan-Status", "") if error.headers else ""
    if text:
        tree = orjson.loads(text)
        return status.ApiError(tree)
    reason = {400: "BadRequest", 403: "Forbidden", 404: "NotFound"}.get(error.status, "InternalError")
    return status.failure(error.status, reason, f"the node agent refused: {error.message}")
