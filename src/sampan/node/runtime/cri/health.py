"""Health: whether the runtime answers; a node whose runtime has not for half a minute is not Ready, as with a kubelet."""

from collections.abc import Callable

from sampan.kit.clock import Clock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri.link import Link

LOOK_SECONDS, ANSWER_SECONDS = 5.0, 10.0
PATIENCE_SECONDS = 30.0
DOWN = "container runtime is down"


async def watch(link: Link, clock: Clock, tell: Callable[[str], None]) -> None:
    """Asks for ever. Tells why the node can't be used, and nothing once it can again."""
    seen, said = clock.monotonic(), ""
    while True:
        try:
            await link.call("Status", {}, ANSWER_SECONDS)
        except RpcError:
            why = DOWN if clock.monotonic() - seen >= PATIENCE_SECONDS else said
        else:
            seen, why = clock.monotonic(), ""
        if why != said:
            said = why
            tell(why)
        await clock.sleep(LOOK_SECONDS)
