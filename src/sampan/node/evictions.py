"""Evictions: ends a pod on this node because the node, or the pod's own limit, has no room for it."""

from collections import Counter
from collections.abc import Mapping

from sampan.meta import objects
from sampan.node import admission
from sampan.node.agent import Agent
from sampan.node.observed import Emit, Termination
from sampan.node.pressure import EVICTED
from sampan.node.record import PodRecord
from sampan.node.snapshot import TERMINAL


class Evictions:
    """Those of one node; `counts` them by the signal that was their cause."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.counts: Counter[str] = Counter()

    def candidates(self) -> list[PodRecord]:
        """The pods that run, or will, in the order of their making."""
        found = [record for record in self._agent.records.values() if _is_active(record)]
        return sorted(
            found, key=lambda record: (objects.metadata(record.pod).get("creationTimestamp") or "", record.uid)
        )

    def is_under_way(self) -> bool:
        """Whether an evicted pod still has containers."""
        evicted = (
            r for r in self._agent.records.values() if r.terminated is not None and r.terminated.reason == EVICTED
        )
        return any(not record.torn_down for record in evicted)

    def evict(self, record: PodRecord, signal: str, ended: Termination, marks: Mapping[str, str] | None = None) -> bool:
        """Begins to end the pod; False for one that is critical, which is spared. `marks` are the event's annotations."""
        if admission.is_critical(record.pod):
            return False
        annotations = tuple(sorted((marks or {}).items()))
        self._agent.recorder.emit(record.pod, Emit("Warning", EVICTED, ended.message, annotations=annotations))
        record.terminated = ended
        self.counts[signal] += 1
        self._agent.hands.images.let_go(record)
        self._agent.wake(record.uid)
        return True


def _is_active(record: PodRecord) -> bool:
    if record.rejected is not None or record.terminated is not None or record.is_gone:
        return False
    return not (objects.is_deleting(record.pod) or (record.pod.get("status") or {}).get("phase") in TERMINAL)
