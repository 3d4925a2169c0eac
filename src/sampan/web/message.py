"""Request and Response: what passes between a client's transport and the server, over HTTP or in process.

Over HTTP bodies are bytes. In process a body may be an object tree (never mutated by the receiver),
so that tests spare the encoding.
"""

from asyncio import Future
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Tree = dict[str, Any]

CHUNK_BYTES = 128 * 1024
APART = "\n"  # between the values of a repeated header whose values may have commas


class BodyTooLarge(Exception):
    """The request's body is over the listener's bound."""


class BodyBroken(Exception):
    """The request's body did not come, or not in the form that its headers announce."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as far as TLS tells: the verified client certificate's names.

    `common_name` "" means that no certificate was shown. `certificate` is the certificate itself (DER), b"" in
    process; `uid` is the subject's attribute 1.3.6.1.4.1.57683.2.
    """

    common_name: str = ""
    organizations: tuple[str, ...] = ()
    address: str = ""
    certificate: bytes = b""
    uid: str = ""


@dataclass(slots=True)
class Request:
    """`path` is percent-decoded once; `query` keeps order and repeats; header names are lower case.

    `raw_path` and `raw_query` are what came on the wire, for those who pass them on; "" in process.
    `takes_trees` is set by in-process transports: a body, or what a stream yields, may then be a tree; never mutate it.
    `others_seconds` is what whoever serves it waits for others, the last time until `others_until` (monotonic).
    `stream` is the body where it is passed on as it comes; `body` is empty then.
    `wants_stream` asks a client's transport for the answer's body as it comes, whatever the request.
    `takes_pieces` is set by a listener: a long answer may then be `Pieces`. So is `gone`, done once the client has left.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Tree = b""
    peer: Peer = Peer()
    takes_trees: bool = False
    raw_path: str = ""
    raw_query: str = ""
    others_seconds: float = 0.0
    others_until: float = 0.0
    stream: AsyncIterator[bytes] | None = None
    wants_stream: bool = False
    takes_pieces: bool = False
    gone: Future[None] | None = None

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        for key, value in self.query:
            if key == name:
                return value
        return default

    def of(self, peer: Peer) -> "Request":
        """The same as somebody in this process asks it, who takes trees.

        What only a listener knows, `raw_path`, `raw_query`, `takes_pieces` and `gone`, is left out: this did not come by
        one. What was waited, `others_seconds` and `others_until`, begins anew, for another serves it.
        """
        made = Request(self.method, self.path, self.query, self.headers, self.body, peer, takes_trees=True)
        made.stream, made.wants_stream = self.stream, self.wants_stream
        return made


class Pieces(AsyncIterator[bytes]):
    """A long body of which others have parts too: it is never whole in memory. `length` is in bytes.

    `ended` is called once it is written, or won't be.
    """

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.length = sum(map(len, parts))
        self.ended: Callable[[], None] | None = None
        self._chunks = grouped(parts)

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nobody wants the rest."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended()


def grouped(parts: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The same bytes, small parts joined to chunks that are worth a write."""
    some: list[bytes] = []
    size = 0
    for part in parts:
        some.append(part)
        size += len(part)
        if size >= chunk_bytes:
            yield b"".join(some)
            some, size = [], 0
    if some:
        yield b"".join(some)


@dataclass(slots=True)
class Response:
    """`body` is bytes, a tree (in process only), `Pieces` or a stream of chunks (watch, log follow). A stream is
    let go as soon as the client is gone; with `patience_seconds`, a client that takes nothing for so long is cut off.

    `headers` may be a multi-dictionary, where a header is repeated (Set-Cookie). `hijack` is set for upgrades
    (exec, attach: the listener hands it the WebSocket; watches: `messages.Messages`, how the body goes over it; proxies:
    a `tunnel.Tunnel`, joined to the connection).
    `ended` is called when an upgrade is over.
    """

    status: int
    body: bytes | Tree | AsyncIterator[bytes | Tree] = b""
    headers: MutableMapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    hijack: Any = None
    ended: Callable[[], None] | None = None
