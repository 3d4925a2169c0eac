"""The HTTPS listener: turns aiohttp's requests into `Request` values and writes `Response` values back.

It knows TLS, bodies, streams and WebSocket upgrades, and nothing of what is served. A handler that
fails unexpectedly is answered by `on_error`, so that no client sees a traceback or a hang.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import WSMsgType, hdrs
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError

from sampan.web import certified, gone, keepalive, serving
from sampan.web.accepting import Accepting, most_connections
from sampan.web.answer import Answer, Written, give
from sampan.web.connection import Connection
from sampan.web.handshakes import Handshakes
from sampan.web.message import APART, BodyBroken, BodyTooLarge, Peer, Pieces, Request, Response
from sampan.web.messages import Messages
from sampan.web.tunnel import Tunnel

Handler = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Request, BaseException], Response]

MAX_BODY_BYTES = 3 * 1024 * 1024
IDLE_SECONDS = 620.0
BODY_SECONDS = 60.0
FIRST_REQUEST_SECONDS = 32.0
LAST_WORDS_SECONDS = 30.0
"""For what a WebSocket's client sent before it left."""
WEBSOCKET_MESSAGE_BYTES = 32 * 1024 * 1024
"""As upstream's: there are clients that send a file in one message."""


@dataclass(slots=True)
class Upgrade:
    """A response that becomes a WebSocket: the sub-protocols on offer, and who serves it.

    The WebSocket's `gone` is done once its connection is lost. `close` is called instead of `serve` when that was before.
    """

    protocols: tuple[str, ...]
    serve: Callable[["serving.WebSocketResponse"], Awaitable[None]]
    close: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `free_bind` allows an address that the host does not have yet."""

    host: str
    port: int
    free_bind: bool = False


class Listener:
    """Serves one handler on any number of addresses.

    `streams` says which bodies that are long, or of a length that nobody tells, are handed on unread.
    """

    def __init__(
        self,
        handler: Handler,
        on_error: ErrorHandler,
        tls: ssl.SSLContext | None,
        streams: Callable[[Request], bool] = lambda request: False,
    ) -> None:
        self._handler = handler
        self._streams = streams
        self._on_error = on_error
        self._tls = tls
        self.handshakes = Handshakes()
        if tls is not None:
            self.handshakes.watch(tls)
        self._server = serving.Server(self._serve, request_factory=_request_factory)
        self._listening: list[Accepting] = []
        self._guests: OrderedDict[_Connection, None] = OrderedDict()  # who asked longest ago is first
        self._entering: set[asyncio.Future[None]] = set()

    async def listen(self, address: Address, bound: socket.socket | None = None) -> int:
        """Starts to accept there, by the socket that is bound there already if there is one; returns the port.

        OSError when the address is taken.
        """
        sock = bound or bind(address)
        self._listening.append(Accepting(sock, self._enter, self._make_room))
        return int(sock.getsockname()[1])

    async def close(self, grace_seconds: float = 0.2) -> None:
        """Stops accepting, and ends what is under way after the grace."""
        for accepting in self._listening:
            accepting.close()
        self._listening = []
        await self._server.shutdown(grace_seconds)
        for guest in list(self._guests):
            guest.leave()
        await asyncio.gather(*self._entering, return_exceptions=True)

    def abort(self) -> None:
        """Breaks every connection off, whatever is under way on it."""
        for protocol in list(self._server.connections):
            if protocol.transport is not None:
                protocol.transport.abort()

    def _enter(self, sock: socket.socket) -> None:
        """A new connection. One that brings no request in time is closed: connections are not free."""
        if len(self._guests) >= most_connections() and not self._make_room():
            sock.close()
            return
        guest = _Connection(self._server, sock, self._left)
        self._guests[guest] = None
        guest.deadline = asyncio.get_running_loop().call_later(FIRST_REQUEST_SECONDS, guest.leave)
        entering = asyncio.ensure_future(self._welcome(guest, sock))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)

    async def _welcome(self, guest: "_Connection", sock: socket.socket) -> None:
        """TLS, and then HTTP. A handshake that fails is counted elsewhere."""
        patience = FIRST_REQUEST_SECONDS if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: guest, sock, ssl=self._tls, ssl_handshake_timeout=patience
            )
        except OSError:
            self._left(guest)

    def _make_room(self) -> bool:
        """Closes the connection on which nothing is under way for longest. False when all are in use."""
        idle = next((guest for guest in self._guests if guest.is_idle), None)
        if idle is None:
            return False
        self._left(idle)
        idle.leave()
        return True

    def _left(self, guest: "_Connection") -> None:
        self._guests.pop(guest, None)

    async def _serve(self, incoming: serving.BaseRequest) -> serving.StreamResponse:
        guest: Any = incoming.protocol
        if guest.deadline is not None:
            guest.deadline.cancel()
            guest.deadline = None
        if guest in self._guests:
            self._guests.move_to_end(guest)
        request = _incoming(incoming)
        try:
            if incoming.body_exists:
                _let_go_on(incoming, request)
                length = incoming.content_length
                if (length is None or length > MAX_BODY_BYTES) and self._streams(request):
                    request.stream = incoming.content.iter_any()
                else:
                    request.body = await _read_body(incoming)
            response = await self._handler(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 (nobody above us: the client gets a Status)
            response = self._on_error(request, error)
        if response.hijack is None:
            return await _answer(incoming, response)
        try:
            if isinstance(response.hijack, Tunnel):
                return await _join(incoming, response, response.hijack)
            if isinstance(response.hijack, Messages):
                return await _upgrade(incoming, _messages(incoming, response, response.hijack))
            return await _upgrade(incoming, response.hijack)
        finally:
            if response.ended is not None:
                response.ended()


def server_context(certificate: str, key: str, client_ca: str) -> ssl.SSLContext:
    """TLS for a server that accepts client certificates of one authority, and callers without one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """TLS for a caller that trusts one authority and may show a certificate."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


async def relay(left: Any, right: Any) -> None:
    """Copies WebSocket messages both ways until either side closes, then closes the other.

    What `left` sent before it left is still for `right`, which has some time to take it.
    """
    forth, back = asyncio.ensure_future(_copy(left, right)), asyncio.ensure_future(_copy(right, left))
    try:
        with contextlib.suppress(ConnectionError, RuntimeError):
            try:
                await gone.unless(left, back, asyncio.shield(forth))
            except (ConnectionError, RuntimeError):
                await asyncio.wait({forth}, timeout=LAST_WORDS_SECONDS)
    finally:
        forth.cancel()
        await asyncio.gather(forth, left.close(), right.close(), return_exceptions=True)


async def _copy(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await target.send_str(message.data)


def bind(address: Address) -> socket.socket:
    """A socket that has the address, and listens as soon as a listener is given it. OSError when it is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keepalive.watch(sock)
        if address.free_bind and hasattr(socket, "SO_BINDTODEVICE"):
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((address.host, address.port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


_OF_NAMES = "impersonate-"
_IP_FREEBIND = 15


def _request_factory(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> serving.BaseRequest:
    loop = asyncio.get_running_loop()
    return serving.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES + 1)


def _incoming(incoming: serving.BaseRequest) -> Request:
    raw_path = incoming.raw_path if incoming.raw_path.startswith("/") else _relative(incoming.raw_path)
    path, _, query = _text(raw_path).partition("?")
    if "%" in path:
        path = _decode_path(path)
    given = incoming.headers.items()
    headers = {name.lower(): value if value.isascii() else _text(value) for name, value in given}
    if len(headers) != len(incoming.headers):
        headers = {name.lower(): _joined(name, incoming.headers.getall(name)) for name in incoming.headers}
    pairs = tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
    connection: Any = incoming.protocol
    request = Request(incoming.method, path, pairs, headers, b"", connection.peer())
    request.raw_path, _, request.raw_query = raw_path.partition("?")
    request.takes_pieces, request.gone = True, connection.gone
    return request


def _relative(target: str) -> str:
    """The path of an absolute URL, which is asked of proxies; anything else as it is."""
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        return target
    end = next((place for place, sign in enumerate(rest) if sign in "/?"), len(rest))
    return rest[end:] if rest[end : end + 1] == "/" else "/" + rest[end:]


def _text(value: str) -> str:
    """What came in bytes that are no UTF-8 is shown by a replacement sign, so that it can be written again."""
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _joined(name: str, values: list[str]) -> str:
    """A header that was repeated, as RFC 9110 (5.3) reads it; those of names, which may have commas, one a line."""
    return (APART if name.lower().startswith(_OF_NAMES) else ", ").join(map(_text, values))


def _decode_path(path: str) -> str:
    from urllib.parse import unquote

    # An encoded slash or NUL must not become a separator: it stays as it is, and then names nothing.
    return "/".join(part if _splits(part) else unquote(part) for part in path.split("/"))


def _splits(part: str) -> bool:
    lowered = part.lower()
    return "%2f" in lowered or "%00" in lowered


class _Connection(Connection):
    """A connection, which knows who is at its other end. `deadline` ends it unless a request comes before."""

    __slots__ = ("_known", "_left", "_sock", "deadline", "gone")

    def __init__(self, server: serving.Server, sock: socket.socket, left: Callable[["_Connection"], None]) -> None:
        super().__init__(server, asyncio.get_running_loop(), IDLE_SECONDS)
        self._known: Peer | None = None
        self._sock, self._left = sock, left
        self.deadline: asyncio.TimerHandle | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tells the listener, and who waits for it."""
        if not self.gone.done():
            self.gone.set_result(None)
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self._left(self)
        super().connection_lost(exc)
        self._data_received_cb = None  # a WebSocket's, which holds us

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer, or for the rest of one: it waits for a request itself."""
        return self.transport is None or (self._waiter is not None and not self._waiter.done())

    def leave(self) -> None:
        """Ends it, in the middle of whatever it does."""
        transport = self.transport
        if transport is not None:
            self.force_close()
            transport.abort()
            return
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # the handshake is under way

    def peer(self) -> Peer:
        """Whom TLS showed, found out once."""
        if self._known is None:
            self._known = _peer(self.transport)
        return self._known


def _peer(transport: asyncio.BaseTransport | None) -> Peer:
    if transport is None:
        return Peer()
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(True) if tls is not None else None
    peername = transport.get_extra_info("peername")
    address = peername[0] if isinstance(peername, tuple) else ""
    return certified.peer(certificate, address) if certificate else _anonymous(address)


@lru_cache(maxsize=1024)
def _anonymous(address: str) -> Peer:
    return Peer(address=address)


def _let_go_on(incoming: serving.BaseRequest, request: Request) -> None:
    """Tells a client that waits for it to send the body (RFC 9110, 10.1.1)."""
    waits = request.headers.get("expect", "").lower() == "100-continue" and incoming.version >= HttpVersion11
    if waits and incoming.transport is not None:
        incoming.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _read_body(incoming: serving.BaseRequest) -> bytes:
    try:
        if incoming.content.is_eof():  # it is all here: nothing is waited for
            body = await incoming.read()
        else:
            async with asyncio.timeout(BODY_SECONDS):
                body = await incoming.read()
    except serving.HTTPRequestEntityTooLarge as error:
        raise BodyTooLarge from error
    except (TimeoutError, serving.RequestPayloadError, serving.HTTPException, HttpProcessingError) as error:
        raise BodyBroken from error
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge
    return body


async def _answer(incoming: serving.BaseRequest, response: Response) -> serving.StreamResponse:
    body = response.body
    if isinstance(body, dict):
        body = orjson.dumps(body)
    if isinstance(body, bytes):
        return Answer(incoming, response, body)
    if isinstance(body, Pieces):
        return await give(incoming, response, body)
    if response.content_type:
        response.headers[hdrs.CONTENT_TYPE] = response.content_type
    return await _stream(incoming, response, body)


async def _stream(
    incoming: serving.BaseRequest, response: Response, chunks: AsyncIterator[Any]
) -> serving.StreamResponse:
    answer = _Stream(status=response.status, headers=response.headers)
    if hdrs.CONTENT_LENGTH not in response.headers and incoming.version >= HttpVersion11:
        answer.enable_chunked_encoding()
    if response.headers.get(hdrs.CONNECTION) == "close":
        answer.force_close()
    patience = _Patience(incoming, getattr(chunks, "patience_seconds", 0.0))
    try:
        await answer.prepare(incoming)
        with gone.heard_of(incoming.protocol):
            async for chunk in chunks:
                patience.since = patience.now()
                await answer.write(chunk if isinstance(chunk, bytes) else orjson.dumps(chunk) + b"\n")
                patience.since = 0.0
        await answer.write_eof()
    except ConnectionError:
        if incoming.transport is not None:
            incoming.transport.abort()  # what broke off must not look complete
        return answer
    finally:
        patience.end()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return answer


class _Patience:
    """With a client that takes nothing of what is written `since`: after so many seconds it is cut off; 0 is for ever."""

    def __init__(self, incoming: serving.BaseRequest, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.now, self._later = loop.time, loop.call_later
        self.since = 0.0
        self._incoming, self._seconds = incoming, seconds
        self._timer = self._later(seconds, self._look) if seconds else None

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self.since and self.now() - self.since >= self._seconds:
            if self._incoming.transport is not None:
                self._incoming.transport.abort()
            return
        self._timer = self._later(self._seconds, self._look)


async def _join(incoming: serving.BaseRequest, response: Response, tunnel: Tunnel) -> serving.StreamResponse:
    """Passes on a backend's 101 as it was, then joins both connections until they end."""
    transport = incoming.transport
    if transport is None:
        await tunnel.close()
        raise ConnectionResetError("the client went away")
    lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    transport.write(f"HTTP/1.1 101 Switching Protocols\r\n{''.join(lines)}\r\n".encode("utf-8", "surrogateescape"))
    await tunnel.join(incoming.protocol, transport)
    return Written(101)


class _Stream(serving.StreamResponse):
    """An answer that does not say by itself which program it comes from."""

    async def _prepare_headers(self) -> None:
        is_given = hdrs.SERVER in self.headers
        await super()._prepare_headers()
        if not is_given:
            del self.headers[hdrs.SERVER]


class _Sockets(_Stream, serving.WebSocketResponse):
    """The same for a WebSocket."""

    gone: asyncio.Future[None]

    @property
    def has_closed(self) -> bool:
        """Whether the client has said that it leaves, be it that nobody has read so far."""
        return self.closed or any(each[0].type is WSMsgType.CLOSE for each in getattr(self._reader, "_buffer", ()))

    def forget(self) -> None:
        """Its input and its last error hold it: with TLS they would keep 90 KiB, until somebody looks for cycles."""
        self._reader = self._exception = None


def _messages(incoming: serving.BaseRequest, response: Response, messages: Messages) -> Upgrade:
    body: Any = response.body

    async def serve(client: Any) -> None:
        await messages.serve(body, _Patience(incoming, getattr(body, "patience_seconds", 0.0)), client)

    return Upgrade(messages.protocols, serve, body.aclose)


async def _upgrade(incoming: serving.BaseRequest, upgrade: Upgrade) -> serving.StreamResponse:
    sockets = _Sockets(
        protocols=upgrade.protocols, max_msg_size=WEBSOCKET_MESSAGE_BYTES, heartbeat=30.0, timeout=1.0, compress=False
    )
    guest: Any = incoming.protocol
    sockets.gone = guest.gone
    try:
        if incoming.transport is None or incoming.transport.is_closing():
            raise ConnectionResetError("the client went away")
        await sockets.prepare(incoming)
    except BaseException:
        if upgrade.close is not None:
            await upgrade.close()
        raise
    try:
        await upgrade.serve(sockets)
        await sockets.close()
    finally:
        sockets.forget()
    return Written(101)
