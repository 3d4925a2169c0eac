"""How a made container is let go."""

import asyncio
import os
from pathlib import Path

import pytest

from sampan.node.runtime import pipes
from sampan.node.runtime.programs import Programs


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
    async with asyncio.timeout(10):
        await heard
    assert not fifo.exists()
    for descriptor in (init, end, others, sink, waiting):
        os.close(descriptor)
