"""The trading day of examples/trading-day in virtual time: the same manifests, driver and checks as with real containers.

Nodes and pods are simulated, and orders modelled: pods serve as many as their environment says, and a bad version fails as
often as it says.
"""

import asyncio
import math
from pathlib import Path

from sampan.cluster.trading_day import curve, manifests, play, staging
from sampan.cluster.trading_day.curve import Day
from sampan.cluster.trading_day.figures import Record, Taken
from sampan.cluster.trading_day.manifests import NAME, NAMESPACE, Object
from sampan.cluster.trading_day.staging import Stage
from sampan.testing.cluster import Cluster
from sampan.testing.gateway_traffic import GatewayTraffic
from sampan.testing.queueing import Server

NODES = 2
LATE_SECONDS = 1.0
BEHAVIOUR = {"pull": "1s..2s", "start": "1s..3s", "stop": "3s..4s"}
_DAY_SECONDS = 86400.0


def virtual_day(
    folder: Path, *, seconds: float = curve.FULL_SECONDS, seed: int = 0, is_scheduled: bool = True
) -> Record:
    """Plays a day of that length; returns what was seen. Without the schedule there is only the autoscaler."""
    listed = manifests.read(folder)
    if not is_scheduled:
        listed = manifests.at_first(listed)
    with Cluster(seed=seed, nodes=NODES, layers=staging.LAYERS) as cluster:
        cluster.behave(NAME, BEHAVIOUR)
        stage, orders = Stage(cluster.client, cluster.sim.clock, listed), Orders(cluster)
        cluster.run(staging.set_up(stage))
        day = _genuine(cluster.sim.clock.now()) if seconds == curve.FULL_SECONDS else None
        if day is not None:
            cluster.advance(day.begins - cluster.sim.clock.now())
        record = Record(day or curve.day(cluster.sim.clock.now(), seconds), per_pod=manifests.per_pod(listed))
        playing = play.play(stage, orders, record)
        done = asyncio.ensure_future(playing, loop=cluster.sim.loop)
        cluster.run_until(done.done, within=2 * seconds + 600)
        done.result()
    return record


class Orders:
    """Traffic as a day's driver wants it. What is not whole yet is told the next time."""

    def __init__(self, cluster: Cluster) -> None:
        self._traffic = GatewayTraffic(cluster, (NAMESPACE, NAME), server, manifests.version)
        self._left: dict[str, float] = {}

    def offer(self, per_second: float) -> None:
        """See Traffic."""
        self._traffic.offer(per_second)

    def take(self) -> Taken:
        """See Traffic."""
        found = self._traffic.taken()
        failed: dict[str, float] = {}
        for (version, code), count in found.ends.items():
            if not 200 <= code < 300:
                failed[version] = failed.get(version, 0.0) + count
        answered = self._whole("answered", found.answered)
        by_version = {version: self._whole(f"failed {version}", count) for version, count in sorted(failed.items())}
        late = self._whole("late", found.slower_than(LATE_SECONDS))
        return Taken(answered, by_version, late, found.quantile(0.5), found.quantile(0.99))

    def _whole(self, name: str, count: float) -> int:
        left, whole = math.modf(count + self._left.get(name, 0.0))
        self._left[name] = left
        return int(whole)


def server(pod: Object) -> Server:
    """What a pod is like, as its environment says."""
    entries = pod["spec"]["containers"][0].get("env") or ()
    told = {entry["name"]: entry["value"] for entry in entries if "value" in entry}
    return Server(int(told["SLOTS"]), float(told["SERVICE_SECONDS"]), float(told["FAIL_SHARE"]))


def _genuine(now: float) -> Day:
    """The exchange's next day."""
    midnight = math.floor((now + curve.ZONE_SECONDS) / _DAY_SECONDS) * _DAY_SECONDS - curve.ZONE_SECONDS
    mornings = (midnight + days * _DAY_SECONDS + curve.FIRST_MINUTE * 60 for days in range(8))
    return next(day for begins in mornings if begins >= now and (day := Day(begins)).is_genuine)
