"""Jitter: how long messages take, from the seed. It is what makes one seed's order of events another than the next's.

Every request, every answer and every delivery of a watch takes a while on its way between a part of the cluster
and its server. Nothing else is shuffled: the loop stays first in, first out, as programs for asyncio may rely on,
and messages of one watch stay in their order, as in one connection. So whatever a seed brings about could happen
between processes on a network, and a failure is one of the program's, never one of the simulation's.

How slow a part is, is thrown once for each way (a part's requests, each of its watches), over three decades: in
one seed the scheduler sees pods late and the kubelet at once, in another it is the other way round. That finds
more than the same small noise everywhere, which evens out. What comes while a delivery is under way arrives with
it, so a burst is late once, not once for each of its changes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from sampan.cluster.doors import Send
from sampan.kit.dice import Dice
from sampan.web.message import Request, Response


class Jitter:
    """An interceptor for all doors. `most` is how many seconds a message takes at most."""

    is_harmless = True

    def __init__(self, most: float, dice: Dice, now: Callable[[], float]) -> None:
        self._most = most
        self._dice = dice
        self._now = now
        self._ways: dict[str, _Way] = {}

    async def __call__(self, request: Request, identity: str, send: Send) -> Response:
        """Late there and late back."""
        way = self._way(identity)
        await asyncio.sleep(way.throw())
        response = await send(request)
        if isinstance(response.body, bytes | dict):
            await asyncio.sleep(way.throw())
        else:
            response.body = _late(response.body, self._way(f"{identity} {request.path}"), self._now)
        return response

    def _way(self, name: str) -> "_Way":
        if name not in self._ways:
            self._ways[name] = _Way(self._dice.of(name), self._most)
        return self._ways[name]


class _Way:
    """From one place to another: slow or not, each message in its own time."""

    def __init__(self, dice: Dice, most: float) -> None:
        self._dice = dice
        self._most = dice.small(most)

    def throw(self) -> float:
        """How many seconds this message takes."""
        return self._dice.between(0, self._most)


async def _late(body: AsyncIterator[Any], way: _Way, now: Callable[[], float]) -> AsyncIterator[Any]:
    arrived = -1.0
    try:
        async for chunk in body:
            if now() != arrived:
                await asyncio.sleep(way.throw())
                arrived = now()
            yield chunk
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
