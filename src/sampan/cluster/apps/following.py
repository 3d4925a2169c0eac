"""Follows the logs of an application's pods: each container that runs, as long as it runs."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.cluster.apps import objects
from sampan.cluster.apps.objects import Application, Object
from sampan.kinds.core.pod import POD
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import timestamps
from sampan.meta.status import ApiError
from sampan.web.message import Request

LOOK_SECONDS = 0.5
_MAX_LINE = 1 << 16
_Key = tuple[str, str, int]


@dataclass(slots=True)
class Following:
    """`say` gets a container's name and one line."""

    client: Client
    clock: Clock
    tasks: Tasks
    say: Callable[[str, str], None]
    _known: set[_Key] = field(default_factory=set)
    _broken: dict[_Key, float] = field(default_factory=dict)

    async def run(self, app: Application) -> None:
        """Until it is cancelled. What the API refuses for a moment is asked for again."""
        while True:
            try:
                found = await self.client.list(POD, app.namespace, labels=f"{objects.INSTANCE}={app.name}")
                self._begin(list(found.items))
            except (ApiError, TransportError):
                pass
            await self.clock.sleep(LOOK_SECONDS)

    def _begin(self, pods: list[Object]) -> None:
        here = set()
        for pod in pods:
            for state in pod.get("status", {}).get("containerStatuses", ()):
                key = (str(pod["metadata"]["uid"]), str(state["name"]), int(state.get("restartCount", 0)))
                here.add(key)
                if key not in self._known and ({"running", "terminated"} & set(state.get("state", {}))):
                    self._known.add(key)
                    self.tasks.spawn(
                        self._follow(pod, str(state["name"]), key), f"log of {state['name']}", critical=False
                    )
        self._known &= here

    async def _follow(self, pod: Object, container: str, key: _Key) -> None:
        broken = self._broken.pop(key, None)
        since = (("sinceTime", timestamps.format(broken)),) if broken is not None else ()
        meta = pod["metadata"]
        path = POD.path(str(meta["namespace"]), str(meta["name"]), "log")
        query = (("follow", "true"), ("container", container), *since)
        try:
            response = await self.client.transport.request(Request("GET", path, query, {"accept": "*/*"}, b""))
            body: Any = response.body
            if response.status < 400:
                async for line in _lines(body):
                    self.say(container, line)
                return
        except TransportError:
            pass
        self._known.discard(key)  # broken off: if it is still there, it is followed on from here
        self._broken[key] = self.clock.now()


async def _lines(body: Any) -> AsyncIterator[str]:
    rest = b""
    if isinstance(body, bytes):
        rest, body = body, ()
    async for chunk in _chunks(body):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
        if len(rest) > _MAX_LINE:
            yield rest.decode("utf-8", "replace")
            rest = b""
    for line in rest.split(b"\n") if rest else ():
        yield line.decode("utf-8", "replace")


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    if body == ():
        return
    async for chunk in body:
        yield chunk
