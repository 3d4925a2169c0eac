"""Events: tells what happened, as Event objects; a repeat raises the count of the one that is there.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict

from sampan.client.api import Client, Key
from sampan.client.transport import TransportError
from sampan.control import event_writing
from sampan.control.event_limits import COMBINED, FORGOTTEN_SECONDS, Limits, forget
from sampan.kinds.core.event import EVENT
from sampan.kinds.kind import Object
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import names, timestamps
from sampan.meta.status import ApiError

log = logging.getLogger(__name__)

PENDING = 2000
REMEMBERED = 4096
MESSAGE_LENGTH = 1024

Identity = tuple[str, ...]
Known = tuple[Key, int, float]
"""The event, its count, and when it was told last (monotonic)."""


class Recorder:
    """Writes events in the background, in order. Too many at once, or about one object, are dropped and counted."""

    def __init__(self, client: Client, clock: Clock, tasks: Tasks) -> None:
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._queue: asyncio.Queue[tuple[Identity, Object]] = asyncio.Queue(PENDING)
        self._known: OrderedDict[Identity, Known] = OrderedDict()
        self._limits = Limits()
        self._last_nanos = 0
        self._started = False
        self.dropped = 0

    def record(self, component: str, about: Object, event: tuple[str, str, str]) -> None:
        """`event` is (type, reason, message); `about` needs kind and apiVersion."""
        self._start()
        metadata, now = about["metadata"], self._clock.monotonic()
        subject = (component, about["kind"], *(str(metadata.get(f, "")) for f in ("namespace", "name", "uid")))
        text = self._limits.told_as((*subject, *event[:2]), event[2], now)
        identity = (*subject, *event[:2], text)
        if not self._limits.may_tell(subject, now):
            self.dropped += 1
            return
        tree = self._event(component, about, (*event[:2], text or COMBINED + event[2]))
        try:
            self._queue.put_nowait((identity, tree))
        except asyncio.QueueFull:
            self.dropped += 1

    async def wait_written(self) -> None:
        """Returns once everything recorded so far has been sent."""
        await self._queue.join()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._tasks.spawn(self._send_for_ever(), "events")

    async def _send_for_ever(self) -> None:
        while True:
            identity, tree = await self._queue.get()
            try:
                await self._send(identity, tree)
            except (ApiError, TransportError) as error:
                log.info("event %s %s not written: %s", tree["reason"], tree["metadata"]["name"], error)
            except Exception:  # our fault, but those that come after it are to be told
                log.exception("event %s %s not written", tree["reason"], tree["metadata"]["name"])
            finally:
                self._queue.task_done()

    async def _send(self, identity: Identity, tree: Object) -> None:
        known = self._known.pop(identity, None)
        if known is not None and await self._repeat(known, tree):
            self._remember(identity, known[0], known[1] + 1)
            return
        name = await event_writing.create(self._client, tree)
        self._remember(identity, (tree["metadata"]["namespace"], name), 1)

    async def _repeat(self, known: Known, tree: Object) -> bool:
        """Raises the count of the event that is there; False when it is gone."""
        changes = {"count": known[1] + 1, "message": tree["message"], "lastTimestamp": tree["lastTimestamp"]}
        try:
            await self._client.patch(EVENT, known[0], changes)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _remember(self, identity: Identity, event: Key, count: int) -> None:
        now = self._clock.monotonic()
        self._known[identity] = (event, count, now)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        forget(self._known, lambda known: now - known[2] > FORGOTTEN_SECONDS)

    def _event(self, component: str, about: Object, event: tuple[str, str, str]) -> Object:
        now = self._clock.now()
        self._last_nanos = max(int(now * 1e9), self._last_nanos + 1)
        metadata = about["metadata"]
        fields = ("namespace", "name", "uid", "resourceVersion")
        involved = {"kind": about["kind"], "apiVersion": about["apiVersion"]}
        involved |= {name: metadata[name] for name in fields if metadata.get(name)}
        namespace = metadata.get("namespace") or "default"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": _name(metadata["name"], self._last_nanos), "namespace": namespace},
            "involvedObject": involved,
            "type": event[0],
            "reason": event[1],
            "message": event[2][:MESSAGE_LENGTH],
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
            "firstTimestamp": timestamps.format(now),
            "lastTimestamp": timestamps.format(now),
            "count": 1,
        }


def _name(about: str, nanos: int) -> str:
    """NAME.TIME; a digest of it where that is no name for an event, being too long or such as system:node."""
    name = f"{about}.{nanos:x}"
    return hashlib.sha256(name.encode()).hexdigest()[:32] if names.dns1123_subdomain(name) else name
