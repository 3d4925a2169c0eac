"""Request and Response: what passes between a client's transport and the server, over HTTP or in process.

Over HTTP bodies are bytes. In process a body may be an object tree (never mutated by the receiver),
so that tests spare the encoding.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Tree = dict[str, Any]


class BodyTooLarge(Exception):
    """The request's body is over the listener's bound."""


class BodyBroken(Exception):
    """The request's body did not come, or not in the form that its headers announce."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as far as TLS tells: the verified client certificate's names.

    `common_name` "" means that no certificate was shown.
    """

    common_name: str = ""
    organizations: tuple[str, ...] = ()
    address: str = ""


@dataclass(slots=True)
class Request:
    """`path` is percent-decoded once; `query` keeps order and repeats; header names are lower case.

    `takes_trees` is set by in-process transports: a stream may then yield trees that are not to be mutated.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Tree = b""
    peer: Peer = Peer()
    takes_trees: bool = False

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next((value for key, value in self.query if key == name), default)


@dataclass(slots=True)
class Response:
    """`body` is bytes, a tree (in process only) or a stream of chunks (watch, log follow).

    `hijack` is set for upgrades (exec, attach): the listener hands it the WebSocket.
    """

    status: int
    body: bytes | Tree | AsyncIterator[bytes | Tree] = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    hijack: Any = None
