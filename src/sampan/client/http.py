"""HttpTransport: requests over HTTPS, with client certificates or tokens.

A watch has no time limit of its own beyond the one it asks the server for.
"""

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.web import keepalive
from sampan.web.message import Request, Response

CONNECTIONS = 256
REQUEST_SECONDS = 65
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 1.0
PATIENCE_SECONDS = 20.0
WATCH_MARGIN_SECONDS = 30
GIVEN_UP = "the connection was given up"


class HttpTransport:
    """One server, one identity. The session is opened by the first request, on the running loop.

    A connection is given up on which the server has not answered for `patience_seconds`, not even that it got something.
    """

    def __init__(self, access: Access, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.access = access
        self._patience_seconds = patience_seconds
        self._session: aiohttp.ClientSession | None = None
        self._former: list[aiohttp.ClientSession] = []
        self._read: dict[aiohttp.ClientResponse, aiohttp.ClientSession] = {}
        self.on_failure: Callable[[], None] = _nobody
        """Told at once of each request, and of each stream, that got no answer or lost its connection."""

    async def request(self, request: Request) -> Response:
        """Sends one request. `watch`, `follow` and big answers come as a stream. Raises TransportError."""
        is_stream = request.param("watch") in ("true", "1") or request.param("follow") in ("true", "1")
        body = request.body if isinstance(request.body, bytes) else orjson.dumps(request.body)
        headers = self._identity() | {name: value for name, value in request.headers.items() if value}
        try:
            session = self._open()
            answer = await session.request(
                request.method,
                self._url(request),
                data=body or None,
                headers=headers,
                timeout=_timeout(request, min(CONNECT_SECONDS, self._patience_seconds), is_stream=is_stream),
                allow_redirects=False,
                server_hostname=self.access.server_name or None,
            )
            if request.wants_stream or (is_stream and answer.status < 400):
                content: bytes | AsyncIterator[bytes | dict[str, Any]] = self._stream(answer, session)
            else:
                with self._reading(answer, session):
                    content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.on_failure()
            raise TransportError(f"{request.method} {self.access.server}{request.path}: {error!r}") from error
        received = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, content, received, received.get("content-type", ""))

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            self._former.append(self._session)
            self._session = None
        await self.drop_former()

    def change(self, access: Access) -> None:
        """What begins from now on has this identity; what is under way goes on until `drop_former`."""
        self.access = access
        if self._session is not None:
            self._former.append(self._session)
            self._session = None

    async def drop_former(self) -> None:
        """Closes the connections of identities before this one: watches on them go on by new ones."""
        while self._former:
            session = self._former.pop()
            for answer in [answer for answer, of in self._read.items() if of is session]:
                answer.content.set_exception(aiohttp.ClientConnectionError(GIVEN_UP))
            with contextlib.suppress(TimeoutError):  # closed at once; only its last words take time
                async with asyncio.timeout(CLOSE_SECONDS):
                    await session.close()  # which by itself would leave waiting who reads an answer

    async def _stream(
        self, answer: aiohttp.ClientResponse, session: aiohttp.ClientSession
    ) -> AsyncIterator[bytes | dict[str, Any]]:
        """Chunks as they come. A stream cut off counts as ended: whoever follows resumes."""
        try:
            with self._reading(answer, session):
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.on_failure()
            raise TransportError(f"stream broke: {error!r}") from error
        finally:
            answer.close()

    @contextlib.contextmanager
    def _reading(self, answer: aiohttp.ClientResponse, session: aiohttp.ClientSession) -> Iterator[None]:
        if session.closed:
            raise aiohttp.ClientConnectionError(GIVEN_UP)
        self._read[answer] = session
        try:
            yield
        finally:
            del self._read[answer]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = tls(self.access) if self.access.server.startswith("https") else True
            connector = aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS, socket_factory=self._socket)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session

    def _socket(self, found: aiohttp.AddrInfoType) -> socket.socket:
        made = socket.socket(found[0], found[1], found[2])
        keepalive.limit(made, self._patience_seconds)
        return made

    def _url(self, request: Request) -> URL:
        query = "?" + urlencode(request.query) if request.query else ""
        return URL(
            self.access.server.rstrip("/") + quote(request.path, safe="/:@!$&'()*+,;=~-._") + query, encoded=True
        )

    def _identity(self) -> dict[str, str]:
        token = self.access.current_token()
        return {"authorization": f"Bearer {token}"} if token else {}


def _timeout(request: Request, connect_seconds: float, *, is_stream: bool) -> aiohttp.ClientTimeout:
    if not is_stream:
        return aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=connect_seconds)
    seconds = request.param("timeoutSeconds")
    silence = int(seconds) + WATCH_MARGIN_SECONDS if seconds.isdigit() else None
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=silence)


def _nobody() -> None:
    """Nobody wants to know."""


def tls(access: Access) -> ssl.SSLContext:
    """By which a server is believed, and the certificate that is shown to it. OSError."""
    context = ssl.create_default_context(cadata=access.ca or None)
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate and access.key:
        with tempfile.TemporaryDirectory() as directory:  # ssl only reads key pairs from files; the folder is 0700
            pair = Path(directory) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_text(access.certificate + "\n" + access.key)
            context.load_cert_chain(pair)
    return context
