"""A runtime that fails to delete a container, once or for ever: neither the container nor the node stays for that."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from sampan.node.images import rooted
from sampan.node.runtime import oci, programs
from sampan.node.runtime.protocol import RuntimeFailure
from tests.node.runtime.conftest import until

pytestmark = [pytest.mark.root, pytest.mark.slow]

POD = "burstable/poduid-1"


def fail(patch: pytest.MonkeyPatch, times: int) -> list[str]:
    """The next deletions fail; the ids that were asked for."""
    asked: list[str] = []
    delete = programs.Programs.delete

    async def failing(self: programs.Programs, container_id: str, cgroup: str = "", **more: Any) -> None:
        asked.append(container_id)
        if len(asked) <= times:
            raise RuntimeFailure("RuntimeError", "no room")
        await delete(self, container_id, cgroup, **more)

    patch.setattr(programs.Programs, "delete", failing)
    return asked


async def test_damaged_state(world: Any) -> None:
    """As a crash leaves it, at which runc always fails: a container that runs is removed with its cgroup and processes."""
    state = await world.runtime.start(world.config("sleep 1000 & sleep 1000"))
    Path(world.settings.state_dir, state.id, "state.json").write_bytes(b"")
    await world.runtime.remove(state.id)
    assert await world.runtime.containers() == []
    assert os.listdir(world.settings.state_dir) == []
    assert not world.cgroups(POD)


async def test_the_agent_starts(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half made and can't be deleted now is deleted later."""
    await world.crash()
    for name in ("first", "second"):
        (world.folder / "node/c" / name).mkdir()
    monkeypatch.setattr(oci, "DISCARD_SECONDS", 0.01)
    fail(monkeypatch, 5)
    await world.agent()
    await until(lambda: not os.listdir(world.folder / "node/c"))


async def test_the_rest_is_torn_down(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is told, when all else is gone."""
    for name in ("first", "second"):
        await world.runtime.start(world.config("sleep 1000", name=name))
    with monkeypatch.context() as patch:
        asked = fail(patch, 1000)
        with pytest.raises(RuntimeFailure, match="no room"):
            await world.runtime.cleanup_all()
        assert len(set(asked)) == 2
    await until(lambda: not world.leftovers())
    assert not Path(world.settings.root).exists()


async def test_who_waits_for_one_that_failed_tries_himself(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """He is not told that it is gone while it is not."""
    state = await world.runtime.start(world.config("sleep 1000"))
    fail(monkeypatch, 2)  # at its end, and for the first
    found = await asyncio.gather(*(world.runtime.remove(state.id) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [RuntimeFailure, type(None), type(None)]
    assert not world.cgroups(POD) and not os.listdir(world.folder / "node/c")


async def test_two_that_are_discarded_at_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither counts the other as one that still needs the pod's cgroup."""
    for name in ("first", "second"):
        await world.runtime.start(world.config("sleep 1000", name=name))
    both, remove = threading.Barrier(2, timeout=60), rooted.remove_tree

    def together(path: str) -> None:
        if os.path.dirname(path) == str(world.folder / "node/c"):
            both.wait()
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(rooted, "remove_tree", together)
        await asyncio.gather(*map(world.runtime._discard_in_time, list(world.runtime._containers.values())))
    assert not world.cgroups(POD)
