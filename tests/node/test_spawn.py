"""Programs start without a copy of the agent, and none stays behind as a zombie."""

import ast
import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from sampan.node import spawn


async def gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -signal.SIGKILL)],
)
async def test_how_it_ended(script: str, code: int) -> None:
    """Its exit code, or the signal; asked at any time, and more than once."""
    child = spawn.start(["sh", "-c", script])
    assert await child.wait() == code
    assert await child.wait() == code
    assert not Path(f"/proc/{child.pid}").exists()


async def test_nobody_waits() -> None:
    """It is reaped all the same, also when its waiter gave up."""
    child = spawn.start(["sleep", "0.2"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await child.wait()
    await gone(child.pid)
    await gone(spawn.start(["true"]).pid)


async def test_surroundings(tmp_path: Path) -> None:
    """It has the directory, the variables and the descriptors that it is given, and no others."""
    source, sink = os.pipe()
    other, hidden = os.pipe()
    script = "import os; found = [os.getcwd(), os.environ['WORD'], 'HOME' in os.environ, os.listdir('/proc/self/fd')]"
    script += f"; os.write({sink}, repr(found).encode())"
    around = spawn.Surroundings(str(tmp_path), (sink,), {"PATH": os.environ["PATH"], "WORD": "a word"})
    assert await spawn.start([sys.executable, "-c", script], around).wait() == 0
    folder, word, has_home, descriptors = ast.literal_eval(os.read(source, 4096).decode())
    assert (folder, word, has_home) == (str(tmp_path), "a word", False)
    assert str(sink) in descriptors
    assert str(hidden) not in descriptors
    for descriptor in (source, sink, other, hidden):
        os.close(descriptor)


async def test_missing_program() -> None:
    """It says so at once."""
    with pytest.raises(FileNotFoundError):
        spawn.start(["/there/is/none"])
