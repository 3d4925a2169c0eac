"""Events of the node: about pods, containers and itself; repeats are counted in one object.

Sending never delays a pod: events queue, and for a while give way to pods that start; a full queue drops the oldest,
and a refusal is only logged.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control import event_limits, event_writing
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects, timestamps
from sampan.meta.status import ApiError
from sampan.node.observed import Emit

log = logging.getLogger(__name__)

COMPONENT = "kubelet"
QUEUED = 2000
REMEMBERED = 4096
QUIET_SECONDS = 10.0
"""The same event again within this time is only counted, and sent with the next one."""
CROWDED_SECONDS = 5.0
"""How long events wait at most for pods that start."""
LOOK_SECONDS = 0.1

Object = dict[str, Any]


class Recorder:
    """Events to the API. `kind` is Event's; `node` the node's name."""

    def __init__(self, client: Client, kind: Kind, node: str, clock: Clock) -> None:
        self._client, self._kind, self._node = client, kind, node
        self._clock, self._last_nanos = clock, 0
        self._queue: deque[Object] = deque(maxlen=QUEUED)
        self._wake = asyncio.Event()
        self._known: OrderedDict[tuple[str, ...], Object] = OrderedDict()
        self._counts: dict[tuple[str, ...], int] = {}
        self._limits = event_limits.Limits()
        self.is_crowded: Callable[[], bool] = _never
        """Whether pods wait for each other to be started."""

    def start(self, tasks: Tasks) -> None:
        """Begins to send."""
        tasks.spawn(self._send_for_ever(), "events")

    def emit(self, obj: Object, event: Emit) -> None:
        """Queues an event about a pod or the node."""
        now = self._clock.now()
        alike = (objects.uid(obj), event.type, event.reason)
        told = self._limits.told_as(alike, event.message, self._clock.monotonic())
        key = (*alike, told, event.field_path)
        if not told:
            event = replace(event, message=event_limits.COMBINED + event.message)
        event_object = self._new(obj, event, now)
        if (known := self._known.get(key)) is not None:
            count = self._counts[key] = self._counts.get(key, int(known["count"])) + 1
            if now - timestamps.parse(known["lastTimestamp"]) < QUIET_SECONDS:
                return
            said = {"count": count, "lastTimestamp": timestamps.format(now), "message": event_object["message"]}
            event_object = {**known, **said}
        self._known[key] = event_object
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._counts.pop(self._known.popitem(last=False)[0], None)
        long_ago = timestamps.format(now - event_limits.FORGOTTEN_SECONDS)
        for gone in event_limits.forget(self._known, lambda event: str(event["lastTimestamp"]) < long_ago):
            self._counts.pop(gone, None)
        self._queue.append(event_object)
        self._wake.set()

    def forget(self, uid: str) -> None:
        """The object is gone, and nothing is told of it again."""
        for key in [key for key in self._known if key[0] == uid]:
            del self._known[key]
            self._counts.pop(key, None)

    def _new(self, obj: Object, event: Emit, now: float) -> Object:
        namespace = objects.namespace(obj) or "default"
        about = {
            "kind": obj.get("kind", "Pod"),
            "namespace": objects.namespace(obj),
            "name": objects.name(obj),
            "uid": objects.uid(obj),
            "apiVersion": obj.get("apiVersion", "v1"),
            "resourceVersion": objects.resource_version(obj),
            "fieldPath": event.field_path,
        }
        marks = {"annotations": dict(event.annotations)} if event.annotations else {}
        when = timestamps.format(now)
        nanos = int(now * 1e9) + event_writing.shift(self._node)
        self._last_nanos = max(nanos, self._last_nanos + 1)  # names in the order of the events
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{objects.name(obj)}.{self._last_nanos:x}", "namespace": namespace, **marks},
            "involvedObject": {key: value for key, value in about.items() if value},
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1024],
            "source": {"component": COMPONENT, "host": self._node},
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
            "eventTime": None,
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
        }

    async def _send_for_ever(self) -> None:
        while True:
            await self._give_way()
            while self._queue:
                event = self._queue.popleft()
                try:
                    await self._send(event)
                except Exception:  # our fault, but those that come after it are to be told
                    log.exception("event %s is lost", event["reason"])
            self._wake.clear()
            await self._wake.wait()

    async def _give_way(self) -> None:
        until = self._clock.monotonic() + CROWDED_SECONDS
        while self.is_crowded() and self._clock.monotonic() < until:
            await self._clock.sleep(LOOK_SECONDS)

    async def _send(self, event: Object) -> None:
        key = objects.key(event)
        try:
            if event["count"] == 1:
                # Later repeats share these metadata, so that they go to the event as it is named at last.
                event["metadata"]["name"] = await event_writing.create(self._client, event)
                return
            patch = {name: event[name] for name in ("count", "lastTimestamp", "message")}
            await self._client.patch(self._kind, (key[0], key[1]), patch, type="merge")
        except ApiError as error:
            log.info("event %s of %s was refused: %s", event["reason"], event["involvedObject"], error.message)
        except TransportError as error:
            log.info("event %s could not be sent: %s", event["reason"], error)


def _never() -> bool:
    return False
