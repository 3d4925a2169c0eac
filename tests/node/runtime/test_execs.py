"""Processes in containers: line ends of a terminal, crowds, and a machine that has no more descriptors."""

import asyncio
import dataclasses
import errno
import os
import resource
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import orjson
import pytest

from sampan.kit import descriptors
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node import spawn
from sampan.node.runtime import execs, programs, record, spec
from sampan.node.runtime.container import Container
from sampan.node.runtime.execs import OF_USERS, Execs, _LineEnds
from sampan.node.runtime.program_health import DOWN, ProgramHealth
from sampan.node.runtime.programs import Programs
from sampan.node.runtime.protocol import RuntimeFailure


@pytest.mark.parametrize(
    "pieces",
    [[b"a\nb\r\nc\n"], [b"a", b"\nb\r", b"\nc", b"\n"], [b"a\nb", b"\r\n", b"c\n"]],
)
def test_line_ends(pieces: list[bytes]) -> None:
    """Each line ends with one carriage return and one line feed, wherever the output was cut."""
    ends = _LineEnds()
    assert b"".join(ends.mend(piece) for piece in pieces) == b"a\r\nb\r\nc\r\n"


class Runtime:
    """Execs whose processes are started, and never say that they run, in a folder with one container."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks, self.started = Tasks("test"), 0
        (folder / "c").mkdir()
        (folder / "c/config.json").write_text('{"process": {"env": []}}')
        (folder / "execs").mkdir()
        tools = Programs("/bin/runc", "/bin/conmon", str(folder), str(folder))
        self.health = ProgramHealth(("/bin/runc",), SystemClock())
        self.execs = Execs(lambda handler: tools, self.tasks, SystemIds(), str(folder / "execs"), self.health)
        known = dataclasses.replace(record.unknown("c"), cgroup_parent=f"none-{folder.name}")
        self.container = Container(str(folder / "c"), known)
        monkeypatch.setattr(programs, "started", self._start)

    def _start(self, command: Sequence[str], around: spawn.Surroundings, what: str) -> spawn.Child:
        self.started += 1
        return spawn.start(["sleep", "1000"], around)

    def begin(self) -> asyncio.Task[Any]:
        """Somebody wants a process."""
        start = self.execs.start(self.container, ("true",), tty=False, stdin=True)
        return self.tasks.spawn(start, "user", critical=False)


@pytest.fixture
async def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    made = Runtime(tmp_path, monkeypatch)
    made.execs.open()
    yield made
    await made.tasks.close()
    made.execs.close()


async def test_a_crowd_of_users_and_a_probe(runtime: Runtime) -> None:
    """Those who wait hold no descriptors, and a probe is not behind them."""
    before = len(os.listdir("/proc/self/fd"))
    users = [runtime.begin() for _ in range(300)]
    async with asyncio.timeout(60):
        while runtime.started < OF_USERS:
            await asyncio.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) - before <= OF_USERS * 6
    with pytest.raises(TimeoutError):
        await runtime.execs.run(runtime.container, ("true",), 0.1)
    assert runtime.started == OF_USERS + 1
    for user in users:
        user.cancel()
    await asyncio.gather(*users, return_exceptions=True)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("said", "soft", "hard"),
    [(None, 7, 9), ((5, 9), 5, 9), ((1024, 1 << 20), 1024, 4096), ((1 << 20, 1 << 20), 4096, 4096)],
)
async def test_open_files(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, said: tuple[int, int] | None, soft: int, hard: int
) -> None:
    """As the container's own process; as this agent was started, if the container's agent had not taken more for itself.

    Never more than this agent may have: it may have been started with less than the one before.
    """
    process = {"env": []} | (spec.open_files(said) if said else {})
    Path(runtime.container.folder, "config.json").write_bytes(orjson.dumps({"process": process}))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 4096))
    monkeypatch.setattr(descriptors, "given", lambda: (7, 9))
    runtime.begin()
    async with asyncio.timeout(60):
        while not runtime.started:
            await asyncio.sleep(0.01)
    (told,) = Path(runtime.execs._folder).glob("*.json")
    limits = orjson.loads(told.read_bytes())["rlimits"]
    assert limits == [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}]


@pytest.mark.parametrize("left", range(3))
async def test_too_many_open_files(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Whichever of its pipes can't be made: it is told, and none is lost."""
    made = 0

    def pipe() -> tuple[int, int]:
        nonlocal made
        made += 1
        if made > left:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real()

    real = os.pipe
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(RuntimeFailure, match=r"failed to exec in container: .*too many open files"):
        async with asyncio.timeout(60):
            await runtime.execs.start(runtime.container, ("true",), tty=False, stdin=True)
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not os.listdir(runtime.execs._folder)


async def test_a_start_without_end(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up, so that the next ones have their turn; nothing is left of it."""
    monkeypatch.setattr(execs, "START_SECONDS", 0.05)
    monkeypatch.setattr(execs, "DOUBT_SECONDS", 0.01)
    monkeypatch.setattr(runtime.health, "fault", AsyncMock(return_value=""))
    before = len(os.listdir("/proc/self/fd"))
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*(runtime.begin() for _ in range(OF_USERS + 1)), return_exceptions=True)
    assert all("it did not run within 0.05 s" in str(end) for end in ends)
    assert (runtime.started, len(os.listdir("/proc/self/fd"))) == (OF_USERS + 1, before)


async def test_a_start_with_a_runtime_that_hangs(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up as soon as that is known, and says so."""
    monkeypatch.setattr(execs, "DOUBT_SECONDS", 0.01)
    monkeypatch.setattr(runtime.health, "fault", AsyncMock(return_value=DOWN))
    async with asyncio.timeout(60):
        (end,) = await asyncio.gather(runtime.begin(), return_exceptions=True)
    assert str(end).endswith(f": {DOWN}")
    assert not os.listdir(runtime.execs._folder)


async def test_a_start_amid_the_containers_end(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a program that hangs once its container was killed; who waits for a turn is refused then.

    Also while the container's end has not been seen yet.
    """
    monkeypatch.setattr(execs, "LAST_SECONDS", 0.01)
    before = len(os.listdir("/proc/self/fd"))
    users = [runtime.begin() for _ in range(OF_USERS + 2)]
    async with asyncio.timeout(60):
        while runtime.started < OF_USERS:
            await asyncio.sleep(0.01)
        await runtime.execs.end(runtime.container)
        ends = await asyncio.gather(*users, return_exceptions=True)
    assert all("OCI runtime exec failed" in str(end) for end in ends[:OF_USERS])
    assert {str(end) for end in ends[OF_USERS:]} == {"NotRunning: container is in CONTAINER_EXITED state"}
    assert (runtime.started, len(os.listdir("/proc/self/fd"))) == (OF_USERS, before)
    assert not os.listdir(runtime.execs._folder)
    await runtime.execs.end(runtime.container)


async def test_given_up_while_it_starts(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment when the runtime writes down which process it is: that file is not left either."""

    def start(command: Sequence[str], around: spawn.Surroundings, what: str) -> spawn.Child:
        target = Path(command[command.index("--pid-file") + 1])
        (target.parent / f".{target.name}").write_text("1")  # runc renames it once it is whole
        return spawn.start(["sleep", "1000"], around)

    monkeypatch.setattr(programs, "started", start)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await runtime.execs.run(runtime.container, ("true",), 0.05)
    assert not os.listdir(runtime.execs._folder)


class Unkillable:
    """A program in the midst of something that the kernel does not break off."""

    def __init__(self) -> None:
        self.asked = 0

    async def wait(self) -> int:
        await asyncio.Event().wait()
        return 0

    def kill_group(self) -> None:
        self.asked += 1


async def test_what_cannot_be_killed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told to end and then left alone: whoever asked for it goes on."""
    monkeypatch.setattr(execs, "END_SECONDS", 0.01)
    made: list[Unkillable] = []

    def start(*_: object) -> Any:
        made.append(Unkillable())
        return made[-1]

    monkeypatch.setattr(programs, "started", start)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await runtime.execs.run(runtime.container, ("true",), 0.05)
    assert [each.asked for each in made] == [1]
    assert not os.listdir(runtime.execs._folder)
