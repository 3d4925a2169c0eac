"""Events about pods, as the scheduler tells them; the same one again is counted, not repeated.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control import event_limits, event_writing
from sampan.kinds.core.event import EVENT
from sampan.kit.clock import Clock
from sampan.meta import objects, timestamps
from sampan.meta.status import ApiError

MAX_REMEMBERED = 4096
SERIES_SECONDS = 360.0
ACTIONS = {
    "Scheduled": "Binding",
    "FailedScheduling": "Scheduling",
    "Preempted": "Preempting",
    "BindingConditionsPending": "Scheduling",
}

log = logging.getLogger(__name__)

Object = Mapping[str, Any]
Told = tuple[str, str, str]  # pod uid, reason, message


@dataclass(slots=True)
class Said:
    """The event's name, how often it was said, when that was last written, and when it was said last."""

    name: str
    count: int
    written: float
    last: float


class Recorder:
    """Writes events. A refused or lost event is logged and forgotten: events are best effort."""

    def __init__(self, client: Client, clock: Clock, component: str) -> None:
        self._client = client
        self._clock = clock
        self._last_nanos = 0
        self._component = component
        self._told: OrderedDict[Told, Said] = OrderedDict()

    def continue_from(self, other: "Recorder") -> None:
        """Knows what another one has told."""
        for told, said in other._told.items():
            self._remember(told, Said(said.name, said.count, said.written, said.last))

    async def tell(self, pod: Object, kind: str, reason: str, message: str, *, related: Object | None = None) -> None:
        """An event of kind Normal or Warning about the pod, to which another one may be related."""
        told = (objects.uid(pod), reason, message)
        try:
            if told in self._told and await self._count(pod, told):
                return
            event = self._event(pod, kind, reason, message)
            if related is not None:
                event["related"] = _reference(related)
            name, now = await event_writing.create(self._client, event), self._clock.now()
            self._remember(told, Said(name, 1, now, now))
        except (ApiError, TransportError) as error:
            log.debug("event %s about %s not written: %s", reason, objects.name(pod), error)

    async def _count(self, pod: Object, told: Told) -> bool:
        """Counts it in the event, from the third time on only now and then. Whether there is an event to count in."""
        said, now = self._told[told], self._clock.now()
        said.count += 1
        said.last = now
        self._told.move_to_end(told)
        if said.count > 2 and now < said.written + SERIES_SECONDS:
            return True
        patch = {"series": {"count": said.count, "lastObservedTime": timestamps.format_micro(now)}}
        try:
            await self._client.patch(EVENT, (objects.namespace(pod), said.name), patch)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        said.written = now
        return True

    def _remember(self, told: Told, said: Said) -> None:
        self._told[told] = said
        self._told.move_to_end(told)
        while len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        long_ago = self._clock.now() - event_limits.FORGOTTEN_SECONDS
        event_limits.forget(self._told, lambda known: known.last < long_ago)

    def _event(self, pod: Object, kind: str, reason: str, message: str) -> dict[str, Any]:
        """In the new style, with eventTime alone: clients show it before those of the node of the same second."""
        now = self._clock.now()
        nanos = int(now * 1e9) + event_writing.shift(self._component)
        self._last_nanos = max(nanos, self._last_nanos + 1)
        namespace, name = objects.key(pod)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{self._last_nanos:x}", "namespace": namespace},
            "involvedObject": _reference(pod),
            "type": kind,
            "reason": reason,
            "action": ACTIONS[reason],
            "message": message[:1024],
            "source": {},
            "reportingComponent": self._component,
            "reportingInstance": self._component,
            "eventTime": timestamps.format_micro(now),
            "firstTimestamp": None,
            "lastTimestamp": None,
        }


def _reference(pod: Object) -> dict[str, Any]:
    namespace, name = objects.key(pod)
    about = {"kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name, "uid": objects.uid(pod)}
    return about | {"resourceVersion": objects.resource_version(pod)}
