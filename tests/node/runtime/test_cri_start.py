"""A start that is given up while the runtime makes the container: that comes about, and is then taken away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.images.model import Image
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import host, pod_limits
from sampan.node.runtime.cri.link import Facts
from sampan.node.runtime.cri.runtime import CriRuntime, Settings
from sampan.node.runtime.protocol import ContainerConfig


class Link:
    """A runtime that takes its time over one method, and then does or refuses it."""

    def __init__(self, slow: str, *, refuses: bool = False) -> None:
        self.slow, self.refuses = slow, refuses
        self.asked: list[str] = []
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def call(self, method: str, request: Any = None, seconds: float = 0.0) -> dict[str, Any]:
        if method == self.slow:
            self.reached.set()
            await self.go_on.wait()
            if self.refuses:
                raise RpcError("Unknown", "it could not be made")
        self.asked.append(method)
        return {"RunPodSandbox": {"pod_sandbox_id": "s"}, "CreateContainer": {"container_id": "c"}}.get(method, {})


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks("test")
    yield made
    await made.close()


async def given_up(link: Link, tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CriRuntime:
    """A runtime whose start was cancelled in the middle of that, and has ended."""

    async def nothing(*arguments: Any) -> None: ...

    settings = Settings("/nowhere.sock", str(folder / "node"), str(folder / "images"), folder / "run")
    made = CriRuntime(settings, link, SystemClock(), tasks)  # type: ignore[arg-type]
    monkeypatch.setattr(made, "_host", host.inspect())
    monkeypatch.setattr(made, "_facts", Facts("containerd", "1.6.20", True, {}, {}, {}))
    monkeypatch.setattr(made._handover, "ensure", nothing)
    monkeypatch.setattr(made._handover, "ensure_sandbox_image", nothing)
    monkeypatch.setattr(pod_limits, "apply", lambda *arguments: None)
    config = ContainerConfig(
        "uid-1", "default", "web", "main", Image("sha256:0", layer_dirs=(str(folder),)), command=("true",),
        cgroup_parent="below/pod", log_path=str(folder / "logs/0.log"),
    )  # fmt: skip
    starting = asyncio.ensure_future(made.start(config))
    await link.reached.wait()
    starting.cancel()
    await asyncio.sleep(0)
    assert not starting.done()
    link.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    return made


@pytest.mark.parametrize("slow", ["RunPodSandbox", "CreateContainer"])
async def test_what_was_asked_for_is_taken_away(
    slow: str, tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container goes; the pod's sandbox is known, so that it goes with the pod."""
    link = Link(slow)
    made = await given_up(link, tasks, tmp_path, monkeypatch)
    assert link.asked == ["RunPodSandbox", "CreateContainer", "RemoveContainer"]
    assert made.pods() == {"uid-1"}


async def test_what_fails_meanwhile_needs_nothing(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told: nobody waits any more."""
    link = Link("RunPodSandbox", refuses=True)
    made = await given_up(link, tasks, tmp_path, monkeypatch)
    assert link.asked == []
    assert made.pods() == set()
