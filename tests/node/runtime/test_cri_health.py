"""A runtime that does not answer makes its node not Ready, until it does."""

import socket
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri import health, link
from sampan.node.runtime.protocol import RuntimeGone
from tests.node.conftest import Node

READY = {"RuntimeReady": True, "NetworkReady": True}


def answer(**conditions: bool) -> dict[str, Any]:
    told = [{"type": name, "status": is_so, "reason": "R", "message": "m"} for name, is_so in conditions.items()]
    return {"status": {"conditions": told}}


class Link:
    """A runtime that hangs at times, or is slow: a call is given up then after its time."""

    is_closed = False

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.hangs, self.slowness, self.conditions = clock, False, 0.0, READY

    async def call(self, method: str, request: Any, seconds: float) -> dict[str, Any]:
        assert method == "Status"
        begun = self.clock.now()
        while self.hangs or self.clock.now() < begun + self.slowness:
            if self.clock.now() >= begun + seconds:
                raise RpcError("DeadlineExceeded", "context deadline exceeded")
            await self.clock.sleep(1)
        return answer(**self.conditions)


def test_it_is_told_once() -> None:
    """After half a minute without an answer, and at the first that comes again; a shorter one, or a slow answer, is nothing."""
    loop, said = SimLoop(), list[str]()
    link = Link(VirtualClock(loop))
    watching = loop.create_task(health.Health(link, link.clock).watch(said.append))  # type: ignore[arg-type]
    for hangs, seconds, told in ((False, 60, []), (True, 12, []), (False, 20, []), (True, 300, [health.DOWN])):
        link.hangs = hangs
        loop.advance(seconds)
        assert said == told
    link.hangs = False
    loop.advance(20)
    assert said == [health.DOWN, ""]
    link.slowness = 20.0
    loop.advance(300)
    assert said == [health.DOWN, ""]
    link.slowness, link.conditions = 0.0, {**READY, "NetworkReady": False}
    loop.advance(30)
    assert said[2:] == ["container runtime network not ready: NetworkReady=false reason:R message:m"]
    watching.cancel()
    loop.advance(0.1)
    loop.close()


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        (READY, ""),
        ({**READY, "Other": False}, ""),
        ({**READY, "RuntimeReady": False}, "container runtime not ready: RuntimeReady=false reason:R message:m"),
        ({"RuntimeReady": True}, "container runtime network not ready: <nil>"),
    ],
)
def test_what_it_says_of_itself(conditions: dict[str, bool], why: str) -> None:
    """In a kubelet's words."""
    assert health.complaint(answer(**conditions)) == why


def test_an_answer_without_anything() -> None:
    """Is none that says that it is ready."""
    why = "container runtime not ready: <nil>, container runtime network not ready: <nil>"
    assert health.complaint({"status": None}) == why


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


def test_nobody_listens(tmp_path: Path) -> None:
    """Where there is no socket, or one that nobody has: then it is gone. Whoever listens may answer again."""
    place, silence = tmp_path / "left.sock", RpcError("Unavailable", "no answer")
    assert isinstance(link._unusable("unix:///x", str(place), silence), RuntimeGone)
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(place))
        held.listen()
        assert not isinstance(link._unusable("unix:///x", str(place), silence), RuntimeGone)
    with pytest.raises(RuntimeGone):
        link.check(f"unix://{place}")
