"""What must hold for what the server answers: nothing acknowledged is lost, reads are current, watches miss nothing.

Unlike the rules over changes, these need to see what passes through the doors.
"""

from bisect import bisect_right
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
SELECTING = ("labelSelector", "fieldSelector", "sendInitialEvents")

ONE_WINS = "Of several updates of one version exactly one succeeds."
IN_ORDER = "A watch tells of each change once, in order, and none that a bookmark has passed."
WITHOUT_GAPS = "A watch leaves out no change."
CURRENT = "A read that asks for no resourceVersion knows of all writes that were acknowledged before."


class Witness:
    """An interceptor that remembers what was answered. `wrong` is what is already known to be wrong: rule, demand, why."""

    is_harmless = True

    def __init__(self, world: World) -> None:
        self.wrong: list[tuple[str, str, str]] = []
        self._world = world
        self._written: dict[str, tuple[str, int]] = {}  # uid -> what it is, and the revision that was acknowledged
        self._winners: dict[tuple[str, str], str] = {}  # of each version of an object that updates were based on
        self._latest: dict[tuple[str, str], int] = {}  # of each resource (key "") and object: what was acknowledged

    async def __call__(self, request: Request, identity: str, send: Send) -> Response:
        """The response as it is."""
        if request.method == "GET":
            return await (self._watched if is_watch(request) else self._read)(request, identity, send)
        response = await send(request)
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

    # Writes

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
        resource = _resource(info)
        for place in ((resource, ""), (resource, _key(info, objects.name(answer)))):
            self._latest[place] = max(self._latest.get(place, 0), int(revision))
        if request.method != "POST":
            self._judge_update(request, info, answer)

    def _judge_update(self, request: Request, info: RequestInfo, answer: Object) -> None:
        based = objects.resource_version(_tree(request.body))
        now = objects.resource_version(answer)
        if not based or now == based:
            return
        first = self._winners.setdefault((objects.uid(answer), based), now)
        if first != now:
            name = f"{info.resource} {objects.namespace(answer)}/{objects.name(answer)}"
            why = f"two updates of {name} on resourceVersion {based} succeeded, as {first} and as {now}"
            self.wrong.append(("OneUpdateWins", ONE_WINS, why))

    # Reads

    async def _read(self, request: Request, identity: str, send: Send) -> Response:
        info = request_info.parse(request)
        if not info.is_resource or info.subresource or request.param("resourceVersion") or request.param("continue"):
            return await send(request)
        known = self._latest.get((_resource(info), _key(info, info.name) if info.name else ""), 0)
        response = await send(request)
        if known and (why := self._judge_read(info, known, response)):
            self.wrong.append(("ReadsAreCurrent", CURRENT, f"{identity}: {request.path} {why}"))
        return response

    def _judge_read(self, info: RequestInfo, known: int, response: Response) -> str:
        body = _tree(response.body)
        if response.status == 404 and body.get("reason") == "NotFound" and info.name:
            now = self._world.get(_resource(info), _key(info, info.name))
            is_there = now is not None and objects.resource_version(now) == str(known)
            return f"was not found, though {known} was written before" if is_there else ""
        seen = objects.resource_version(body)
        if response.status != 200 or not seen.isdigit() or int(seen) >= known:
            return ""
        return f"was answered as of {seen}, though {known} was acknowledged before"

    # Watches

    async def _watched(self, request: Request, identity: str, send: Send) -> Response:
        response = await send(request)
        since = request.param("resourceVersion")
        goes_on = since.isdigit() and since != "0"  # else it begins with what is there, by name
        if goes_on and response.status == 200 and not isinstance(response.body, bytes | dict):
            response.body = self._followed(request, f"{identity}: {request.path}", int(since), response.body)
        return response

    async def _followed(self, request: Request, who: str, since: int, body: AsyncIterator[Any]) -> AsyncIterator[Any]:
        order, gaps, info = _Order(), None, request_info.parse(request)
        if not (info.namespace or info.name or any(map(request.param, SELECTING))):
            gaps = _Gaps(self._world.revisions(_resource(info)), max(since, self._world.began))
        try:
            async for chunk in body:
                if isinstance(chunk, dict) and chunk.get("type") != "ERROR":
                    if wrong := order.next(chunk):
                        self.wrong.append(("WatchesAreInOrder", IN_ORDER, f"{who} {wrong}"))
                    elif gaps is not None and (wrong := gaps.next(chunk)):
                        self.wrong.append(("WatchesHaveNoGaps", WITHOUT_GAPS, f"{who} {wrong}"))
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
        now, before = _revision(frame), self._last
        if not now:
            return ""  # a Table
        if now > before:
            self._last, self._told = now, {}
        name = objects.uid(frame["object"]) or "*"
        is_known = name in self._told or "*" in self._told
        self._told[name] = None
        if now < before:
            return f"was told of {now} after {before}"
        return f"was told of {now} again" if now == before and is_known and name != "*" else ""


class _Gaps:
    """What a watch of all objects of a resource has to tell next, of the `revisions` of their changes."""

    def __init__(self, revisions: list[int], since: int) -> None:
        self._revisions = revisions
        self._since = since
        self._next = bisect_right(revisions, since)

    def next(self, frame: Object) -> str:
        """What is wrong with the next frame."""
        now = _revision(frame)
        if now <= self._since or self._next >= len(self._revisions):
            return ""
        due = self._revisions[self._next]
        if frame.get("type") != "BOOKMARK":
            self._next += due == now
            return f"was told of {now}, and not of {due}" if due < now else ""
        return f"has a bookmark at {now}, and was not told of {due}" if due <= now else ""


def _resource(info: RequestInfo) -> str:
    return f"{info.resource}.{info.group}" if info.group else info.resource


def _key(info: RequestInfo, name: str) -> str:
    """As the changes have it."""
    return f"{info.namespace}/{name}" if info.namespace and info.resource != "namespaces" else name


def _revision(frame: Object) -> int:
    return int(objects.resource_version(frame["object"]) or 0)


def _tree(body: Any) -> Object:
    if isinstance(body, dict):
        return body
    try:
        found = orjson.loads(body) if isinstance(body, bytes) else {}
    except orjson.JSONDecodeError:
        found = {}
    return found if isinstance(found, dict) else {}
