"""MeteredStore: any store, with the time of each operation counted, under the names that etcd's have upstream.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from sampan.kit.clock import Clock
from sampan.server.metrics import Metrics, Sample, Series
from sampan.store.protocol import Batch, Compare, Delete, Page, Put, Record, Result, Store, StoreError, Write

SECONDS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
ROOT = "/registry/"
SLOW_SECONDS = 2.0


class MeteredStore:
    """`inner` does the work."""

    def __init__(self, inner: Store, metrics: Metrics, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._failure = ""
        self._open: dict[object, float] = {}  # since when each write is under way
        self._series: dict[tuple[str, str], Series] = {}
        labels = ("operation", "group", "resource")
        self._seconds = metrics.histogram(
            "etcd_request_duration_seconds",
            "Etcd request latency in seconds for each operation and object type.",
            SECONDS,
            labels,
        )
        self._errors = metrics.counter(
            "etcd_request_errors_total", "Etcd failed request counts for each operation and object type.", labels
        )
        help = "Etcd request counts for each operation and object type."
        metrics.read("etcd_requests_total", help, self._requests, labels)

    @property
    def failure(self) -> str:
        """What is wrong with it, "" when nothing is."""
        oldest = min(self._open.values(), default=None)
        if oldest is not None and self._clock.monotonic() - oldest > SLOW_SECONDS:
            return "a write to the store does not end"
        return self._failure

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        key = compares[0].key if compares else writes[0].key if writes else ""
        place = (_operation(compares, writes), key[: key.find("/", key.find("/", len(ROOT)) + 1)])
        mark = object()
        started = self._open[mark] = self._clock.monotonic()
        try:
            result = await self._inner.txn(compares, writes)
        except StoreError:
            self._errors.add(place[0], *_type(place[1]))
            self._failure = "the last write to the store failed"
            raise
        finally:
            del self._open[mark]
        self._failure = ""
        self._observe(place, started)
        return result

    async def get(self, key: str, revision: int = 0) -> Record | None:
        started = self._clock.monotonic()
        record = await self._inner.get(key, revision)
        self._observe(("get", key[: key.find("/", key.find("/", len(ROOT)) + 1)]), started)
        return record

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        started = self._clock.monotonic()
        page = await self._inner.list(prefix, after=after, limit=limit, revision=revision)
        self._observe(("list", "/".join(prefix.split("/")[:4])), started)
        return page

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        return self._inner.watch(prefix, after_revision)

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    def size_bytes(self) -> int | None:
        return self._inner.size_bytes()

    async def revision(self) -> int:
        return await self._inner.revision()

    async def close(self) -> None:
        await self._inner.close()

    def _requests(self) -> Iterable[Sample]:
        """Also those that failed."""
        counted = {key: float(sum(series.counts)) for key, series in self._seconds.series.items()}
        for key, failed in self._errors.values.items():
            counted[key] = counted.get(key, 0) + failed
        return counted.items()

    def _observe(self, place: tuple[str, str], started: float) -> None:
        series = self._series.get(place)
        if series is None:
            series = self._series[place] = self._seconds.of(place[0], *_type(place[1]))
        series.observe(self._clock.monotonic() - started)


def _operation(compares: Sequence[Compare], writes: Sequence[Write]) -> str:
    if not writes or not compares:
        return "txn"
    if isinstance(writes[0], Delete):
        return "delete"
    return "create" if compares[0].mod_revision == 0 and isinstance(writes[0], Put) else "update"


def _type(place: str) -> tuple[str, str]:
    """/registry/apps/deployments is ("apps", "deployments")."""
    group, _, resource = place.removeprefix(ROOT).partition("/")
    return (("" if group == "core" else group), resource) if resource else ("", group)
