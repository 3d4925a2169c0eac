"""Exchange: one request of the bridge on its way through the cluster's loop, and its answer on the way back.

Two event loops meet here: `begin` and what it starts run in the cluster's, the rest in the bridge's.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sampan.client.transport import TransportError
from sampan.cluster.simulated import SimulatedCluster
from sampan.web.message import Request, Response

AHEAD = 1000  # chunks that wait for a client, before the cluster waits for it too

UNNAMED = "bridge"
"""Who sends a request, as interceptors are told it, when TLS does not say."""

Action = Callable[[], None]


class Exchange:
    """`later` does something in the cluster's loop, `back` in the bridge's."""

    def __init__(
        self, sim: SimulatedCluster, request: Request, later: Callable[[Action], None], back: Callable[[Action], None]
    ) -> None:
        self._sim = sim
        self._request = request
        self._later = later
        self._back = back
        self._answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Future[None] | None = None
        self._ended: Callable[[Exchange], None] = lambda _: None
        self._is_over = False
        self._broken: ConnectionError | None = None
        self._chunks: deque[Any] = deque()
        self._sent = self._taken = 0
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()

    async def answer(self, ended: Callable[["Exchange"], None]) -> Response:
        """What the server says; a stream may follow it. `ended` is told when all of it is there."""
        self._ended = ended
        return await self._answer

    def begin(self) -> None:
        """In the cluster's loop."""
        self._task = asyncio.ensure_future(self._go(), loop=self._sim.loop)

    def cancel(self) -> None:
        """In the cluster's loop: nobody wants the answer any more."""
        if self._task is not None:
            self._task.cancel()

    async def _go(self) -> None:
        body: Any = None
        try:
            response = await self._sim.doors.admit(self._request, self._request.peer.common_name or UNNAMED)
            if isinstance(response.body, AsyncIterator):
                body, response = response.body, replace(response, body=_Stream(self))
            self._back(partial(self._settle, response))
            if body is not None:
                await self._pump(body)
        except TransportError as error:
            self._back(partial(self._fail, ConnectionResetError(str(error))))
        except Exception as error:  # noqa: BLE001 (the listener answers it)
            self._back(partial(self._fail, error))
        finally:
            if body is not None and (close := getattr(body, "aclose", None)) is not None:
                await close()
            self._back(self._end)

    async def _pump(self, body: AsyncIterator[Any]) -> None:
        async for chunk in body:
            self._has_room.clear()
            self._sent += 1
            self._back(partial(self._add, chunk))
            if self._sent - self._taken >= AHEAD:
                await self._has_room.wait()

    def _settle(self, response: Response) -> None:
        if not self._answer.done():
            self._answer.set_result(response)

    def _fail(self, error: Exception) -> None:
        """An answer that has begun breaks off."""
        if not self._answer.done():
            self._answer.set_exception(error)
        else:
            self._broken = ConnectionResetError(str(error))

    def _add(self, chunk: Any) -> None:
        self._chunks.append(chunk)
        self._has_news.set()

    def _end(self) -> None:
        self._is_over = True
        self._has_news.set()
        self._ended(self)
        if not self._answer.done():
            self._answer.cancel()

    async def next(self) -> Any:
        """The next chunk. Raises StopAsyncIteration, or ConnectionError."""
        while not self._chunks:
            if self._broken is not None:
                raise self._broken
            if self._is_over:
                raise StopAsyncIteration
            self._has_news.clear()
            await self._has_news.wait()
        self._taken += 1
        if not self._taken % (AHEAD // 2):
            self._later(self._has_room.set)
        return self._chunks.popleft()

    def drop(self) -> None:
        """The rest is not wanted."""
        if not self._is_over:
            self._later(self.cancel)


class _Stream:
    """The body of an answer, as the listener reads it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> Any:
        return await self._exchange.next()

    async def aclose(self) -> None:
        self._exchange.drop()
