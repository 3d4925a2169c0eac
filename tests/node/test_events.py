"""The node's events: for how long what was told is remembered, so that a repeat is counted in it."""

from typing import Any, cast

from sampan.client.api import Client
from sampan.control.event_limits import FORGOTTEN_SECONDS
from sampan.kinds.core.event import EVENT
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.node.events import Recorder
from sampan.node.observed import Emit

PULLED = Emit("Normal", "Pulled", "it is there")


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "uid": name}}


def test_what_was_not_told_for_long_is_forgotten() -> None:
    """After fifteen minutes, with its count; what is told again meanwhile is counted on."""
    loop = SimLoop()
    recorder = Recorder(cast(Client, None), EVENT, "node", VirtualClock(loop))
    for number in range(50):
        recorder.emit(pod(f"p-{number}"), PULLED)
    loop.advance(FORGOTTEN_SECONDS - 100)
    recorder.emit(pod("p-0"), PULLED)
    assert [event["count"] for event in recorder._queue][-1] == 2
    assert len(recorder._known) == 50
    loop.advance(200)
    recorder.emit(pod("new"), PULLED)
    assert [event["metadata"]["name"].split(".")[0] for event in recorder._known.values()] == ["p-0", "new"]
    assert len(recorder._counts) == 1


def test_what_was_told_of_a_pod_is_forgotten_with_it() -> None:
    """Others' is kept; what is still to be sent is sent."""
    loop = SimLoop()
    recorder = Recorder(cast(Client, None), EVENT, "node", VirtualClock(loop))
    for name in ("a", "b", "a"):
        recorder.emit(pod(name), PULLED)
    recorder.forget("a")
    assert [event["metadata"]["name"].split(".")[0] for event in recorder._known.values()] == ["b"]
    assert not recorder._counts
    assert len(recorder._queue) == 2
