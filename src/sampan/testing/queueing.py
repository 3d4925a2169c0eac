"""Queueing: how long requests wait and take at pods that serve so many at once. Pure.

Each pod has slots; a request takes its service time in one of them, a quarter more or less. Below what the pods can do,
requests wait as Sakasegawa's formula says; beyond it a backlog grows, and what would wait longer than the patience fails.

https://doi.org/10.1007/BF02888411
"""

import math
from dataclasses import dataclass

SPREAD = 0.25
PATIENCE_SECONDS = 5.0
_CORNERS = (-0.9, -0.45, 0.0, 0.45, 0.9)
_BUSIEST = 0.95


@dataclass(frozen=True, slots=True)
class Server:
    """What a pod is like: requests at once, seconds of each, and which share of them is answered 500."""

    slots: int = 2
    seconds: float = 0.08
    fail_share: float = 0.0

    @property
    def per_second(self) -> float:
        return self.slots / self.seconds


@dataclass(frozen=True, slots=True)
class Passed:
    """What becomes of the requests of a while: `answered` (well or badly), `dropped` without an answer, and who still waits."""

    answered: float
    dropped: float
    backlog: float
    latency: "Latency"


@dataclass(frozen=True, slots=True)
class Latency:
    """How long requests take: all of them `queued` seconds, a share of them longer by an exponential wait, then the service."""

    seconds: float
    queued: float = 0.0
    waiting_share: float = 0.0
    wait_mean: float = 0.0

    def share_within(self, seconds: float) -> float:
        """Which share of the requests takes at most so long."""
        left = [seconds - self.queued - self.seconds * (1 + SPREAD * corner) for corner in _CORNERS]
        return sum(map(self._wait_within, left)) / len(left)

    def _wait_within(self, seconds: float) -> float:
        if seconds < 0:
            return 0.0
        if self.wait_mean <= 0:
            return 1.0
        return 1 - self.waiting_share * math.exp(-seconds / self.wait_mean)


def passed(arrived: float, backlog: float, seconds: float, servers: tuple[Server, ...]) -> Passed:
    """What becomes of so many that arrive evenly within so many seconds, after those that wait already."""
    if not servers:
        return Passed(0.0, arrived + backlog, 0.0, Latency(0.0))
    able = sum(server.per_second for server in servers)
    typical = sum(server.seconds * server.per_second for server in servers) / able
    answered = min(arrived + backlog, able * seconds)
    left = arrived + backlog - answered
    dropped = max(left - able * PATIENCE_SECONDS, 0.0)
    queued = (backlog + left - dropped) / 2 / able
    slots = sum(server.slots for server in servers) / len(servers)
    load = min(math.ceil(arrived / (able * seconds) * 100) / 100, _BUSIEST)  # few values, so that others may remember
    waiting = load ** (math.sqrt(2 * (slots + 1)) - 1)
    mean = typical / (2 * slots * (1 - load))
    return Passed(answered, dropped, left - dropped, Latency(typical, queued, waiting, mean))
