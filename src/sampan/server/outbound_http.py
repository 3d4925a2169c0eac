"""The way out over HTTP/1.1 with aiohttp: one pool of connections for each target.

https://kubernetes.io/docs/concepts/security/api-server-bypass-risks/
"""

import asyncio
import errno
import socket
import ssl
import string
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from sampan.server.outbound import (
    ANSWER_BYTES,
    NOT_ALLOWED,
    OutboundError,
    Target,
    escaped,
    is_proxyable,
    join_host_port,
)
from sampan.web.message import Request, Response
from sampan.web.tunnel import Tunnel

CONNECT_SECONDS = 30.0
HEAD_SECONDS = 600.0
IDLE_SECONDS = 30.0
MAX_TARGETS = 64
MAX_HEADER_BYTES = 64 * 1024
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_NOT_COPIED = ("transfer-encoding", "content-length")


@dataclass(slots=True)
class _Pool:
    """The connections to one target, and how many requests use them now."""

    session: aiohttp.ClientSession
    tls: ssl.SSLContext | None
    users: int = 0


class HttpOutbound:
    """`own` are (address, port) pairs of the server itself, which nobody may make it call."""

    is_simulated = False

    def __init__(self, own: Collection[tuple[str, int]] = ()) -> None:
        self._own = frozenset(own)
        self._pools: OrderedDict[Target, _Pool] = OrderedDict()

    def load_cert_chain(self, certificate: str, key: str) -> None:
        """Where we show this certificate, new connections show what is in its files now. Raises OSError."""
        for target, pool in self._pools.items():
            if pool.tls is not None and (target.certificate, target.key) == (certificate, key):
                pool.tls.load_cert_chain(certificate, key)

    async def send(
        self, target: Target, request: Request, timeout_seconds: float, limit_bytes: int = ANSWER_BYTES
    ) -> Response:
        """The whole answer, whatever its status. Raises OutboundError."""
        try:
            async with asyncio.timeout(timeout_seconds), self._pool(target) as pool:
                answer = await self._request(pool, target, request)
                try:
                    body = await _whole(answer, limit_bytes)
                finally:
                    answer.release()
        except TimeoutError as error:
            raise OutboundError("context deadline exceeded", timed_out=True) from error
        return _response(answer, body)

    async def open(self, target: Target, request: Request) -> Response:
        """The answer with its body as a stream, or a tunnel. Raises OutboundError."""
        hold = self._pool(target)
        pool = await hold.__aenter__()
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                answer = await self._request(pool, target, request)
        except TimeoutError as error:
            await hold.__aexit__(None, None, None)
            raise OutboundError("timeout awaiting response headers", timed_out=True) from error
        except BaseException:
            await hold.__aexit__(None, None, None)
            raise
        if answer.status == 101:
            return _upgraded(answer, hold)
        return _response(answer, _Stream(answer, hold))

    async def close(self) -> None:
        """Ends all connections."""
        while self._pools:
            await self._pools.popitem()[1].session.close()

    async def _request(self, pool: _Pool, target: Target, request: Request) -> aiohttp.ClientResponse:
        """Tries the target's addresses one after the other until one can be reached."""
        failure: OutboundError | None = None
        for address in await self._addresses(target):
            try:
                return await _once(pool.session, target, address, request)
            except aiohttp.ClientConnectorDNSError as error:
                raise OutboundError(_dial(address, target.port, "no such host")) from error
            except aiohttp.ClientConnectorCertificateError as error:
                raise OutboundError(_untrusted(error.certificate_error, target)) from error
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ssl.SSLError) as error:
                failure = OutboundError(_unreached(address, target, error))
                _let_go(error)
            except aiohttp.ServerDisconnectedError as error:
                raise OutboundError("EOF") from error
            except (aiohttp.ClientError, ValueError, OSError) as error:
                raise OutboundError(_broken(error)) from error
        assert failure is not None  # there is at least one address
        try:
            raise failure
        finally:
            del failure  # which knows the call that knows it: no circle is left

    async def _addresses(self, target: Target) -> list[str]:
        """The addresses that may be dialled, resolved once. Raises OutboundError when there is none."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise OutboundError(f"dial tcp: lookup {target.host}: no such host") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if self._may_dial(address, target)]
        if not allowed:
            raise OutboundError(NOT_ALLOWED)
        return allowed

    def _may_dial(self, address: str, target: Target) -> bool:
        if (address.removeprefix("::ffff:"), target.port) in self._own:
            return False
        return target.local or is_proxyable(address)

    @asynccontextmanager
    async def _pool(self, target: Target) -> AsyncIterator[_Pool]:
        pool = self._pools.get(target)
        if pool is None:
            tls = tls_context(target) if target.scheme == "https" else None
            pool = self._pools[target] = _Pool(_session(tls), tls)
        self._pools.move_to_end(target)
        pool.users += 1
        try:
            yield pool
        finally:
            pool.users -= 1
            await self._trim()

    async def _trim(self) -> None:
        """Lets go of the targets that were not used for longest."""
        surplus = len(self._pools) - MAX_TARGETS
        for target in [t for t, pool in self._pools.items() if not pool.users][: max(surplus, 0)]:
            await self._pools.pop(target).session.close()


async def _once(
    session: aiohttp.ClientSession, target: Target, address: str, request: Request
) -> aiohttp.ClientResponse:
    query = request.raw_query or urlencode(request.query)
    if not query.isascii():
        query = quote(query, safe=string.punctuation, errors="surrogateescape")
    host = join_host_port(address, target.port)
    url = URL(f"{target.scheme}://{host}{escaped(request.path)}{'?' if query else ''}{query}", encoded=True)
    headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _NOT_COPIED)
    if "host" not in headers:
        headers["Host"] = _host_header(target)
    if request.stream is not None and "content-length" in request.headers:
        headers["Content-Length"] = request.headers["content-length"]
    body = request.body if isinstance(request.body, bytes) else orjson.dumps(request.body)
    return await session.request(
        request.method,
        url,
        headers=headers,
        data=request.stream or body or None,
        allow_redirects=False,
        skip_auto_headers=_AUTOMATIC,
        server_hostname=target.name if target.scheme == "https" else None,
    )


def _session(tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls or False, limit=0, keepalive_timeout=IDLE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


def tls_context(target: Target) -> ssl.SSLContext:
    """Raises OutboundError when the authority or our own certificate can't be read."""
    try:
        if target.ca is None:
            context = ssl.create_default_context()
        else:
            context = ssl.create_default_context(cadata=target.ca.decode("ascii"))
        if target.certificate:
            context.load_cert_chain(target.certificate, target.key)
    except (OSError, ValueError) as error:
        raise OutboundError(f"unable to load root certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _host_header(target: Target) -> str:
    default = 443 if target.scheme == "https" else 80
    if target.port == default:
        return f"[{target.name}]" if ":" in target.name else target.name
    return join_host_port(target.name, target.port)


async def _whole(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body, as long as it is within the bound."""
    body = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > limit_bytes:
                answer.close()
                raise OutboundError(f"the answer is longer than {limit_bytes} bytes")
    except (aiohttp.ClientError, OSError) as error:
        raise OutboundError("unexpected EOF") from error
    return bytes(body)


class _Stream:
    """The body as it comes. What breaks off is broken off for the reader too; `aclose` is due even when unread."""

    def __init__(self, answer: aiohttp.ClientResponse, hold: AbstractAsyncContextManager[_Pool]) -> None:
        self._answer = answer
        self._hold: AbstractAsyncContextManager[_Pool] | None = hold

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._answer.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            await self.aclose()
            raise ConnectionResetError("the answer broke off") from error
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Lets go of the connection; one whose answer was read to its end is used again."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()
        await hold.__aexit__(None, None, None)


def _response(answer: aiohttp.ClientResponse, body: bytes | AsyncIterator[bytes]) -> Response:
    headers = CIMultiDict(answer.headers)
    return Response(answer.status, body, headers, headers.get("Content-Type", ""))


def _upgraded(answer: aiohttp.ClientResponse, hold: AbstractAsyncContextManager[_Pool]) -> Response:
    connection = answer.connection
    assert connection is not None  # a 101 keeps its connection

    async def release() -> None:
        answer.close()
        await hold.__aexit__(None, None, None)

    tunnel = Tunnel(connection.protocol, connection.transport, release)
    return Response(101, b"", CIMultiDict(answer.headers), hijack=tunnel)


def _let_go(error: BaseException | None) -> None:
    """Of its frames, which know it: a circle, and from Python 3.13 on with all who wait for them."""
    while error is not None:
        error.__traceback__, error = None, error.__cause__ or error.__context__


def _unreached(address: str, target: Target, error: Exception) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _dial(address, target.port, "i/o timeout")
    if isinstance(error, ssl.SSLError | aiohttp.ClientConnectorSSLError):
        return f"tls: {getattr(error, 'reason', None) or error}"
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return _dial(address, target.port, f"connect: {_ERRNO_TEXTS.get(number or 0, 'connection failed')}")


_ERRNO_TEXTS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ETIMEDOUT: "connection timed out",
    errno.ECONNRESET: "connection reset by peer",
    errno.EMFILE: "too many open files",
}


def _dial(address: str, port: int, what: str) -> str:
    return f"dial tcp {join_host_port(address, port)}: {what}"


def _broken(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ECONNRESET:
        return "connection reset by peer"
    return f"malformed HTTP response: {error}"


def _untrusted(error: Exception, target: Target) -> str:
    """What is wrong with a certificate, as Go says it."""
    text = getattr(error, "verify_message", "") or str(error)
    if "expired" in text or "not yet valid" in text:
        said = "certificate has expired or is not yet valid"
    elif "mismatch" in text:
        said = f"certificate is not valid for {target.name}"
    else:
        said = "certificate signed by unknown authority"
    return f"tls: failed to verify certificate: x509: {said}"
