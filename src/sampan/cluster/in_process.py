"""The in-process transport: a client's requests handed straight to the server's `handle`.

No socket and no TLS, yet the same authentication, authorization and admission: the transport says
who its owner is, as a certificate would.
"""

from sampan.server.app import App
from sampan.web.message import Peer, Request, Response


class InProcessTransport:
    """One identity's door to a server in the same process."""

    def __init__(self, app: App, identity: Peer) -> None:
        self._app = app
        self._identity = identity

    async def request(self, request: Request) -> Response:
        """The response, whatever its status."""
        return await self._app.handle(request.of(self._identity))

    async def close(self) -> None:
        """Nothing to let go of: streams end with whoever reads them."""
