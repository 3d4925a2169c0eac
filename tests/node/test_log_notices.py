"""Followers of logs share the kernel's word."""

import asyncio
import os
import resource
from pathlib import Path

from sampan.node.log_notices import Watch


def inotifies() -> int:
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += "inotify" in os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    return found


async def test_many_share_one_descriptor(tmp_path: Path) -> None:
    """However many follow; each is told of what is in its own directory, and the last one leaves nothing."""
    before = inotifies()
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    watches = [Watch(str(folder)) for folder in folders for _ in range(200)]
    assert inotifies() == before + 1
    (folders[1] / "0.log").write_text("x")
    async with asyncio.timeout(60):
        while not any(watch.is_told for watch in watches):
            await asyncio.sleep(0.01)
    assert [watch.is_told for watch in watches] == [False] * 200 + [True] * 200 + [False] * 200
    await watches[200].wait()
    assert not watches[200].is_told
    for watch in watches:
        watch.close()
        watch.close()
    assert inotifies() == before


async def test_one_that_leaves_does_not_take_the_word_from_others(tmp_path: Path) -> None:
    """The directory is watched as long as somebody wants it."""
    first, second = Watch(str(tmp_path)), Watch(str(tmp_path))
    first.close()
    (tmp_path / "0.log").write_text("x")
    async with asyncio.timeout(60):
        while not second.is_told:
            await asyncio.sleep(0.01)
    second.close()


async def test_without_a_descriptor_the_next_follower_asks_again(tmp_path: Path) -> None:
    """As while the process has no more of them: who comes later is told, though the first is still there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        first = Watch(str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    second = Watch(str(tmp_path))
    (tmp_path / "0.log").write_text("x")
    async with asyncio.timeout(60):
        while not second.is_told:
            await asyncio.sleep(0.01)
    for watch in (first, second):
        watch.close()
