"""A registry that takes a request and answers no more: who waits is broken off, and nobody else waits for it."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.images.model import ImageError
from sampan.node.images.store import ImageStore
from sampan.node.pull_credentials import PullCredentials
from sampan.node.pull_records import PullRecords
from sampan.node.registry import config, download
from sampan.node.registry_puller import PULLS_AT_ONCE, RegistryPuller
from tests.node.registry.serving import Shelf, serving

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="unpacking needs root")]


@dataclass
class Hanging(Shelf):
    """It answers what has `word` in its path only once it may `go_on`."""

    word: str = "\0"
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.word in request.path and not self.go_on.is_set():
            self.waiting += 1
            await self.go_on.wait()
        return await super().answer(request)

    async def wait_reached(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.waiting < count:
                await asyncio.sleep(0.01)


class Machine:
    """A node's way to its images."""

    def __init__(self, folder: Path) -> None:
        self.store, self.tasks = ImageStore(folder / "images"), Tasks("test")
        self.records = PullRecords(folder / "pulls", SystemClock())
        self.puller = RegistryPuller(self.store, lambda: config.NONE, SystemClock(), self.tasks)
        self.puller.credentials = PullCredentials(self.records, is_loaded=self.store.is_loaded)

    def begin(self, name: str) -> "asyncio.Task[str]":
        return self.tasks.spawn(self.puller.pull({}, {"image": name}, (0, 1), ()), name, critical=False)

    async def end(self) -> None:
        await self.tasks.close()


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    yield made
    await made.end()


@pytest.mark.parametrize("word", ["/manifests/", "/token"])
async def test_who_waits_alone_takes_the_pull_along(machine: Machine, word: str) -> None:
    """Two pods want an image: the pull goes on for the second, and ends with it; the third's is another one."""
    shelf = Hanging(word=word, bearer=word == "/token")
    shelf.add("v1")
    async with serving(shelf) as address:
        name = f"{address}/a:v1"
        first, second = machine.begin(name), machine.begin(name)
        await shelf.wait_reached(1)
        first.cancel()
        await asyncio.wait((first,))
        assert len(machine.puller._running) == 1 and machine.records.is_pulling(name)
        second.cancel()
        await asyncio.wait((second,))
        async with asyncio.timeout(60):
            while machine.records.is_pulling(name):
                await asyncio.sleep(0.01)
        assert (shelf.waiting, machine.puller._running) == (1, {})
        shelf.go_on.set()
        assert await machine.begin(name) == ""


async def test_pulls_that_hang_hold_up_no_other(machine: Machine) -> None:
    """Not those from another registry; and none at all once nobody wants them any more."""
    silent, other = Hanging(word="/manifests/silent"), Shelf()
    for name in ("v1", "v2"):
        other.add(name)
    silent.add("good")
    async with serving(silent) as address, serving(other) as good:
        hanging = [machine.begin(f"{address}/a:silent-{number}") for number in range(PULLS_AT_ONCE)]
        await silent.wait_reached(PULLS_AT_ONCE)
        async with asyncio.timeout(60):
            assert await machine.begin(f"{good}/a:v1") == ""
        waits = machine.begin(f"{address}/a:good")
        hanging[0].cancel()
        async with asyncio.timeout(60):
            assert await waits == ""
        silent.go_on.set()
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)


@pytest.mark.parametrize("step", ["begin", "add"])
async def test_who_leaves_while_records_are_written(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The disk takes its time as a pull begins or ends: no pull is under way afterwards, and nothing says so."""
    reached, go_on, write = threading.Event(), threading.Event(), getattr(machine.records, step)

    def slow(*arguments: object) -> None:
        reached.set()
        go_on.wait(60)
        write(*arguments)

    monkeypatch.setattr(machine.records, step, slow)
    shelf = Shelf()
    shelf.add("v1")
    async with serving(shelf) as address, asyncio.timeout(60):
        name = f"{address}/a:v1"
        waits = machine.begin(name)
        while not reached.is_set():
            await asyncio.sleep(0.01)
        waits.cancel()
        await asyncio.wait((waits,))
        go_on.set()
        while len(machine.tasks):
            await asyncio.sleep(0.01)
    assert not machine.records.is_pulling(name) and not machine.records._running
    image = machine.store.resolve(name)
    assert (image is not None and machine.records.find(image.id) is not None) == (step == "add")


def test_who_fetches_a_blob_that_others_fetch(tmp_path: Path) -> None:
    """Has a file of its own, of which nothing is left when it is broken off."""
    with download._locked(tmp_path, "sha256:1") as first, download._locked(tmp_path, "sha256:1") as second:
        with pytest.raises(ImageError), download._locked(tmp_path, "sha256:1") as third:
            third.touch()
            raise ImageError("broken off")
        assert len({first, second, third}) == 3 and not third.exists()
