"""Rows: what is measured, beside what the reference does and what we want to reach.

The reference is upstream Kubernetes 1.36 with etcd 3.5 on one machine with two cores. `bare_then` is what a bare
aiohttp server reached on that machine with the same kind of client: other machines are slower or faster, so a row
that has one is judged by its ratio to the bare server of the same run, all others by their figures.
"""

from dataclasses import dataclass

BARE_REQUESTS = 16_000.0  # small answers a second


@dataclass(frozen=True, slots=True)
class Row:
    """`target` is in `unit`; `is_less`: less is better; `no_worse`: the bare server's figure is the target."""

    key: str
    text: str
    unit: str
    reference: str = ""
    target: float = 0
    bare_then: float = 0
    is_less: bool = False
    no_worse: bool = False

    @property
    def wanted_ratio(self) -> float:
        """What the target is of a bare server; 0 where that tells nothing."""
        return self.target / self.bare_then if self.bare_then else 0


@dataclass(slots=True)
class Figure:
    """What was measured. `bare` and `bare_cpu_ms` are the bare server's of the same run; CPU is for each operation."""

    key: str
    value: float
    bare: float = 0
    cpu_ms: float = 0
    bare_cpu_ms: float = 0
    pss_mb: float = 0
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.value / self.bare if self.bare else 0


ROWS = (
    Row("start", "whole cluster with a Ready node, from nothing", "s", "2.55 s (API server alone)", 1.0, is_less=True),
    Row("start-simulated", "the same with a simulated node", "s", "", 1.0, is_less=True),
    Row("idle-memory", "memory at idle, all that `up` starts (PSS)", "MB", "651 MB", 150, is_less=True),
    Row("idle-memory-gateway", "   the same with a Gateway, which brings Envoy", "MB", "", 150, is_less=True),
    Row("idle-cpu", "CPU at idle, all that `up` starts", "% of a core", "3 %", 1.0, is_less=True),
    Row("get", "GET one pod, 16 connections", "/s", "3,645/s", 3 * 3645, BARE_REQUESTS),
    Row("create", "CREATE pods, 32 connections", "/s", "1,175/s", 1.5 * 1175, BARE_REQUESTS),
    Row("create-p99", "   its slowest hundredth", "ms", "80 ms", is_less=True),
    Row("list-2000", "LIST 2,000 pods", "MB/s", "52 MB/s, 107 ms", 5 * 52, 317),
    Row("list-none", "LIST with a selector that matches none of 2,000", "ms", "40 ms", 8, is_less=True),
    Row("patch", "PATCH of a pod's status (merge), 32 connections", "/s", "980/s", 1.5 * 980, BARE_REQUESTS),
    Row("apply", "server-side apply of a ConfigMap (create), 16 connections", "/s", "2,208/s", 2208, BARE_REQUESTS),
    Row("watch-50", "50 watchers, 500 writes", "events/s", "34,500/s", 2 * 34_500, 122_000),
    Row("watch-50-p99", "   its slowest hundredth", "ms", "38 ms", is_less=True),
    Row("watch-1000", "1,000 watchers, 200 writes", "events/s", "68,300/s", 68_300, 93_000),
    Row("watch-1000-p99", "   its slowest hundredth", "ms", "280 ms", is_less=True, no_worse=True),
    Row("memory-after", "memory of the control plane after these (PSS)", "MB", "1,650-2,300 MB", 550, is_less=True),
    Row("deployment", "a Deployment of 1,000 replicas: pods created", "/s", "874/s", 874),
    Row("schedule-1000", "3,000 pods onto 1,000 nodes", "/s", "264/s", 4 * 264, BARE_REQUESTS),
    Row("schedule-5000", "3,000 pods onto 5,000 nodes", "/s", "252/s", 2 * 252, BARE_REQUESTS),
    Row("pod", "one real pod, create to Running", "ms", "195 ms", 100, is_less=True),
    Row("pods-100", "100 real pods at once", "/s", "5.4/s", 20),
    Row("pods-500", "500 real pods at once", "s", "", 25, is_less=True),
    Row("inside-first", "inside a test: the first start of a process", "ms", "", 50, is_less=True),
    Row("inside-start", "   each further start", "ms", "", 50, is_less=True),
    Row("inside-fork", "   a fork", "ms", "", 5, is_less=True),
    Row("inside-day", "   a virtual day of a CronJob every 5 minutes: jobs", "/s", "", 288 / 2, BARE_REQUESTS),
    Row("list-20000", "LIST 20,000 pods", "MB/s", "42 MB/s, 1,341 ms", 5 * 42, 317),
    Row("list-50000", "LIST 50,000 pods", "MB/s"),
    Row("list-50000-pages", "   the same in pages of 500", "MB/s"),
    Row("restart", "restart with 100,000 objects (70,000 pods), to /readyz", "s", is_less=True),
    Row("memory-1000", "memory of 1,000 objects, most of them pods (PSS)", "MB", is_less=True),
    Row("custom-create", "CREATE 10,000 custom resources, 32 connections", "/s", "", 0, BARE_REQUESTS),
    Row("custom-list", "LIST 10,000 custom resources", "MB/s", "", 0, 317),
    Row("nodes-start", "5,000 nodes with 50,000 pods: restart, to /readyz", "s", is_less=True),
    Row("nodes-memory", "   memory of the control plane (PSS)", "MB", is_less=True),
    Row("nodes-list", "   LIST of one node's pods", "ms", is_less=True),
    Row("nodes-schedule", "   1,000 more pods placed", "/s"),
    Row("restricted-get", "GET as a user with 500 role bindings, audited", "/s", "", 0, BARE_REQUESTS),
    Row("restricted-create", "CREATE as that user, audited, asking a webhook", "/s", "", 0, BARE_REQUESTS),
)  # fmt: skip

BY_KEY = {row.key: row for row in ROWS}


def is_reached(row: Row, figure: Figure) -> bool | None:
    """Whether the target is met; None where there is none."""
    if row.no_worse:
        return figure.value <= figure.bare
    if not row.target:
        return None
    if row.is_less:
        return figure.value <= row.target
    if row.wanted_ratio and figure.bare:
        return figure.ratio >= row.wanted_ratio
    return figure.value >= row.target
