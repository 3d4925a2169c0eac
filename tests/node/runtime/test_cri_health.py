"""A runtime that does not answer makes its node not Ready, until it does."""

from typing import Any

from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri import health
from tests.node.conftest import Node


class Link:
    """A runtime that hangs at times: the call is given up then."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.hangs = clock, False

    async def call(self, method: str, request: Any, seconds: float) -> dict[str, Any]:
        assert method == "Status"
        if self.hangs:
            await self.clock.sleep(seconds)
            raise RpcError("DeadlineExceeded", "context deadline exceeded")
        return {}


def test_it_is_told_once() -> None:
    """After half a minute without an answer, and at the first that comes again; a shorter silence is nothing."""
    loop, said = SimLoop(), list[str]()
    link = Link(VirtualClock(loop))
    watching = loop.create_task(health.watch(link, link.clock, said.append))  # type: ignore[arg-type]
    for hangs, seconds, told in ((False, 60, []), (True, 12, []), (False, 20, []), (True, 300, [health.DOWN])):
        link.hangs = hangs
        loop.advance(seconds)
        assert said == told
    link.hangs = False
    loop.advance(20)
    assert said == [health.DOWN, ""]
    watching.cancel()
    loop.advance(0.1)
    loop.close()


def test_the_node_says_so(node: Node) -> None:
    """Beside what else it has to say; it is Ready when nobody has a reason any more."""

    def ready() -> tuple[str, str, str]:
        node.loop.advance(5)
        found = {c["type"]: c for c in node.client.find("nodes", "node-1", "")["status"]["conditions"]}["Ready"]
        return found["status"], found["reason"], found["message"]

    say = node.agent.heartbeat.say_unready
    say(health.DOWN, "runtime")
    assert ready() == ("False", "KubeletNotReady", "container runtime is down")
    say("node is shutting down")
    assert ready() == ("False", "KubeletNotReady", "[node is shutting down, container runtime is down]")
    say("")
    say("", "runtime")
    assert ready()[0] == "True"
