"""Doors: how the parts of a simulated cluster reach its server, whichever that is at the moment.

The server may be killed and started again behind them. Who was under way then gets a TransportError, as from a
connection that broke; who comes while there is none, as from one that is refused. What else goes wrong with
requests is made by interceptors.

A watch is only asked for when the first change comes that it could show: a cluster has a hundred watches, most of
which never see one. Who knows all that there is yet does not even wait for one (Nap).
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from sampan.client.transport import TransportError
from sampan.kinds.kind import Kind
from sampan.meta.status import ApiError
from sampan.server import request_info
from sampan.server.app import App
from sampan.web.message import Peer, Request, Response

Place = tuple[str, str]
Send = Callable[[Request], Awaitable[Response]]
Interceptor = Callable[[Request, str, Send], Awaitable[Response]]
"""Given a request, the user name of who sends it, and the way on: the response. May raise TransportError."""

Late = Callable[["Stream", Any], Awaitable[None]]

BROKEN = "connection reset by peer"


class Doors:
    """All doors to one server. `interceptors` see every request, the first of them first.

    `streams` are the watches that are open. `late` is awaited with each piece of them before it is handed on.
    """

    def __init__(self) -> None:
        self.interceptors: list[Interceptor] = []
        self.streams: dict[Stream | Sleeping | Nap, None] = {}
        self.late: list[Late] = []
        self.lag_seconds = 0.0
        """How much later than usual somebody may have heard of something."""
        self.rivals = 0
        """How many sets of controllers work beside the first."""
        self._app: App | None = None
        self._inside: dict[asyncio.Task[Any], None] = {}
        self._hit: set[asyncio.Task[Any]] = set()
        self._changed: dict[Place, int] = {}
        self._asleep: dict[Place, list[Callable[[], None]]] = {}

    @property
    def is_open(self) -> bool:
        """Whether requests get through: there are only interceptors that say of themselves `is_harmless`."""
        return all(getattr(interceptor, "is_harmless", False) for interceptor in self.interceptors)

    def lead_to(self, app: App | None) -> None:
        """From now on to this server. Who is still with the one before is thrown out."""
        self._app = app
        for task in list(self._inside):
            self.throw_out(task)

    def note(self, place: Place, revision: int) -> None:
        """Something of this group and resource has changed."""
        self._changed[place] = revision
        for wake in self._asleep.pop(place, ()):
            wake()

    async def sleep(self, place: Place, revision: int) -> None:
        """Until something of this group and resource is younger than that. Raises TransportError."""
        if self._changed.get(place, 0) > revision:
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asleep.setdefault(place, []).append(functools.partial(_end, sleeper))
        await self.inside(sleeper)

    def nothing(self, kind: Kind) -> int:
        """The revision at which there is nothing of the kind; 0 where there is something, or that cannot be told."""
        if self._app is None or self.interceptors:
            return 0
        served = self._app.served.find(kind.group, kind.version, kind.plural)
        return 0 if served is None or self._app.cache.of(served).items else self._app.cache.revision

    def nap(self, nap: "Nap", kind: Kind, revision: int) -> bool:
        """Ends it when something of the kind is younger than that; False where that cannot be, or is so."""
        if self._app is None or self.interceptors:
            return False
        served = self._app.served.find(kind.group, kind.version, kind.plural)
        if served is None or self._changed.get(served.place, 0) > revision:
            return False
        self._asleep.setdefault(served.place, []).append(nap.end)
        self.streams[nap] = None
        return True

    def place(self, request: Request) -> tuple[Place, int] | None:
        """What a watch is about, and since when, if it can wait; None for everything else."""
        if request.method != "GET" or not request.query or request.param("watch") != "true":
            return None
        if self._app is None or self.interceptors:
            return None
        revision, info = request.param("resourceVersion"), request_info.parse(request)
        kind = self._app.served.find(info.group, info.version, info.resource)
        return (kind.place, int(revision)) if kind is not None and revision.isdecimal() else None

    def door(self, identity: Peer) -> "Door":
        """For one user."""
        return Door(self, identity)

    async def admit(self, request: Request, user: str) -> Response:
        """To the server through the interceptors, which are told that it is this user's. Raises TransportError."""
        return await self._past(0, request, user)

    async def _past(self, index: int, request: Request, user: str) -> Response:
        if index >= len(self.interceptors):
            return await self.send(request)

        async def on(passed: Request) -> Response:
            return await self._past(index + 1, passed, user)

        return await self.interceptors[index](request, user, on)

    async def send(self, request: Request) -> Response:
        """To the server, past the interceptors. Raises TransportError."""
        app = self._app
        if app is None:
            raise TransportError("connection refused")
        response: Response = await self.have(asyncio.current_task(), app.handle(request))
        if not isinstance(response.body, bytes | dict):
            response.body = Stream(self, request, response.body)
        return response

    def throw_out(self, task: "asyncio.Task[Any]") -> None:
        """Has it fail with a TransportError, if it waits for the server."""
        if task in self._inside:
            del self._inside[task]
            self._hit.add(task)
            task.cancel()

    async def inside(self, call: Awaitable[Any]) -> Any:
        """Waits for something of the server's. Raises TransportError when that is killed meanwhile."""
        return await self.have(asyncio.current_task(), call)

    async def have(self, task: "asyncio.Task[Any] | None", call: Awaitable[Any]) -> Any:
        """The same for whoever knows in which task he is."""
        assert task is not None  # whoever sends a request is one
        self._inside[task] = None
        try:
            answer = await call
            if task in self._hit:  # by what it did itself, at the very end
                await asyncio.sleep(0)
            return answer
        except asyncio.CancelledError:
            if task not in self._hit:
                raise
            self._hit.discard(task)
            if task.uncancel():
                raise
            raise TransportError(BROKEN) from None
        finally:
            self._inside.pop(task, None)


class Door:
    """One user's transport."""

    def __init__(self, doors: Doors, identity: Peer) -> None:
        self._doors = doors
        self._identity = identity

    async def request(self, request: Request) -> Response:
        """The response, whatever its status. Raises TransportError."""
        request = self._signed(request)
        if (place := self._doors.place(request)) is not None:
            return Response(200, Sleeping(self._doors, request, place))
        if not self._doors.interceptors:
            return await self._doors.send(request)
        return await self._doors.admit(request, self._identity.common_name)

    def nothing(self, kind: Kind) -> int:
        """See Quiet."""
        return self._doors.nothing(kind)

    def sleep(self, kind: Kind, revision: int, ask: Callable[[], Request], wake: Callable[[], None]) -> bool:
        """See Quiet."""
        return self._doors.nap(Nap(self._doors, lambda: self._signed(ask()), wake), kind, revision)

    def _signed(self, request: Request) -> Request:
        request.peer, request.takes_trees = self._identity, True
        return request

    async def close(self) -> None:
        """Nothing to let go of: streams end with whoever reads them."""


class Nap:
    """In place of a watch of somebody who knows all that there is: when there is more, or it is cut, he is woken."""

    def __init__(self, doors: Doors, ask: Callable[[], Request], wake: Callable[[], None]) -> None:
        self._doors, self._ask, self._wake = doors, ask, wake
        self._loop = asyncio.get_running_loop()

    @property
    def request(self) -> Request:
        """What is going to be asked for."""
        return self._ask()

    def cut(self) -> None:
        """It is over, be it said from outside the cluster's time."""
        self._loop.call_soon(self.end)

    def end(self) -> None:
        """It is over; once only."""
        if self in self._doors.streams:
            del self._doors.streams[self]
            self._wake()


class Sleeping:
    """A watch that is asked for when there is something to see, or that is cut before."""

    def __init__(self, doors: Doors, request: Request, place: tuple[Place, int]) -> None:
        self._doors = doors
        self.request = request
        self._place = place
        self._chunks: AsyncIterator[Any] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._is_cut = False
        doors.streams[self] = None

    def cut(self) -> None:
        """It breaks off."""
        self._is_cut = True
        self._doors.streams.pop(self, None)
        if self._reader is not None:
            self._doors.throw_out(self._reader)

    def __aiter__(self) -> "Sleeping":
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._first() if self._chunks is None else anext(self._chunks)

    async def _first(self) -> Any:
        await self._wait()
        response = await self._doors.send(self.request)
        if isinstance(response.body, bytes | dict):  # a refusal
            refusal = response.body if isinstance(response.body, dict) else orjson.loads(response.body)
            raise ApiError(refusal)
        self._chunks = aiter(response.body)
        return await anext(self._chunks)

    async def _wait(self) -> None:
        self._reader = asyncio.current_task()
        try:
            if self._is_cut:
                raise TransportError(BROKEN)
            await self._doors.sleep(*self._place)
        finally:
            self._reader = None
            self._doors.streams.pop(self, None)

    async def aclose(self) -> None:
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()


class Stream:
    """A watch, which breaks when its server is killed, or when it is cut. `request.peer` is whose it is."""

    def __init__(self, doors: Doors, request: Request, body: AsyncIterator[Any]) -> None:
        self.request = request
        self._doors = doors
        self._body = body
        self._chunks = aiter(body)
        self._app = doors._app
        self._reader: asyncio.Task[Any] | None = None
        self._is_cut = False
        doors.streams[self] = None

    def cut(self) -> None:
        """It breaks off."""
        self._is_cut = True
        self._doors.streams.pop(self, None)
        if self._reader is not None:
            self._doors.throw_out(self._reader)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        doors, reader = self._doors, asyncio.current_task()
        self._reader = reader
        try:
            if self._is_cut or doors._app is not self._app:
                raise TransportError(BROKEN)
            chunk = await doors.have(reader, anext(self._chunks))
            for late in doors.late:
                await doors.inside(late(self, chunk))
        except BaseException:
            self._doors.streams.pop(self, None)
            raise
        finally:
            self._reader = None
        return chunk

    async def aclose(self) -> None:
        self._doors.streams.pop(self, None)
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()


def _end(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
