"""Transport: the one way a request reaches an API server, in process or over HTTP.

A response's stream yields chunks: bytes (parts of lines, as they came) or whole trees (in process).
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from sampan.kinds.kind import Kind
from sampan.web.message import Request, Response


class TransportError(Exception):
    """The server could not be reached or the connection broke; nothing is known about the request's effect."""


class Transport(Protocol):
    """What carries requests. Implemented by HTTP and by the in-process server."""

    async def request(self, request: Request) -> Response:
        """The response, whatever its status. Raises TransportError."""
        ...

    async def close(self) -> None:
        """Lets go of connections; streams end."""
        ...


@runtime_checkable
class Quiet(Protocol):
    """A transport that knows when there is something to see, so that nobody lists or watches before."""

    def nothing(self, kind: Kind) -> int:
        """The revision at which there is nothing of the kind; 0 where there is something, or that must be asked."""
        ...

    def sleep(self, kind: Kind, revision: int, ask: Callable[[], Request], wake: Callable[[], None]) -> bool:
        """Calls `wake` once when something of the kind is younger than that; False where a watch is needed at once.

        `ask` makes the request of that watch.
        """
        ...
