"""Distortions: what a part of a simulated cluster is shown that is not so any more, or that it has seen before.

They are interceptors that must stand before all others, also before what judges the server's answers: it is not to be
blamed for them.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from sampan.cluster.aim import Aim, is_watch
from sampan.cluster.doors import Doors, Send, Stream
from sampan.cluster.history import Change
from sampan.cluster.interceptors import Interceptor
from sampan.kit.dice import Dice
from sampan.meta import objects
from sampan.server import request_info
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request, Response

Object = dict[str, Any]

REMEMBERED_FRAMES = 4
SELECTING = ("labelSelector", "fieldSelector", "continue", "limit", "sendInitialEvents")


class Lagging(Interceptor):
    """A server whose memory is behind: lists and watches show the world as it was so many seconds ago.

    Until `release`: then watches catch up, and end. Reads of one object and those that select are not touched.
    """

    def __init__(self, aim: Aim, dice: Dice, seconds: float, where: tuple[Doors, Sequence[Change]]) -> None:
        super().__init__(aim, dice)
        self._seconds = seconds
        self._doors, self._history = where
        self._released = asyncio.Event()

    def release(self) -> None:
        """It is as far as everybody else."""
        self._released.set()

    async def strike(self, request: Request, send: Send) -> Response:
        info = request_info.parse(request)
        if request.method != "GET" or not info.is_resource or info.name or any(map(request.param, SELECTING)):
            return await send(request)
        if is_watch(request):
            since = request.param("resourceVersion")
            if not since.isdecimal() or since == "0":
                return await send(request)
            return Response(200, Stream(self._doors, request, self._told(info, int(since))))
        if request.param("resourceVersion") not in ("", "0"):
            return await send(request)
        revision = self._past()
        if not revision:
            return await send(request)
        kept = tuple(pair for pair in request.query if pair[0] not in ("resourceVersion", "resourceVersionMatch"))
        exactly = (("resourceVersion", str(revision)), ("resourceVersionMatch", "Exact"))
        return await send(replace(request, query=(*kept, *exactly)))

    def _past(self) -> int:
        """The revision so many seconds ago; 0 when nothing has happened since, or nothing had before."""
        until = asyncio.get_running_loop().time() - self._seconds
        newer = 0
        for change in reversed(self._history):
            if change.time <= until:
                return _revision(change) if newer else 0
            newer = _revision(change)
        return 0

    async def _told(self, info: RequestInfo, since: int) -> AsyncIterator[Object]:
        resource = f"{info.resource}.{info.group}" if info.group else info.resource
        position = _position(self._history, since)
        while True:
            while position < len(self._history):
                change = self._history[position]
                position += 1
                if change.resource == resource and _is_in(change, info.namespace):
                    await self._pass(change.time + self._seconds)
                    yield {"type": change.type, "object": change.tree}
            if self._released.is_set():
                return
            await self._pass(asyncio.get_running_loop().time() + self._seconds)  # nothing new is shown before

    async def _pass(self, until: float) -> None:
        """Lets time pass until then, or until the release."""
        seconds = until - asyncio.get_running_loop().time()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), seconds)


class Repeating(Interceptor):
    """Watches tell again what they have told: after some of their frames the last few come once more, in order."""

    async def __call__(self, request: Request, identity: str, send: Send) -> Response:
        response = await send(request)
        if not is_watch(request) or not self.aim.is_about(request) or isinstance(response.body, bytes | dict):
            return response
        response.body = self._repeated(response.body)
        return response

    async def _repeated(self, body: AsyncIterator[Any]) -> AsyncIterator[Any]:
        told: deque[Any] = deque(maxlen=REMEMBERED_FRAMES)
        try:
            async for frame in body:
                yield frame
                if not isinstance(frame, dict) or frame.get("type") in ("ERROR", "BOOKMARK"):
                    continue
                told.append(frame)
                if self.aim.chance >= 1 or self._dice.happens(self.aim.chance):
                    self.hits += 1
                    for known in list(told)[-self._dice.number(1, REMEMBERED_FRAMES) :]:
                        yield known
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()


def _revision(change: Change) -> int:
    return int(objects.resource_version(change.tree))


def _position(history: Sequence[Change], since: int) -> int:
    """Where the first change after that revision is."""
    position = len(history)
    while position and _revision(history[position - 1]) > since:
        position -= 1
    return position


def _is_in(change: Change, namespace: str) -> bool:
    return not namespace or change.key.startswith(f"{namespace}/")
