"""A file system that hangs: who has it waits, and can be given up; nobody else waits for it."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kit import threads
from sampan.kit.clock import SystemClock
from sampan.node.volumes import host_path, subpath
from sampan.node.volumes.sources import Sources
from sampan.node.volumes.volumes import Volumes

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="volumes need root")]

MORE_THAN_A_POOL = 40


class Server:
    """Of a file system: it answers once it is back."""

    def __init__(self) -> None:
        self.is_back, self.waiting = threading.Event(), 0

    def wait(self) -> None:
        self.waiting += 1
        self.is_back.wait(60)

    async def wait_asked(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.waiting < count:
                await asyncio.sleep(0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made, prepare, opened = Server(), host_path.prepare, subpath._open

    def hanging(spec: Any) -> Path:
        made.wait()
        return prepare(spec)

    def opening(volume: Path, parts: tuple[str, ...], text: str) -> int:
        made.wait()
        return opened(volume, parts, text)

    monkeypatch.setattr(host_path, "prepare", hanging)
    monkeypatch.setattr(subpath, "_open", opening)
    yield made
    made.is_back.set()


def pod(uid: str, *volumes: Any) -> Any:
    return {"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": {"volumes": list(volumes)}}


async def test_a_path_of_the_host(tmp_path: Path, server: Server) -> None:
    """However many pods wait for it: another pod is served; who is given up leaves nothing, then and when it is back."""
    await threads.prepare()
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())
    there, own = {"name": "there", "hostPath": {"path": str(tmp_path)}}, {"name": "own", "emptyDir": {}}
    asked = [
        asyncio.ensure_future(volumes.prepare(pod(f"p{number}", there, own), Sources()))
        for number in range(MORE_THAN_A_POOL)
    ]
    await server.wait_asked(len(asked))
    async with asyncio.timeout(60):
        assert set(await volumes.prepare(pod("other", own), Sources())) == {"own"}
        await volumes.teardown("other")
        for each in asked[1:]:
            each.cancel()
        await asyncio.wait(asked[1:])
        await asyncio.gather(*(volumes.teardown(f"p{number}") for number in range(1, len(asked))))
        assert not volumes.pods()
        server.is_back.set()
        assert set(await asked[0]) == {"there", "own"}
        while any(each.name == "sampan-volumes" for each in threading.enumerate()):
            await asyncio.sleep(0.01)
    assert volumes.pods() == {"p0"}
    await volumes.teardown("p0")


async def test_a_path_in_a_volume(tmp_path: Path, server: Server) -> None:
    """Nothing is mounted for who was given up."""
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())
    asked = asyncio.ensure_future(volumes.mount_subpath("p", str(tmp_path), "inner", slot="main-0"))
    await server.wait_asked(1)
    async with asyncio.timeout(60):
        asked.cancel()
        await asyncio.wait((asked,))
        server.is_back.set()
        while any(each.name == "sampan-volumes" for each in threading.enumerate()):
            await asyncio.sleep(0.01)
    assert asked.cancelled() and not volumes.pods()
