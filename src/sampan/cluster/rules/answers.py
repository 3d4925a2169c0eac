"""What must hold for what the server answers: an acknowledged write is never lost, and of several at once one wins.

Unlike the rules over changes, these need to see what passes through the doors.
"""

from collections.abc import AsyncIterator
from typing import Any

import orjson

from sampan.cluster.aim import is_watch
from sampan.cluster.doors import Send
from sampan.cluster.rules.world import World
from sampan.meta import objects
from sampan.server import request_info
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request, Response

Object = dict[str, Any]

WRITTEN = ("POST", "PUT", "PATCH")


class Witness:
    """An interceptor that remembers what was acknowledged. `wrong` is what is already known to be wrong."""

    def __init__(self, world: World) -> None:
        self.wrong: list[tuple[str, str, str]] = []
        self._world = world
        self._written: dict[str, tuple[str, int]] = {}  # uid -> what it is, and the revision that was acknowledged
        self._winners: dict[tuple[str, str], str] = {}  # of each version of an object that updates were based on

    async def __call__(self, request: Request, identity: str, send: Send) -> Response:
        """The response as it is."""
        response = await send(request)
        if is_watch(request):
            goes_on = request.param("resourceVersion") not in ("", "0")  # else it begins with what is there, by name
            if goes_on and response.status == 200 and not isinstance(response.body, bytes | dict):
                response.body = self._in_order(f"{identity}: {request.path}", response.body)
            return response
        if request.method in WRITTEN and 200 <= response.status < 300 and not request.param("dryRun"):
            self._remember(request, response)
        return response

    def lost(self) -> list[str]:
        """Acknowledged writes of which nothing is left."""
        alive = {objects.uid(o): o for resource in self._world.resources() for o in self._world.all(resource)}
        found = []
        for uid, (what, revision) in self._written.items():
            if uid in self._world.deleted:
                continue
            now = alive.get(uid)
            if now is None:
                found.append(f"{what} was acknowledged at resourceVersion {revision}, and there is nothing of it")
            elif int(objects.resource_version(now)) < revision:
                have = objects.resource_version(now)
                found.append(f"{what} was acknowledged at resourceVersion {revision}, and it is at {have}")
        return found

    def _remember(self, request: Request, response: Response) -> None:
        info = request_info.parse(request)
        answer = _tree(response.body)
        uid, revision = objects.uid(answer), objects.resource_version(answer)
        if not uid or not revision.isdigit():
            return  # a review, or a Status
        what = f"{info.verb} of {info.resource} {objects.namespace(answer)}/{objects.name(answer)}"
        known = self._written.get(uid)
        if known is None or int(revision) > known[1]:
            self._written[uid] = (what, int(revision))
        if request.method == "PUT":
            self._judge_update(request, info, answer)

    def _judge_update(self, request: Request, info: RequestInfo, answer: Object) -> None:
        based = objects.resource_version(_tree(request.body))
        now = objects.resource_version(answer)
        if not based or now == based:
            return
        first = self._winners.setdefault((objects.uid(answer), based), now)
        if first != now:
            name = f"{info.resource} {objects.namespace(answer)}/{objects.name(answer)}"
            wrong = f"two updates of {name} on resourceVersion {based} succeeded, as {first} and as {now}"
            self.wrong.append(("OneUpdateWins", "Of several updates of one version exactly one succeeds.", wrong))

    async def _in_order(self, who: str, body: AsyncIterator[Any]) -> AsyncIterator[Any]:
        order = _Order()
        try:
            async for chunk in body:
                if isinstance(chunk, dict) and chunk.get("type") != "ERROR" and (wrong := order.next(chunk)):
                    demand = "A watch tells of each change once, in order, and none that a bookmark has passed."
                    self.wrong.append(("WatchesAreInOrder", demand, f"{who} {wrong}"))
                yield chunk
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()


class _Order:
    """Up to where one watch has told. Several objects may have been written in one revision."""

    def __init__(self) -> None:
        self._last = 0
        self._told: dict[str, None] = {}

    def next(self, frame: Object) -> str:
        """What is wrong with the next frame."""
        now, before = int(objects.resource_version(frame["object"]) or 0), self._last
        if now > before:
            self._last, self._told = now, {}
        name = objects.uid(frame["object"]) or "*"
        is_known = name in self._told or "*" in self._told
        self._told[name] = None
        if now < before:
            return f"was told of {now} after {before}"
        return f"was told of {now} again" if now == before and is_known and name != "*" else ""


def _tree(body: Any) -> Object:
    if isinstance(body, dict):
        return body
    try:
        found = orjson.loads(body) if isinstance(body, bytes) else {}
    except orjson.JSONDecodeError:
        found = {}
    return found if isinstance(found, dict) else {}
