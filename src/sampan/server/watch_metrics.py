"""What is counted of watches: the events that are sent, their size, and watchers that fall behind.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from sampan.server.metrics import Counter, Metrics, Series
from sampan.server.request_info import RequestInfo

SIZES = tuple(float(1024 * 2**n) for n in range(8))
SMALL_BYTES = SIZES[0]


class Sent:
    """The events of one resource. Trees, which only go to clients in this process, have no size."""

    __slots__ = ("_key", "_metrics", "events", "sizes")

    def __init__(self, metrics: "WatchMetrics", info: RequestInfo) -> None:
        self._metrics, self._key = metrics, (info.group, info.resource)
        self.events = 0
        self.sizes: Series = metrics.sizes.of(info.group, info.version, info.resource)

    def count(self, frames: Sequence[bytes | Any]) -> None:
        """These go to a watcher."""
        self.events += len(frames)
        if not frames or not isinstance(frames[0], bytes):
            return
        series = self.sizes
        for frame in frames:
            size = len(frame)
            series.sum += size
            series.counts[0 if size <= SMALL_BYTES else bisect_left(SIZES, size)] += 1

    def one(self, frame: bytes | Any) -> bytes | Any:
        """The same for one, which is handed back."""
        self.count((frame,))
        return frame

    def starts(self, events: int) -> None:
        """A watcher is first to see so many events, of what there is or was since."""
        if events:
            self._metrics.initial.add(*self._key, by=events)

    def ended_behind(self) -> None:
        """A watcher is sent away that did not take its events."""
        self._metrics.terminated.add(*self._key)


class WatchMetrics:
    """The counts of each group, version and resource that is watched."""

    def __init__(self, metrics: Metrics) -> None:
        self._sent: dict[tuple[str, str, str], Sent] = {}
        labels = ("group", "version", "resource")
        help = "Number of events sent in watch clients"
        metrics.read(
            "apiserver_watch_events_total", help, lambda: [(k, s.events) for k, s in self._sent.items()], labels
        )
        self.sizes = metrics.histogram(
            "apiserver_watch_events_sizes", "Watch event size distribution in bytes", SIZES, labels
        )
        help = "Counter of init events processed in watch cache broken by resource type."
        self.initial: Counter = metrics.counter("apiserver_init_events_total", help, ("group", "resource"))
        help = "Counter of watchers closed due to unresponsiveness broken by resource type."
        self.terminated: Counter = metrics.counter("apiserver_terminated_watchers_total", help, ("group", "resource"))

    def of(self, info: RequestInfo) -> Sent:
        """What is counted of this resource."""
        key = (info.group, info.version, info.resource)
        sent = self._sent.get(key)
        if sent is None:
            sent = self._sent[key] = Sent(self, info)
        return sent
