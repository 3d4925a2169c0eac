"""A node whose runc or conmon is broken says so, until they work again."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.node import outsiders
from sampan.node.outsiders import Answer, NoAnswer
from sampan.node.runtime import program_health
from sampan.node.runtime.program_health import DOWN, LOOK_SECONDS, ProgramHealth

NOT_READY = "container runtime not ready: RuntimeReady=false reason:"
WELL = Answer(0, b"runc version 1.1.5", b"")


class Node:
    """Two programs, and what they do when they are asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runc, self.conmon = folder / "runc", folder / "conmon"
        self.does: dict[Path, Answer | Exception] = {}
        self.asked: list[str] = []
        self.said: list[str] = []
        self.loop = SimLoop()
        for path in (self.runc, self.conmon):
            self.install(path)
        monkeypatch.setattr(outsiders, "ask", self._ask)
        self.health = ProgramHealth((str(self.runc), str(self.conmon)), VirtualClock(self.loop))
        self._watching = self.loop.create_task(self.health.watch(self.said.append))

    def install(self, path: Path) -> None:
        """Another file of this name."""
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o755)
        os.replace(fresh, path)

    def after(self, seconds: float = LOOK_SECONDS) -> list[str]:
        """What was said meanwhile."""
        self.loop.advance(seconds)
        found, self.said[:] = list(self.said), []
        return found

    def close(self) -> None:
        self._watching.cancel()
        self.loop.advance(0.1)
        self.loop.close()

    async def _ask(self, command: tuple[str, ...], seconds: float) -> Answer:
        assert command[1:] == ("--version",)
        self.asked.append(Path(command[0]).name)
        found = self.does.get(Path(command[0]), WELL)
        if isinstance(found, NoAnswer):
            await asyncio.sleep(seconds)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Node(tmp_path, monkeypatch)
    yield made
    made.close()


def test_nobody_is_asked_without_need(node: Node) -> None:
    """An hour in which nothing is wrong; then one start that failed."""
    assert node.after(3600) == [] and node.asked == []
    node.health.doubt()
    assert node.after(3600) == [] and node.asked == ["runc", "conmon"]


@pytest.mark.parametrize("name", ["runc", "conmon"])
def test_one_that_is_missing(node: Node, name: str) -> None:
    """Is noticed without a start, and so is its return; one that may not be run is the same."""
    path = getattr(node, name)
    why = f"{NOT_READY}RuntimeProgramMissing message:{path} is not installed"
    node.after(60)
    path.unlink()
    assert node.after(60) == [why]
    node.install(path)
    assert node.after() == [""]
    path.chmod(0o644)
    assert node.after() == [why]
    path.chmod(0o755)
    assert node.after() == [""] and node.after(3600) == []


def test_one_that_fails(node: Node) -> None:
    """With its own words."""
    node.does[node.runc] = Answer(127, b"", b"runc: no libseccomp.so.2\n")
    assert node.after(60) == []
    node.health.doubt()
    told = f"{NOT_READY}RuntimeProgramFailed message:{node.runc} --version: "
    assert node.after() == [f"{told}exit status 127: runc: no libseccomp.so.2"]
    node.does[node.runc] = Answer(-11, b"", b"")
    assert node.after() == [f"{told}signal 11"]
    node.does[node.runc] = OSError(errno.ENOEXEC, "Exec format error")
    assert node.after() == [f"{NOT_READY}RuntimeProgramFailed message:fork/exec {node.runc}: exec format error"]
    node.does.clear()
    assert node.after() == [""]


def test_one_that_hangs(node: Node) -> None:
    """Is down; another file in its place is asked at once, also without a start."""
    assert node.after(60) == []
    node.does[node.conmon] = NoAnswer("no answer within 30 seconds")
    node.install(node.conmon)
    assert node.after(LOOK_SECONDS + program_health.PATIENCE_SECONDS) == [DOWN]
    del node.does[node.conmon]
    assert node.after() == [""]


def test_whose_fault_it_was(node: Node) -> None:
    """Who waited for too long can ask, and so can a hundred at once; only what is wrong with the programs is told."""
    asking = [node.loop.create_task(node.health.fault()) for _ in range(100)]
    node.after(0.5)
    assert {each.result() for each in asking} == {""} and node.asked == ["runc", "conmon"]
    node.after(60)
    node.does[node.runc] = NoAnswer("no answer within 10 seconds")
    asked = node.loop.create_task(node.health.fault())
    assert node.after(11 + LOOK_SECONDS + program_health.PATIENCE_SECONDS) == [DOWN]
    assert asked.result() == DOWN


def test_who_begins_something_waits(node: Node) -> None:
    """Until they can be used again."""
    node.after(60)
    node.runc.unlink()
    node.after()
    waiting = node.loop.create_task(node.health.wait_usable())
    node.after(3600)
    assert not waiting.done()
    node.install(node.runc)
    assert node.after() == [""] and waiting.done()


def test_a_machine_without_room(node: Node) -> None:
    """Is no fault of theirs: nothing is said, and they are asked again."""
    node.does[node.runc] = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    node.health.doubt()
    assert node.after(60) == []
    node.does[node.runc] = Answer(1, b"", b"")
    assert node.after() == [f"{NOT_READY}RuntimeProgramFailed message:{node.runc} --version: exit status 1"]
