"""Watches over what pods keep on the node's disk: only of pods that have a limit, and the seldomer the longer it takes."""

import logging

from sampan.kit.clock import Clock
from sampan.node import storage_limits, victims
from sampan.node.evictions import Evictions
from sampan.node.observed import Termination
from sampan.node.pod_uses import PodUses
from sampan.node.pressure import EVICTED
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import RuntimeFailure

log = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
SHORTEST_SECONDS = 2.0
REST = 20
"""How many times as long as measuring takes nothing is measured."""


class StorageWatch:
    """Of one node."""

    def __init__(self, evictions: Evictions, uses: PodUses, clock: Clock) -> None:
        self._evictions, self._uses, self._clock = evictions, uses, clock
        self._limited: dict[str, bool] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                seconds = await self.look()
            except (OSError, RuntimeFailure) as error:
                log.warning("looking at what pods keep on the disk: %s", error)
                seconds = IDLE_SECONDS
            except Exception:
                log.exception("looking at what pods keep on the disk")
                seconds = IDLE_SECONDS
            await self._clock.pulse(seconds)

    async def look(self) -> float:
        """Evicts every pod that exceeds a limit; how long until it is looked at again."""
        records = self._limited_pods()
        if not records:
            return IDLE_SECONDS
        began = self._clock.monotonic()
        for record in records:
            (use,) = await self._uses.with_disk([record])
            found = storage_limits.excess(use)
            if found is not None and record.terminated is None:
                ended = Termination(EVICTED, found[1], victims.SOON_SECONDS)
                self._evictions.evict(record, found[0], ended)
        return max(SHORTEST_SECONDS, (self._clock.monotonic() - began) * REST)

    def _limited_pods(self) -> list[PodRecord]:
        candidates = self._evictions.candidates()
        known = self._limited
        self._limited = {
            r.uid: known[r.uid] if r.uid in known else storage_limits.has_limits(r.pod) for r in candidates
        }
        return [record for record in candidates if self._limited[record.uid] and record.states]
