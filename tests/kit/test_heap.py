"""What was freed goes back to the machine, at a time when nobody minds."""

import asyncio
import ctypes
import subprocess
import sys
import time

import pytest

from sampan.kit import heap
from sampan.kit.clock import SystemClock

FRAGMENTED = """
from pathlib import Path
from sampan.kit import heap

def rss():
    text = Path("/proc/self/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:"))

blocks = [bytes(2000) for _ in range(20_000)]
kept = blocks[::20]
del blocks
before = rss()
assert heap.give_back() > 0
assert before - rss() > 16 << 10, (before, rss())
"""


class Quick(SystemClock):
    """Waits for nobody; time goes on by as much as was waited. Says after which waits the heap was to be given back."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives back by itself")
def test_gaps_go_back() -> None:
    """Of 40 MB that were freed around single pieces that stay, most."""
    done = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens where it knows no such call."""
    monkeypatch.setattr(heap, "_trim", lambda: None)
    assert heap.give_back() == 0


@pytest.mark.parametrize(
    ("waited", "busy", "took", "due"),
    [
        (30, 0.1, 0.005, True),
        (30, 0.9, 0.005, False),
        (120, 0.9, 0.005, True),
        (120, 0.1, 0.26, False),
        (120, 0.9, 0.26, False),
        (270, 0.9, 0.26, True),
    ],
)
def test_when_it_is_due(waited: float, busy: float, took: float, due: bool) -> None:
    """When there is little to do, or after a while; where it took long, not before others have waited for a thousandth only."""
    assert heap.is_due(waited, busy, took) is due


@pytest.mark.parametrize(
    ("work", "times"),
    [
        (0.0, []),  # an idle process
        (0.02, [60, 120, 180, 240]),  # a second of work in 50 s: seen at every second look
        (0.9, [120, 240]),
    ],
)
async def test_how_often(monkeypatch: pytest.MonkeyPatch, work: float, times: list[float]) -> None:
    """An idle process has no gaps, a quiet one is asked whenever it has worked a second, a busy one every two minutes."""
    clock, given = Quick(), list[float]()
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if clock.passed >= 240:
            over.set()
            await asyncio.Event().wait()
        await Quick.sleep(clock, seconds)

    def give_back() -> float:
        given.append(clock.passed)
        return 0.001

    monkeypatch.setattr(clock, "sleep", sleep)
    monkeypatch.setattr(time, "process_time", lambda: clock.passed * work)
    monkeypatch.setattr(heap, "give_back", give_back)
    running = asyncio.ensure_future(heap.run(clock))
    await over.wait()
    running.cancel()
    assert given == times


@pytest.mark.parametrize("error", [BlockingIOError, MemoryError, ImportError])
async def test_no_room(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """For a thread, for anything, or for one more file: it is tried again later."""
    clock, tried = Quick(), list[float]()
    twice = asyncio.Event()

    async def refuse(work: object) -> float:
        tried.append(clock.passed)
        if len(tried) > 1:
            twice.set()
        raise error

    monkeypatch.setattr(time, "process_time", lambda: clock.passed * 0.1)
    monkeypatch.setattr(asyncio, "to_thread", refuse)
    running = asyncio.ensure_future(heap.run(clock))
    await twice.wait()
    running.cancel()
    assert tried[:2] == [30, 60]
