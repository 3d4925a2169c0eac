"""Transport: the one way a request reaches an API server, in process or over HTTP.

A response's stream yields chunks: bytes (parts of lines, as they came) or whole trees (in process).
"""

from typing import Protocol

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
