"""The scheduler's events: for how long what was told is remembered, so that a repeat is counted in it."""

from typing import Any, cast

from sampan.client.api import Client
from sampan.control.event_limits import FORGOTTEN_SECONDS
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.scheduling.events import Recorder


class Counted:
    """As much of a client as is needed: what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def create(self, *_: object) -> None:
        self.asked.append("create")

    async def patch(self, *_: object) -> None:
        self.asked.append("patch")


def test_what_was_not_told_for_long_is_forgotten() -> None:
    """After fifteen minutes it is an event of its own; what is told again meanwhile is counted on."""
    loop, client = SimLoop(), Counted()
    recorder = Recorder(cast(Client, client), VirtualClock(loop), "default-scheduler")

    def tell(name: str) -> str:
        pod: dict[str, Any] = {"metadata": {"name": name, "namespace": "default", "uid": name}}
        loop.run_until_complete(recorder.tell(pod, "Warning", "FailedScheduling", "no room"))
        return client.asked[-1]

    assert {tell(f"p-{number}") for number in range(50)} == {"create"}
    loop.advance(FORGOTTEN_SECONDS - 100)
    assert tell("p-0") == "patch"
    assert len(recorder._told) == 50
    loop.advance(200)
    assert tell("new") == "create"
    assert [uid for uid, *_ in recorder._told] == ["p-0", "new"]
    assert tell("p-1") == "create"
