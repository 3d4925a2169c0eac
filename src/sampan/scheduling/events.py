"""Events about pods, as the scheduler tells them; the same one again is counted, not repeated.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control import event_writing
from sampan.kinds.core.event import EVENT
from sampan.kit.clock import Clock
from sampan.meta import objects, timestamps
from sampan.meta.status import ApiError

MAX_REMEMBERED = 4096

log = logging.getLogger(__name__)

Told = tuple[str, str, str]  # pod uid, reason, message


class Recorder:
    """Writes events. A refused or lost event is logged and forgotten: events are best effort."""

    def __init__(self, client: Client, clock: Clock, component: str) -> None:
        self._client = client
        self._clock = clock
        self._last_nanos = 0
        self._component = component
        self._told: OrderedDict[Told, tuple[str, int]] = OrderedDict()  # the event's name and count

    async def tell(self, pod: Mapping[str, Any], kind: str, reason: str, message: str) -> None:
        """An event of kind Normal or Warning about the pod."""
        told = (objects.uid(pod), reason, message)
        try:
            if told in self._told and await self._count(pod, told):
                return
            event = self._event(pod, kind, reason, message)
            self._remember(told, await event_writing.create(self._client, event), 1)
        except (ApiError, TransportError) as error:
            log.debug("event %s about %s not written: %s", reason, objects.name(pod), error)

    async def _count(self, pod: Mapping[str, Any], told: Told) -> bool:
        name, count = self._told[told]
        patch = {"series": {"count": count + 1, "lastObservedTime": timestamps.format_micro(self._clock.now())}}
        try:
            await self._client.patch(EVENT, (objects.namespace(pod), name), patch)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        self._remember(told, name, count + 1)
        return True

    def _remember(self, told: Told, name: str, count: int) -> None:
        self._told[told] = (name, count)
        self._told.move_to_end(told)
        while len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)

    def _event(self, pod: Mapping[str, Any], kind: str, reason: str, message: str) -> dict[str, Any]:
        """In the new style, with eventTime alone: clients show it before those of the node of the same second."""
        now = self._clock.now()
        nanos = int(now * 1e9) + event_writing.shift(self._component)
        self._last_nanos = max(nanos, self._last_nanos + 1)
        namespace, name = objects.key(pod)
        about = {"kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name, "uid": objects.uid(pod)}
        about["resourceVersion"] = objects.resource_version(pod)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{self._last_nanos:x}", "namespace": namespace},
            "involvedObject": about,
            "type": kind,
            "reason": reason,
            "action": "Binding" if reason == "Scheduled" else "Scheduling",
            "message": message[:1024],
            "source": {},
            "reportingComponent": self._component,
            "reportingInstance": self._component,
            "eventTime": timestamps.format_micro(now),
            "firstTimestamp": None,
            "lastTimestamp": None,
        }
