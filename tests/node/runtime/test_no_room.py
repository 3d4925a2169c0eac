"""A real machine without room: containers and commands in them for each number of processes that there still may be."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kit import threads
from sampan.node.runtime import host
from sampan.node.runtime.protocol import EXITED, RUNNING, RuntimeFailure
from tests.node.runtime.conftest import World


def home() -> Path | None:
    """This process's cgroup for numbers of processes, if others can be made below it."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    places = {controllers: path.strip("/") for _, controllers, path in lines}
    if "pids" in places:
        return host.CGROUPS / "pids" / places["pids"]
    control = host.CGROUPS / places.get("", "") / "cgroup.subtree_control"
    return control.parent if control.exists() and "pids" in control.read_text().split() else None


pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(home() is None, reason="needs a cgroup that can bound its processes"),
]


@contextlib.contextmanager
def crowded(more: int) -> Iterator[None]:
    """Only so many processes and threads may be there beside this one's."""
    back = home()
    assert back is not None
    place = back / f"sampan-crowd-{os.getpid()}"
    place.mkdir()
    try:
        (place / "cgroup.procs").write_text(str(os.getpid()))
        (place / "pids.max").write_text(str(int((place / "pids.current").read_text()) + more))
        yield
    finally:
        (place / "pids.max").write_text("max")
        while members := (place / "cgroup.procs").read_text().split():
            for pid in members:
                with contextlib.suppress(OSError):
                    (back / "cgroup.procs").write_text(pid)
        place.rmdir()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def states(world: World) -> list[str]:
    """What the runtime itself knows of containers."""
    return os.listdir(world.settings.state_dir)


async def remove_all(world: Any) -> None:
    for state in await world.runtime.containers():
        await world.runtime.remove(state.id)
    assert await world.runtime.containers() == []


@pytest.mark.parametrize("world", ["oci"], indirect=True)
async def test_starts(world: Any) -> None:
    """Whatever part of the way there is room for: it runs, or has failed and says why; afterwards nothing is left of it."""
    await threads.prepare()
    await world.runtime.start(world.config("sleep 1000"))
    await remove_all(world)
    before, ran = descriptors(), []
    for more in range(0, 24, 2):
        with crowded(more):
            try:
                state = await world.runtime.start(world.config("sleep 1000", attempt=more))
            except RuntimeFailure as failure:
                assert failure.message and (failure.state is None or failure.state.state == EXITED), more
                ran.append(False)
            else:
                assert state.state == RUNNING
                ran.append(True)
        await remove_all(world)
        assert not states(world) and not world.cgroups("burstable/poduid-1"), more
    assert ran[0] is False and ran[-1] is True
    assert descriptors() == before


@pytest.mark.parametrize("world", ["oci"], indirect=True)
async def test_commands(world: Any) -> None:
    """They are done, or are an error; the container goes on, and no process or descriptor is left."""
    state = await world.runtime.start(world.config("sleep 1000"))
    await world.runtime.exec_sync(state.id, ("true",), 60)
    before, ran = descriptors(), []
    for more in range(0, 16, 2):
        with crowded(more):
            try:
                code, output = await world.runtime.exec_sync(state.id, ("echo", "x"), 60)
            except RuntimeFailure as failure:
                assert failure.message
                ran.append(False)
            else:
                ran.append((code, output) == (0, b"x\n"))
    assert ran[0] is False and ran[-1] is True
    assert descriptors() == before
    assert await world.runtime.exec_sync(state.id, ("echo", "x"), 60) == (0, b"x\n")
    await remove_all(world)


@pytest.mark.parametrize("more", [0, 1, 2, 3])
@pytest.mark.parametrize("world", ["oci"], indirect=True)
async def test_removals(world: Any, more: int) -> None:
    """What could not be deleted is deleted when there is room."""
    await threads.prepare()
    state = await world.runtime.start(world.config("sleep 1000"))
    with crowded(more), contextlib.suppress(RuntimeFailure, OSError):
        await world.runtime.remove(state.id)
    await remove_all(world)
    assert not states(world) and not world.cgroups("burstable/poduid-1")
