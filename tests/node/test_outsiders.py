"""Programs of others: what they are told and say, and how they end that do not come to an end."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from sampan.node import outsiders
from sampan.node.outsiders import Answer, NoAnswer

LONG = 60.0


def shell(text: str) -> tuple[str, ...]:
    return "sh", "-c", text


async def test_what_it_is_told_and_says() -> None:
    """Input, variables and both outputs, also when there is more of each than a pipe holds."""
    told = b"x" * 300_000
    answer = await outsiders.ask(shell("cat; echo $A >&2; exit 3"), LONG, told, {**os.environ, "A": "b"})
    assert answer == Answer(3, told, b"b\n")


async def test_who_does_not_listen() -> None:
    """Has not failed."""
    assert await outsiders.ask(shell("echo done"), LONG, b"x" * 300_000) == Answer(0, b"done\n", b"")


async def test_what_it_leaves_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that goes on in the background, with the program's streams, is not waited for and goes on."""
    monkeypatch.setattr(outsiders, "LATE_SECONDS", 0.05)
    pid_file = tmp_path / "pid"
    answer = await outsiders.ask(shell(f"sleep 1000 & echo $! > {pid_file}; echo done"), LONG)
    assert answer == Answer(0, b"done\n", b"")
    os.kill(int(pid_file.read_text()), 9)


@pytest.mark.parametrize("text", ["yes", "yes >&2", "yes & wait"])
async def test_who_does_not_stop_talking(text: str) -> None:
    """Is ended, with all that it has started."""
    with pytest.raises(NoAnswer, match="it says more than 1 MiB"):
        await outsiders.ask(shell(text), LONG)


async def test_who_hangs(tmp_path: Path) -> None:
    """Is killed after its time, or when whoever asked is broken off; no descriptor is left."""
    before = set(os.listdir("/proc/self/fd"))
    pid_file = tmp_path / "pid"
    hanging = shell(f"sleep 1000 & echo $$ $! > {pid_file}.new; mv {pid_file}.new {pid_file}; wait")
    async with asyncio.timeout(LONG):
        with pytest.raises(NoAnswer, match="no answer within 1 seconds"):
            await outsiders.ask(hanging, 1.0)
        await _ended(pid_file)
        asking = asyncio.ensure_future(outsiders.ask(hanging, LONG, b"x" * 300_000))
        while not pid_file.exists():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await _ended(pid_file)
        while set(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)


async def test_who_is_not_there() -> None:
    """Nothing is left of the attempt."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        await outsiders.ask(("/no/such/program",), LONG, b"x")
    assert len(os.listdir("/proc/self/fd")) == before


async def _ended(pid_file: Path) -> None:
    """All of the processes that are named there; a process whose parent has not noticed its end has ended."""
    if not pid_file.exists():
        return  # it was killed before it came to that
    for pid in pid_file.read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                await asyncio.sleep(0.01)
    pid_file.unlink()
