"""An agent with its plugins: what they change for its pods and its node, and what they are told of both."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from sampan.node import devices
from sampan.node.gate import Gate
from sampan.node.heartbeat import Heartbeat
from sampan.node.record import PodRecord

if TYPE_CHECKING:
    from sampan.node.plugins.plugins import Plugins

Object = dict[str, Any]


class Host(Protocol):
    """As much of an agent as is needed."""

    records: dict[str, PodRecord]
    heartbeat: Heartbeat
    gate: Gate

    def wake(self, uid: str, seconds: float = 0.0) -> None: ...


class Plugged:
    """Of one agent."""

    def __init__(self, plugins: "Plugins", host: Host) -> None:
        """Nothing is looked for before `open` and `start`."""
        self._plugins, self._host = plugins, host
        host.heartbeat.devices = plugins.amounts

    def open(self) -> None:
        """What pods have is known again."""
        self._plugins.open(self)

    def start(self) -> None:
        """Plugins are looked for."""
        self._plugins.start()

    def observe(self, record: PodRecord) -> None:
        """How the devices of the pod are."""
        record.devices = self._plugins.health(record.pod)

    def pods(self) -> Iterable[Object]:
        """Those that are still wanted."""
        return [record.pod for record in self._host.records.values() if not record.is_gone]

    def look_at(self, uid: str) -> None:
        """The pod's status may be another."""
        self._host.wake(uid)

    def offer(self) -> None:
        """The node has other devices to offer."""
        self._host.heartbeat.say_soon()

    def try_again(self) -> None:
        """Pods that could not have their devices may have them now."""
        for record in self._host.records.values():
            if any(failure.reason == devices.REASON for failure in record.failures.values()):
                record.try_again(devices.REASON)
                self._host.wake(record.uid)
