"""How a made container is let go."""

import asyncio
import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sampan.node import spawn
from sampan.node.runtime import pipes, programs
from sampan.node.runtime.programs import Bundle, Programs
from sampan.node.runtime.protocol import RuntimeFailure


@pytest.mark.parametrize("has_begun", [True, False])
async def test_the_held_descriptor_may_be_closed_meanwhile(tmp_path: Path, has_begun: bool) -> None:
    """As it is when conmon ends early: whoever gets its number then hears of his own."""
    (tmp_path / "c").mkdir()
    fifo = tmp_path / "c" / "exec.fifo"
    os.mkfifo(fifo)
    init, end = pipes.pipe()
    others, sink = pipes.pipe()
    starting = asyncio.ensure_future(Programs("/bin/runc", "", str(tmp_path), "").start("c", init))
    await asyncio.sleep(0)
    waiting = os.open(fifo, os.O_WRONLY)
    if has_begun:
        os.write(waiting, b"0")
    os.dup2(others, init)  # closed, and the number is another's
    heard = asyncio.ensure_future(pipes.readable(init))
    await asyncio.sleep(0)
    os.write(waiting, b"0")
    await starting
    os.write(sink, b"x")
    async with asyncio.timeout(60):
        await heard
    assert not fifo.exists()
    for descriptor in (init, end, others, sink, waiting):
        os.close(descriptor)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
async def test_no_room_for_one_more_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """It is a failure that a pod can show and that is tried again, and no descriptor is lost by it."""

    def refuse(*command: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(spawn, "start", refuse)
    programs = Programs("/bin/runc", "/bin/conmon", str(tmp_path), str(tmp_path))
    bundle = Bundle("c", "c", str(tmp_path), "", tty=False, stdin=False, stdin_once=False)
    before = len(os.listdir("/proc/self/fd"))
    why = os.strerror(number).lower()
    for made in (
        programs.create(bundle),
        programs.run_detached("c", str(tmp_path), ""),
        programs.run_runc("kill", "c"),
    ):
        with pytest.raises(RuntimeFailure, match=f"fork/exec /bin/(runc|conmon): {why}"):
            await made
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_runtime_that_could_not_delete(tmp_path: Path) -> None:
    """As where it has no room for its own threads: it is an error as long as there is something left."""
    runc = tmp_path / "runc"
    runc.write_text("#!/bin/sh\necho 'runtime: failed to create new OS thread' >&2\nexit 2\n")
    runc.chmod(0o755)
    programs = Programs(str(runc), "", str(tmp_path / "state"), "")
    await programs.delete("c")
    (tmp_path / "state/c").mkdir(parents=True)
    (tmp_path / "state/c/state.json").write_text('{"id":"c"}')
    with pytest.raises(RuntimeFailure, match="failed to delete the container: runtime: failed to create new OS thread"):
        await programs.delete("c")


@pytest.mark.parametrize("content", ["", '{"id":"c'])
async def test_a_runtime_that_can_not_read_its_state(tmp_path: Path, content: str) -> None:
    """As a crash leaves it: it would fail for ever, so that what it has is deleted without it."""
    runc = tmp_path / "runc"
    runc.write_text("#!/bin/sh\necho EOF >&2\nexit 1\n")
    runc.chmod(0o755)
    (tmp_path / "state/c").mkdir(parents=True)
    (tmp_path / "state/c/state.json").write_text(content)
    await Programs(str(runc), "", str(tmp_path / "state"), "").delete("c")
    assert os.listdir(tmp_path / "state") == []


async def test_a_runtime_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed with what it has started, and has failed."""
    monkeypatch.setattr(programs, "START_TIMEOUT_SECONDS", 0.2)
    slow, began = tmp_path / "runc", tmp_path / "began"
    slow.write_text(f"#!/bin/sh\necho $$ >> {began}\nsleep 1000 & echo $! >> {began}\nwait\n")
    slow.chmod(0o755)
    tools = Programs(str(slow), "", str(tmp_path), str(tmp_path))
    start, calls = programs.started, 0

    def started(*arguments: Any) -> spawn.Child:
        """The limit begins once the program has begun."""
        nonlocal calls
        calls, child, until = calls + 1, start(*arguments), time.monotonic() + 60
        while not began.exists() or began.read_text().count("\n") < 2 * calls:
            assert time.monotonic() < until
            time.sleep(0.01)
        return child

    monkeypatch.setattr(programs, "started", started)
    async with asyncio.timeout(150):
        code, output = await tools.run_runc("delete", "c")
        assert (code < 0, output) == (True, b"context deadline exceeded")
        with pytest.raises(RuntimeFailure, match="context deadline exceeded"):
            await tools.run_detached("c", str(tmp_path), "")
        for pid in began.read_text().split():
            while _runs(pid):
                await asyncio.sleep(0.01)


def _runs(pid: str) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False
