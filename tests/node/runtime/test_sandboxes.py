"""How a sandbox is ended: again, as long as the runtime can't reach the process that keeps it."""

from typing import Any

import pytest

from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri import api
from sampan.node.runtime.cri.sandboxes import STOP_PAUSES, Sandboxes

CLOSED = RpcError("Unknown", 'failed to kill container "c": ttrpc: closed: unknown')


class Link:
    """One sandbox, `s`, whose first stops fail as given."""

    def __init__(self, *failures: RpcError) -> None:
        self.failures = list(failures)
        self.asked: list[str] = []

    async def call(self, method: str, request: Any = None, seconds: float = 0.0) -> dict[str, Any]:
        self.asked.append(method)
        if method == "ListPodSandbox":
            metadata = {"uid": "uid-1", "attempt": 0}
            return {"items": [{"id": "s", "metadata": metadata, "state": api.READY, "annotations": {}, "labels": {}}]}
        assert method == "StopPodSandbox"
        assert request == {"pod_sandbox_id": "s"}
        if self.failures:
            raise self.failures.pop(0)
        return {}


def stopped(*failures: RpcError) -> tuple[int, float]:
    """How often it was asked to stop, and how long that took. Raises RpcError."""
    loop, link = SimLoop(), Link(*failures)

    async def play() -> None:
        found = Sandboxes(link, "owner", VirtualClock(loop))  # type: ignore[arg-type]
        await found.load()
        await found.stop("uid-1")
        await found.stop("uid-1")  # it has ended: nobody is asked any more

    try:
        loop.run_until_complete(play())
        return link.asked.count("StopPodSandbox"), loop.time()
    finally:
        loop.close()


def test_it_is_asked_again_while_its_process_is_just_ending() -> None:
    """Each time later; and what has gone meanwhile has ended."""
    assert stopped() == (1, 0.0)
    assert stopped(CLOSED, CLOSED) == (3, pytest.approx(STOP_PAUSES[0] + STOP_PAUSES[1]))
    assert stopped(CLOSED, RpcError("NotFound", "no such sandbox")) == (2, pytest.approx(STOP_PAUSES[0]))


def test_it_is_not_asked_for_ever() -> None:
    """The last failure is told."""
    with pytest.raises(RpcError, match="ttrpc: closed"):
        stopped(*[CLOSED] * len(STOP_PAUSES))
    assert stopped(*[CLOSED] * (len(STOP_PAUSES) - 1))[0] == len(STOP_PAUSES)


@pytest.mark.parametrize("code", ["DeadlineExceeded", "Unavailable", "Canceled", "Internal"])
def test_other_failures_are_told_at_once(code: str) -> None:
    """A runtime that is away, or too slow, is the caller's business."""
    with pytest.raises(RpcError, match=code):
        stopped(RpcError(code, "so it is"))
