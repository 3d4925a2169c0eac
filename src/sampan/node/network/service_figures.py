"""ServiceFigures: how often and for how long rules for services were written, under the names that kube-proxy has.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from bisect import bisect_left

from sampan.node.exposition import COUNTER, GAUGE, Exposition

_BOUNDS = tuple(0.001 * 2**n for n in range(15))
_SYNC = "kubeproxy_sync_%sproxy_rules_duration_seconds"
_WHAT = {"": "to bring the rules up to date", "full_": "to write all rules", "partial_": "to write what has changed"}


class _Durations:
    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds


class ServiceFigures:
    """One node's."""

    def __init__(self) -> None:
        self._durations = {kind: _Durations() for kind in _WHAT}
        self._last = 0.0
        self._failures = 0

    def wrote(self, seconds: float, now: float, *, is_whole: bool) -> None:
        """It took so long, until now (unix seconds)."""
        self._durations[""].add(seconds)
        self._durations["full_" if is_whole else "partial_"].add(seconds)
        self._last = now

    def failed(self) -> None:
        """The kernel refused it."""
        self._failures += 1

    def tell(self, found: Exposition) -> None:
        """Adds all figures."""
        for kind, durations in self._durations.items():
            observed = _BOUNDS, durations.counts, durations.total
            found.add_histogram((_SYNC % kind, f"Seconds that it took {_WHAT[kind]} for services"), observed, {})
        last = ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", GAUGE, "When rules for services were last written")
        found.add(last, self._last)
        failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"
        found.add((failures, COUNTER, "How often the kernel refused rules for services"), self._failures)
