"""What is counted of the requests that controllers and the scheduler send.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections.abc import Callable

from sampan.client.transport import Quiet, Transport
from sampan.kinds.kind import Kind
from sampan.server.metrics import Metrics
from sampan.web.message import Request, Response

SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
HOST = "in-process"  # where the server is


class ClientMetrics:
    """`metered` makes a transport whose requests are counted here. `monotonic` is the clock."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        help = "Number of HTTP requests, partitioned by status code, method, and host."
        self.requests = metrics.counter("rest_client_requests_total", help, ("code", "method", "host"))
        help = "Request latency in seconds. Broken down by verb, and host."
        self.seconds = metrics.histogram("rest_client_request_duration_seconds", help, SECONDS, ("verb", "host"))

    def metered(self, transport: Transport) -> Transport:
        """The same transport, counted."""
        return _Metered(transport, self)


class _Metered:
    def __init__(self, inner: Transport, counts: ClientMetrics) -> None:
        self._inner, self._counts = inner, counts
        self._quiet = inner if isinstance(inner, Quiet) else None

    async def request(self, request: Request) -> Response:
        counts = self._counts
        started = counts.monotonic()
        response = await self._inner.request(request)
        counts.seconds.of(request.method, HOST).observe(counts.monotonic() - started)
        counts.requests.add(str(response.status), request.method, HOST)
        return response

    def nothing(self, kind: Kind) -> int:
        return self._quiet.nothing(kind) if self._quiet is not None else 0

    def sleep(self, kind: Kind, revision: int, ask: Callable[[], Request], wake: Callable[[], None]) -> bool:
        return self._quiet is not None and self._quiet.sleep(kind, revision, ask, wake)

    async def close(self) -> None:
        await self._inner.close()
