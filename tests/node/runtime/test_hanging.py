"""A runtime that hangs at one step, with real containers: what is to end does, at once, and leaves nothing."""

import asyncio
import contextlib
import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sampan.node.runtime import oci, program_health, programs
from sampan.node.runtime.protocol import EXITED, RuntimeFailure
from tests.node.runtime.conftest import until

pytestmark = [pytest.mark.root, pytest.mark.slow]

POD = "burstable/poduid-1"
FOR_EVER = 10_000.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who relies on a long wait never comes to its end."""
    monkeypatch.setattr(oci, "KILL_SECONDS", FOR_EVER)


def runtimes(folder: Path) -> list[int]:
    """The processes of `runc exec` that are under way for a world in this folder."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            if b"exec" in command and any(os.fsencode(folder) in word for word in command):
                found.append(int(name))
    return found


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("shares_processes", [False, True])
async def test_a_command_amid_the_end(world: Any, *, has_begun: bool, shares_processes: bool) -> None:
    """A container that is killed takes a command along whose runtime stands still, however long that may take."""
    state = await world.runtime.start(world.config("sleep 1000", shares_processes=shares_processes))
    asked = asyncio.ensure_future(world.runtime.exec_sync(state.id, ("sh", "-c", "echo > /begun; sleep 1000"), 300.0))
    begun = Path(world.runtime.layer(state.id), "begun")
    await until(begun.exists if has_begun else lambda: runtimes(world.folder))
    for pid in runtimes(world.folder):
        os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(60):
        await world.runtime.stop(state.id, "SIGKILL", 0)
        await world.runtime.remove(state.id)
        await world.runtime.release("uid-1")
        with contextlib.suppress(RuntimeFailure):
            assert await asked == (137, b"")
    assert not runtimes(world.folder) and not os.listdir(world.folder / "node/execs")
    assert not world.cgroups(POD)


async def test_a_slow_reader(world: Any) -> None:
    """Gets all that a command said before its container was killed, and how it ended; the container does not wait."""
    state = await world.runtime.start(world.config("sleep 1000"))
    session = await world.runtime.exec(state.id, ("sh", "-c", "head -c 110000 /dev/zero; exit 7"))  # more than a pipe's
    await until(lambda: not session.holds_container)
    async with asyncio.timeout(60):
        await world.runtime.stop(state.id, "SIGKILL", 0)
        await world.runtime.remove(state.id)
        assert (sum([len(piece) async for _, piece in session.output()]), await session.wait()) == (110_000, 7)
        await session.close()


def hang(world: Any, step: str, instead: str = "exec sleep 1000") -> Path:
    """The next agent's runtime hangs at this step, or does something else, from when this file is there."""
    slow, mark = world.folder / "slow-runc", world.folder / "hang"
    text = f'#!/bin/sh\n[ -e {mark} ] && case $* in *{step}*) {instead};; esac\nexec {programs.find("runc")} "$@"\n'
    slow.write_text(text)
    slow.chmod(0o755)
    world.settings = dataclasses.replace(world.settings, runc=str(slow))
    return Path(mark)


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_creation_that_is_given_up(world: Any, *, is_begun: bool) -> None:
    """Ends at once, with the runtime, all that it has started, and what there is of a container."""
    begin = f'{programs.find("runc")} "$@";' if is_begun else ""
    mark = hang(world, "create", f"{begin} sleep 1000 & echo $! >> {world.folder}/slept; wait; exit 1")
    await world.crash()
    await world.agent()
    mark.touch()
    asked = [asyncio.ensure_future(world.runtime.start(world.config("sleep 1000"))) for _ in range(2)]
    slept = Path(world.folder, "slept")
    await until(lambda: slept.exists() and len(slept.read_text().split()) == 2)
    async with asyncio.timeout(60):
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
    assert all(each.cancelled() for each in asked)
    await until(lambda: not any(is_there(pid) for pid in slept.read_text().split()))
    assert not await world.runtime.containers() and not os.listdir(world.folder / "node/c")
    assert not world.cgroups(POD) and not os.listdir(world.settings.state_dir)


def is_there(pid: str) -> bool:
    """A process whose parent has not noticed its end does not count."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_deletion(world: Any, monkeypatch: pytest.MonkeyPatch, *, has_ended: bool) -> None:
    """Is broken off; we delete then ourselves what the runtime has of it, and the agent's start does not wait for that."""
    mark = hang(world, "delete")
    await world.crash()
    await world.agent()
    state = await world.runtime.start(world.config("sleep 1000"))
    mark.touch()
    if has_ended:
        await world.runtime.stop(state.id, "SIGKILL", 0)
    await world.crash()
    async with asyncio.timeout(60):
        await world.agent()
        assert [each.state for each in await world.runtime.containers()] == [EXITED if has_ended else state.state]
        monkeypatch.setattr(programs, "START_TIMEOUT_SECONDS", 0.5)
        await world.runtime.remove(state.id)
    assert not world.cgroups(POD) and not os.listdir(world.settings.state_dir)
    mark.unlink()


async def test_a_runtime_that_can_not_be_used(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node is told. Commands fail at once and are not blamed; what is to end does, and what is to begin waits."""
    mark, said = hang(world, ""), list[str]()
    await world.crash()
    monkeypatch.setattr(oci, "_overlook", said.append)
    monkeypatch.setattr(program_health, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(program_health, "VOUCH_SECONDS", 0.5)
    monkeypatch.setattr(program_health, "PATIENCE_SECONDS", 0.5)
    await world.agent()
    state = await world.runtime.start(world.config("sleep 1000"))
    mark.touch()
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeFailure, match="container runtime is down"):
            await world.runtime.exec_sync(state.id, ("true",), 0.5)
        await until(lambda: said == [program_health.DOWN])
        with pytest.raises(RuntimeFailure, match="container runtime is down"):
            await world.runtime.exec(state.id, ("true",))
        waiting = asyncio.ensure_future(world.runtime.start(world.config("sleep 1000", name="second")))
        await world.runtime.remove(state.id)
        assert not await world.runtime.containers() and not world.cgroups(POD) and not waiting.done()
        mark.unlink()
        second = await waiting
    assert said == [program_health.DOWN, ""]
    await world.runtime.remove(second.id)


async def test_a_version_that_is_not_told(world: Any) -> None:
    """What the runtime says instead is none."""
    assert world.runtime.version != "runc://unknown"
    await world.crash()
    hang(world, "--version", "echo context deadline exceeded; exit 1").touch()
    assert (await world.agent()).version == "runc://unknown"
