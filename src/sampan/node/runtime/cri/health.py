"""Health: what a CRI runtime says of itself. A node whose runtime does not answer, or can't work, is not Ready.

As with a kubelet: not before it has been silent for half a minute; one that is slow to answer is not down. While it is
down nobody who asks for an answer now is kept waiting, and nothing is begun.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from sampan.kit.clock import Clock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri.link import Link

LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
"""So long one answer may take, and so long there may be none."""
DOWN = "container runtime is down"
_CONDITIONS = (("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready"))

Tree = dict[str, Any]


class Health:
    """Of the runtime behind a link. It counts as up before it is watched."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link, self._clock = link, clock
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()

    async def watch(self, tell: Callable[[str], None]) -> None:
        """Asks until the connection is closed. Tells why the node can't be used, and nothing once it can again."""
        seen, said = self._clock.monotonic(), ""
        while True:
            try:
                answer = await self._link.call("Status", {}, PATIENCE_SECONDS)
            except RpcError:
                if self._link.is_closed:
                    return
                why = DOWN if self._clock.monotonic() - seen >= PATIENCE_SECONDS else said
            else:
                seen, why = self._clock.monotonic(), complaint(answer)
            if why != said:
                said = why
                self._note(is_down=why == DOWN)
                tell(why)
            await self._clock.sleep(LOOK_SECONDS)

    async def wait_up(self) -> None:
        """Returns when the runtime is not down."""
        await self._up.wait()

    async def unless_down(self, call: Coroutine[Any, Any, Tree]) -> Tree:
        """What the call answers. It is broken off as soon as the runtime is down: RpcError. Raises as the call does."""
        if self._down.is_set():
            call.close()
            raise RpcError("Unavailable", DOWN)
        asking, going = asyncio.ensure_future(call), asyncio.ensure_future(self._down.wait())
        both = {asking, going}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_answered = asking.done()
            for each in both:
                each.cancel()
            await asyncio.wait(both)
        if not is_answered:
            raise RpcError("Unavailable", DOWN)
        return asking.result()

    def _note(self, *, is_down: bool) -> None:
        now, past = (self._down, self._up) if is_down else (self._up, self._down)
        past.clear()
        now.set()


def complaint(answer: Mapping[str, Any]) -> str:
    """What of the runtime is not ready, as its answer says; nothing if all of it is."""
    told = {each["type"]: each for each in (answer["status"] or {}).get("conditions", ())}
    found = [
        f"{text}: {_shown(told.get(name))}" for name, text in _CONDITIONS if not (told.get(name) or {}).get("status")
    ]
    return ", ".join(found)


def _shown(condition: Mapping[str, Any] | None) -> str:
    """As a kubelet writes it."""
    if condition is None:
        return "<nil>"
    return f"{condition['type']}=false reason:{condition['reason']} message:{condition['message']}"
