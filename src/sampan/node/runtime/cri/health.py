"""Health: what a CRI runtime says of itself. A node whose runtime does not answer, or can't work, is not Ready.

As with a kubelet: not before it has been silent for half a minute; one that is slow to answer is not down.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sampan.kit.clock import Clock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri.link import Link

LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
"""So long one answer may take, and so long there may be none."""
DOWN = "container runtime is down"
_CONDITIONS = (("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready"))


async def watch(link: Link, clock: Clock, tell: Callable[[str], None]) -> None:
    """Asks until the connection is closed. Tells why the node can't be used, and nothing once it can again."""
    seen, said = clock.monotonic(), ""
    while True:
        try:
            answer = await link.call("Status", {}, PATIENCE_SECONDS)
        except RpcError:
            if link.is_closed:
                return
            why = DOWN if clock.monotonic() - seen >= PATIENCE_SECONDS else said
        else:
            seen, why = clock.monotonic(), complaint(answer)
        if why != said:
            said = why
            tell(why)
        await clock.sleep(LOOK_SECONDS)


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
