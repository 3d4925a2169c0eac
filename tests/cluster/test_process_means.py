"""What the control plane and the agents have of the machine: memory goes back, and descriptors are theirs."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from sampan.cluster import agents
from sampan.cluster.control_plane import ControlPlane, Notifier
from sampan.cluster.settings import Settings
from sampan.kit import descriptors, heap
from sampan.kit.clock import Clock
from sampan.node import process

PATIENCE_SECONDS = 60


async def test_control_plane_and_agent_give_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look after it for as long as they live."""
    began: asyncio.Queue[str] = asyncio.Queue()

    async def looks(clock: Clock) -> None:
        task = asyncio.current_task()
        began.put_nowait(task.get_name() if task else "")
        await asyncio.Event().wait()

    monkeypatch.setattr(heap, "run", looks)
    cluster = Settings(name="heap", directory=tmp_path, api_port=0, runtime="simulated", store="memory")
    living = [asyncio.ensure_future(ControlPlane(cluster, Notifier(None)).run())]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await began.get() == "control plane/heap"
            config = process.Config(**orjson.loads(agents.write_config(cluster, 0).read_bytes()))
            living.append(asyncio.ensure_future(process.run(config)))
            assert await began.get() == "node/heap"
    finally:
        for each in living:
            each.cancel()
        await asyncio.gather(*living, return_exceptions=True)


@pytest.mark.parametrize(("more", "taken"), [((), 1), (("--teardown",), 0)])
def test_an_agent_takes_all_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], taken: int
) -> None:
    """Before anything of it counts them. What takes the node down needs few."""
    cluster = Settings(name="heap", directory=tmp_path, runtime="simulated")
    told: list[str] = []

    def end(work: Coroutine[Any, Any, int]) -> int:
        work.close()
        told.append("runs")
        return 0

    monkeypatch.setattr(descriptors, "take_all", lambda: told.append("takes"))
    monkeypatch.setattr(process, "_run", end)
    assert process.main(["--config", str(agents.write_config(cluster, 0)), *more]) == 0
    assert told == ["takes"] * taken + ["runs"]
