"""What is left of ended containers when an agent starts."""

import asyncio
import logging
from pathlib import Path

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node.runtime import bundle, programs, record
from sampan.node.runtime.container import Container
from sampan.node.runtime.oci import CONCURRENT_RELEASES, OciRuntime, Settings


async def test_one_is_in_no_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the runtime hangs at it or something unforeseen happens: each of the others can be removed."""
    asked: list[str] = []
    busy, most = 0, 0

    async def delete(self: programs.Programs, container_id: str, cgroup: str = "", **more: object) -> None:
        nonlocal busy, most
        asked.append(container_id)
        busy, most = busy + 1, max(most, busy + 1)
        await asyncio.sleep(0)
        if container_id == "c0":
            await asyncio.Event().wait()
        busy -= 1
        if container_id == "c1":
            raise ValueError("unforeseen")

    monkeypatch.setattr(programs.Programs, "delete", delete)
    monkeypatch.setattr(bundle, "unmount", lambda container: None)
    tasks = Tasks("test")
    runtime = OciRuntime(Settings(str(tmp_path), run_root=str(tmp_path / "run")), SystemClock(), tasks, SystemIds())
    ended = [Container(str(tmp_path / f"c{n}"), record.unknown(f"c{n}")) for n in range(4 * CONCURRENT_RELEASES)]
    tasks.spawn(runtime._release_all(ended), "release", critical=False)
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.released.wait() for each in ended[1:]))
    assert [each.id for each in ended if not each.released.is_set()] == ["c0"]
    assert asked == [each.id for each in ended] and 1 < most <= CONCURRENT_RELEASES
    assert "releasing container c1" in caplog.text and "unforeseen" in caplog.text
    await tasks.close()
