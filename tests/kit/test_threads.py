"""A machine without room for one more thread: an error that is expected, and nothing is done twice or late."""

import asyncio
import errno
import threading

import pytest

from sampan.kit import threads


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_that_can_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an OSError, as for a process."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="resource temporarily unavailable") as caught:
        threads.start(lambda: None, "x")
    assert caught.value.errno == errno.EAGAIN


async def test_work_that_is_refused_is_not_done_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no thread at all the caller hears of it, and when there is room again only what was asked anew is done."""
    asyncio.get_running_loop().set_default_executor(threads.Pool())
    done: list[int] = []
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="resource temporarily unavailable"):
            await asyncio.to_thread(done.append, 1)
    await asyncio.to_thread(done.append, 2)
    assert done == [2]


async def test_work_waits_for_the_threads_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is late, and no error."""
    await threads.prepare()
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(60)

    holding = asyncio.ensure_future(asyncio.to_thread(hold))
    await asyncio.sleep(0)
    begun.wait(60)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    waiting = [asyncio.ensure_future(asyncio.to_thread(int, "7")) for _ in range(3)]
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(60):
        assert await asyncio.gather(holding, *waiting) == [None, 7, 7, 7]
    monkeypatch.undo()
