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
from sampan.kit.tasks import Tasks
from sampan.node.volumes import claimed, host_path, mounts, subpath
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


def of_group(uid: str, group: int) -> Any:
    made = pod(uid, {"name": "v", "persistentVolumeClaim": {"claimName": "c"}})
    made["spec"]["securityContext"] = {"fsGroup": group}
    return made


def claim(path: Path) -> Sources:
    return Sources(volumes={"c": {"metadata": {"name": path.name}, "spec": {"local": {"path": str(path)}}}})


async def nobody_is_out_there() -> None:
    while any(each.name == "sampan-volumes" for each in threading.enumerate()):
        await asyncio.sleep(0.01)


async def broken_off(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


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
        await nobody_is_out_there()
    assert volumes.pods() == {"p0"}
    await volumes.teardown("p0")


async def test_what_can_not_be_unmounted(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a dead server, for more pods than there are threads: others come and go meanwhile."""
    await threads.prepare()
    unmount, volumes = mounts.unmount_below, Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())

    def hanging(folder: Path) -> None:
        if folder.name.startswith("dead"):
            server.wait()
        unmount(folder)

    monkeypatch.setattr(mounts, "unmount_below", hanging)
    own = {"name": "own", "emptyDir": {}}
    for number in range(MORE_THAN_A_POOL):
        await volumes.prepare(pod(f"dead{number}", own), Sources())
    leaving = [asyncio.ensure_future(volumes.teardown(f"dead{number}")) for number in range(MORE_THAN_A_POOL)]
    await server.wait_asked(len(leaving))
    async with asyncio.timeout(60):
        assert set(await volumes.prepare(pod("other", own), Sources())) == {"own"}
        await volumes.teardown("other")
        assert len(volumes.pods()) == MORE_THAN_A_POOL
        server.is_back.set()
        await asyncio.gather(*leaving)
    assert not volumes.pods()


async def test_a_path_in_a_volume(tmp_path: Path, server: Server) -> None:
    """Nothing is mounted for who was given up."""
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())
    asked = asyncio.ensure_future(volumes.mount_subpath("p", str(tmp_path), "inner", slot="main-0"))
    await server.wait_asked(1)
    async with asyncio.timeout(60):
        asked.cancel()
        await asyncio.wait((asked,))
        server.is_back.set()
        await nobody_is_out_there()
    assert asked.cancelled() and not volumes.pods()


async def test_files_are_given_to_one_group_at_a_time(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is given up while it gives a claim's files to its group has stopped before the next pod's group gets them."""
    folder, chown = tmp_path / "local" / "pv", os.chown
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / str(number)).touch()

    def hanging(path: Any, uid: int, gid: int, **named: Any) -> None:
        if gid == 1000:
            server.wait()
        chown(path, uid, gid, **named)

    monkeypatch.setattr(os, "chown", hanging)
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())
    first = asyncio.ensure_future(volumes.prepare(of_group("a", 1000), claim(folder)))
    await server.wait_asked(1)
    async with asyncio.timeout(60):
        await broken_off(first)
        await volumes.teardown("a")
        await broken_off_while_it_waits(volumes, folder)
        second = asyncio.ensure_future(volumes.prepare(of_group("b", 2000), claim(folder)))
        server.is_back.set()
        await second
        await nobody_is_out_there()
    assert server.waiting == 1
    assert {path.stat().st_gid for path in (folder, *folder.iterdir())} == {2000}


async def broken_off_while_it_waits(volumes: Volumes, folder: Path) -> None:
    waiting = asyncio.ensure_future(volumes.prepare(of_group("waits", 3000), claim(folder)))
    await asyncio.sleep(0)
    await broken_off(waiting)
    await volumes.teardown("waits")


async def test_a_folder_that_is_discarded_does_not_come_back(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though who was given up was about to make it."""
    folder, mkdir = tmp_path / "local" / "pv", Path.mkdir

    def hanging(path: Path, *args: Any, **named: Any) -> None:
        if path == folder and not server.waiting:
            server.wait()
        mkdir(path, *args, **named)

    monkeypatch.setattr(Path, "mkdir", hanging)
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())
    asked = asyncio.ensure_future(volumes.prepare(of_group("a", 1000), claim(folder)))
    await server.wait_asked(1)
    async with asyncio.timeout(60):
        await broken_off(asked)
        discarding = asyncio.ensure_future(volumes.discard("pv"))
        await asyncio.wait((discarding,), timeout=0.1)
        server.is_back.set()
        await discarding
        await nobody_is_out_there()
    assert not folder.exists()


async def test_an_agent_that_ends_does_not_wait(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a disk that hangs as its files are given to the pod's group."""

    async def mounting(volume: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        return folder

    def hanging(path: Any, *args: Any, **named: Any) -> None:
        server.wait()

    monkeypatch.setattr(claimed, "is_mounted_by_program", lambda volume: True)
    monkeypatch.setattr(claimed, "mounting", mounting)
    monkeypatch.setattr(os, "chown", hanging)
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", SystemClock())
    tasks = Tasks("agent")
    preparing = tasks.spawn(volumes.prepare(of_group("a", 1000), claim(tmp_path / "disk")), "a")
    await server.wait_asked(1)
    async with asyncio.timeout(60):
        await tasks.close()
        assert preparing.cancelled() and not server.is_back.is_set()
        server.is_back.set()
        await nobody_is_out_there()
