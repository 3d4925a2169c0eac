"""The way of a simulated cluster's scheduler to its extenders: to functions that are served where webhooks are.

cluster = Cluster(scheduling={..., "extenders": [{"urlPrefix": "https://extender.example", "filterVerb": "filter"}]})
cluster.sim.outbound.serve("https://extender.example/filter", lambda asked: {"NodeNames": asked["NodeNames"]})
"""

from urllib.parse import urlsplit

from sampan.client.transport import TransportError
from sampan.cluster.simulated_outbound import SimulatedOutbound
from sampan.scheduling.extending import Extender
from sampan.server.outbound import OutboundError, Target
from sampan.web.message import Request, Response

PORTS = {"http": 80, "https": 443}


class ExtenderDoor:
    """A Transport to one extender."""

    def __init__(self, outbound: SimulatedOutbound, extender: Extender) -> None:
        parts = urlsplit(extender.url)
        self._target = Target(parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80), parts.scheme)
        self._prefix = parts.path.rstrip("/")
        self._outbound, self._seconds = outbound, extender.seconds

    async def request(self, request: Request) -> Response:
        """What the function says that is served there. Raises TransportError."""
        asked = Request(request.method, self._prefix + request.path, headers=request.headers, body=request.body)
        try:
            return await self._outbound.send(self._target, asked, self._seconds)
        except OutboundError as error:
            raise TransportError(str(error)) from error

    async def close(self) -> None:
        """Nothing is open."""
