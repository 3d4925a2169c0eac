"""Interceptors: what goes wrong with a request between one of a simulated cluster's parts and its server.

Each stands in the doors (cluster/doors.py) and strikes the requests that its aim is about.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from sampan.client.transport import TransportError
from sampan.cluster.aim import Aim, is_watch
from sampan.cluster.doors import Nap, Send, Sleeping, Stream
from sampan.kit.dice import Dice
from sampan.meta import status
from sampan.meta.status import ApiError
from sampan.server import refusals
from sampan.web.message import Request, Response

Object = dict[str, Any]

RESET = "connection reset by peer"
NO_ROUTE = "no route to host"
_REFUSALS: dict[int, tuple[str, str]] = {
    409: ("Conflict", "the object has been modified; please apply your changes to the latest version and try again"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: injected"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}


class Interceptor:
    """What strikes some requests. `hits` counts them."""

    def __init__(self, aim: Aim, dice: Dice) -> None:
        self.aim = aim
        self.hits = 0
        self._dice = dice

    async def __call__(self, request: Request, identity: str, send: Send) -> Response:
        """The response, or whatever comes in its place."""
        if not self._strikes(request):
            return await send(request)
        self.hits += 1
        return await self.strike(request, send)

    async def strike(self, request: Request, send: Send) -> Response:
        """What happens to a request that is struck."""
        raise NotImplementedError

    def _strikes(self, request: Request) -> bool:
        aim = self.aim
        if aim.times is not None and self.hits >= aim.times:
            return False
        return aim.is_about(request) and (aim.chance >= 1 or self._dice.happens(aim.chance))


class Refusing(Interceptor):
    """The server refuses, with a code such as 500, 503, 429 or 409; nothing is done."""

    def __init__(self, aim: Aim, dice: Dice, code: int, retry_seconds: int | None = None) -> None:
        super().__init__(aim, dice)
        self._error = refusal(code, retry_seconds)

    async def strike(self, request: Request, send: Send) -> Response:
        return refusals.refuse(self._error, request)


class Delaying(Interceptor):
    """The request takes its time until it arrives, and then is answered as ever."""

    def __init__(self, aim: Aim, dice: Dice, least: float, most: float) -> None:
        super().__init__(aim, dice)
        self._least, self._most = least, most

    async def strike(self, request: Request, send: Send) -> Response:
        await asyncio.sleep(self._dice.between(self._least, self._most))
        return await send(request)


class Disconnecting(Interceptor):
    """The connection breaks before the server has the request: nothing is done."""

    async def strike(self, request: Request, send: Send) -> Response:
        raise TransportError(RESET)


class LosingAnswers(Interceptor):
    """The server does what it is asked for, and the connection breaks before the answer is there; or, with a code such
    as 504, it answers that it could not tell in time.
    """

    def __init__(self, aim: Aim, dice: Dice, code: int = 0) -> None:
        super().__init__(aim, dice)
        self._error = refusal(code) if code else None

    async def strike(self, request: Request, send: Send) -> Response:
        response = await send(request)
        close = getattr(response.body, "aclose", None)
        if close is not None:
            await close()
        if self._error is not None:
            return refusals.refuse(self._error, request)
        raise TransportError(RESET)


class Isolating(Interceptor):
    """Nothing comes through."""

    async def strike(self, request: Request, send: Send) -> Response:
        raise TransportError(NO_ROUTE)


class Holding(Interceptor):
    """The request is held back until `release`, and then goes on."""

    def __init__(self, aim: Aim, dice: Dice) -> None:
        super().__init__(aim, dice)
        self._released = asyncio.Event()

    def release(self) -> None:
        """Everything that is held back goes on now."""
        self._released.set()

    async def strike(self, request: Request, send: Send) -> Response:
        await self._released.wait()
        return await send(request)


class Expiring:
    """Watches that were cut and whose next try meets a 410: what they missed is forgotten."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str, str], None] = {}

    def expect(self, stream: Stream | Sleeping | Nap) -> None:
        """The next watch like this one has expired."""
        self._due[_watch_key(stream.request)] = None

    async def __call__(self, request: Request, identity: str, send: Send) -> Response:
        """The 410 comes inside the stream, as from a server whose history is shorter than the client's memory."""
        key = _watch_key(request) if is_watch(request) else ("", "", "")
        if key not in self._due:
            return await send(request)
        del self._due[key]
        tree = status.expired("too old resource version: 1 (2)").status
        return Response(200, _one({"type": "ERROR", "object": tree}))


class Late:
    """Holds back what watches tell: each change for some seconds, or everything until `release`."""

    def __init__(self, aim: Aim, seconds: float | None, born: Callable[[str], float], now: Callable[[], float]) -> None:
        self._aim = aim
        self._seconds = seconds
        self._born = born
        self._now = now
        self._released = asyncio.Event()

    def release(self) -> None:
        """Everything that is held back arrives now."""
        self._released.set()

    async def __call__(self, stream: Stream, chunk: Any) -> None:
        """Returns when the piece may be handed on."""
        if self._released.is_set() or not self._aim.is_about(stream.request):
            return
        if self._seconds is None:
            await self._released.wait()
            return
        seconds = self._born(_revision(chunk)) + self._seconds - self._now()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), seconds)


def refusal(code: int, retry_seconds: int | None = None) -> ApiError:
    """A Status as a server in trouble says it."""
    reason, message = _REFUSALS.get(code, ("InternalError", "an error on the server has prevented the request"))
    error = status.failure(code, reason, message)
    if retry_seconds is not None:
        error.headers["Retry-After"] = str(retry_seconds)
        error.status.setdefault("details", {})["retryAfterSeconds"] = retry_seconds
    return error


async def _one(frame: Object) -> AsyncIterator[Object]:
    yield frame


def _watch_key(request: Request) -> tuple[str, str, str]:
    """Whose watch of what it is, from whichever revision."""
    chosen = [value for name, value in request.query if name in ("fieldSelector", "labelSelector")]
    return request.peer.common_name, request.path, "&".join(chosen)


def _revision(chunk: Any) -> str:
    """The resourceVersion that a frame is about; "" when it can't be seen."""
    if not isinstance(chunk, dict):
        return ""
    return str((chunk.get("object") or {}).get("metadata", {}).get("resourceVersion") or "")
