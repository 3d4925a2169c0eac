"""Joining: what a node's CSI volumes and its agent tell each other."""

from collections.abc import Callable
from typing import Any, Protocol

from sampan.kit.tasks import Tasks
from sampan.node.csi.volumes import CsiVolumes
from sampan.node.observed import VOLUMES

Object = dict[str, Any]


class Agent(Protocol):
    """As much of the agent as there is to know."""

    records: dict[str, Any]

    def wake(self, uid: str, seconds: float = 0.0) -> None: ...


class Joined:
    """`look` is shown each version of the Node, and shows it to the next one."""

    def __init__(self, csi: CsiVolumes, agent: Agent, tasks: Tasks, then: Callable[[Object], None]) -> None:
        self._csi, self._agent, self._tasks, self._then = csi, agent, tasks, then
        self._attached: list[str] = []

    def look(self, node: Object) -> None:
        """Pods that wait are looked at when something is attached; what the Node says is in use is put right."""
        status = node.get("status") or {}
        attached = [each.get("name", "") for each in status.get("volumesAttached") or ()]
        if attached != self._attached:
            self._attached = attached
            for record in self._agent.records.values():
                if record.volumes is None and VOLUMES in record.failures:
                    record.failures.pop(VOLUMES)
                    self._agent.wake(record.uid)
        if sorted(status.get("volumesInUse") or ()) != self._csi.in_use():
            self._tasks.spawn(self._csi.tell(anew=True), "volumes in use", critical=False)
        self._then(node)
