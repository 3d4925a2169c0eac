"""Envoy's process and the whole service: started again when it is killed, taken over by the next control plane."""

import asyncio
import errno
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sampan.gateway import envoy_process, service, xds
from sampan.gateway.envoy_process import Envoy
from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from tests.gateway import world
from tests.gateway.world import World, gateway, route, to


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: that of a socket may not be long."""
    with tempfile.TemporaryDirectory(prefix="sampan-envoy-") as name:
        yield Path(name)


async def answered(made: World) -> int:
    try:
        return (await made.get("/"))[0]
    except aiohttp.ClientError:
        return 0


async def test_envoy_is_started_again_and_taken_over(directory: Path, envoy_program: str) -> None:
    """Killed, it comes back with the same configuration; who starts while one runs leaves it alone; it outlives us."""
    clock, tasks = SystemClock(), Tasks("test")
    envoy = Envoy(directory, clock)
    async with world.of(directory / Envoy.SOCKET) as made:
        running = tasks.spawn(envoy.run(envoy_program), "envoy")
        await made.publish(gateway(), route({"backendRefs": [to("a")]}), *await made.serving("a"))
        assert await answered(made) == 200
        first = envoy.pid
        os.kill(first, signal.SIGKILL)
        await world.until(lambda: envoy.pid not in (0, first))
        async with asyncio.timeout(60):
            while await answered(made) != 200:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.02)
        second = envoy.pid
        other = tasks.spawn(Envoy(directory, clock).run(envoy_program), "another")
        await asyncio.sleep(0)
        assert envoy.pid == second
        running.cancel()
        other.cancel()
        await tasks.close()
        assert envoy.pid == second
        await envoy.end()
        assert envoy.pid == 0
        assert not (directory / "envoy.pid").exists()


async def test_its_log_does_not_grow_for_ever(
    directory: Path, envoy_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says while it is refused a configuration stops at a size, and is put aside by whoever comes; it serves as before."""
    monkeypatch.setattr(envoy_process, "FULL_LOG_BYTES", 8192)
    monkeypatch.setattr(envoy_process, "MAX_LOG_BYTES", 4000)
    tasks, envoy = Tasks("test"), Envoy(directory, SystemClock())
    path = directory / Envoy.LOG
    refusing = web.AppRunner(web.Application(), access_log=None)  # which knows no path, so that each question fails
    await refusing.setup()
    await xds.listen(refusing, directory / Envoy.SOCKET)
    tasks.spawn(envoy.run(envoy_program), "envoy")
    await world.until(lambda: path.exists() and path.stat().st_size == 8192)
    await refusing.cleanup()
    pid = envoy.pid
    async with world.of(directory / Envoy.SOCKET) as made:
        await made.publish(gateway(), route({"backendRefs": [to("a")]}), *await made.serving("a"))
        assert await answered(made) == 200
        envoy.put_log_aside()
        assert path.stat().st_size == 0
        assert path.with_name("envoy.log.1").stat().st_size == 8192
        envoy.put_log_aside()
        assert path.with_name("envoy.log.1").stat().st_size == 8192
    assert envoy.pid == pid
    await tasks.close()
    await envoy.end()


async def test_one_that_ends_at_once_is_tried_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon it is gone: here before anybody could look at it."""
    program, began = directory / "program", directory / "began"
    program.write_text(f"#!/bin/sh\necho begun >> {began}\n")
    program.chmod(0o755)
    start = asyncio.create_subprocess_exec

    async def ended(*arguments: Any, **options: Any) -> Any:
        child = await start(*arguments, **options)
        await child.wait()
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", ended)
    tasks, envoy = Tasks("test"), Envoy(directory, SystemClock())
    running = tasks.spawn(envoy.run(str(program)), "envoy")
    await world.until(lambda: running.done() or (began.exists() and began.read_text().count("begun") == 2))
    assert not running.done()
    await tasks.close()
    assert envoy.pid == 0


async def test_what_is_said_as_the_log_is_put_aside_is_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the copy, or in the log."""
    monkeypatch.setattr(envoy_process, "MAX_LOG_BYTES", 10)
    path, replace = directory / Envoy.LOG, os.replace
    path.write_text("much more than that\n")

    def replaced(*paths: Path) -> None:
        with path.open("a") as log:
            log.write("meanwhile\n")
        replace(*paths)

    monkeypatch.setattr(os, "replace", replaced)
    Envoy(directory, SystemClock()).put_log_aside()
    assert (path.read_text(), envoy_process.aside(path).read_text()) == ("", "much more than that\nmeanwhile\n")


async def test_a_long_path_is_no_obstacle(directory: Path, envoy_program: str) -> None:
    """Sockets are in folders with long names, too."""
    deep = directory / ("deep" * 20) / ("deeper" * 10)
    deep.mkdir(parents=True)
    tasks = Tasks("test")
    async with world.of(deep / Envoy.SOCKET) as made:
        envoy = Envoy(deep, SystemClock())
        tasks.spawn(envoy.run(envoy_program), "envoy")
        await made.publish(gateway(), route({"backendRefs": [to("a")]}), *await made.serving("a"))
        assert await answered(made) == 200
        await tasks.close()
        await envoy.end()


async def test_metrics_are_served_where_they_are_announced(envoy_directory: Path, made: World) -> None:
    """In the form of Prometheus."""
    await made.publish(gateway(), route({"backendRefs": [to("shown")]}), *await made.serving("shown"))
    await made.get("/")
    metrics = service.Metrics(envoy_directory)
    port = await metrics.start("127.0.0.1")
    try:
        async with made.session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert 'service_requests_total{namespace="default",service="shown",code="2xx"} 1' in await answer.text()
    finally:
        await metrics.stop()


async def test_no_room_for_one_more_process(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again until there is."""
    asked = 0

    async def refuse(*command: str, **options: Any) -> None:
        nonlocal asked
        asked += 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr(envoy_process, "FIRST_RETRY_SECONDS", 0.01)
    tasks = Tasks("test")
    tasks.spawn(Envoy(directory, SystemClock()).run("envoy"), "envoy")
    await world.until(lambda: asked > 2)
    await tasks.close()
    await tasks.wait()


async def test_one_whose_pid_can_not_be_noted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would find it again: it is ended before another is started."""
    program = directory / "program"
    program.write_text("#!/bin/sh\necho $$ >>pids\nexec sleep 1000\n")
    program.chmod(0o755)
    (directory / "envoy.pid").mkdir()
    children = []
    create = asyncio.create_subprocess_exec

    async def note(*command: Any, **options: Any) -> Any:
        assert all(child.returncode is not None for child in children)
        children.append(await create(*command, **options))
        return children[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", note)
    monkeypatch.setattr(envoy_process, "FIRST_RETRY_SECONDS", 0.01)
    tasks, envoy = Tasks("test"), Envoy(directory, SystemClock())
    tasks.spawn(envoy.run(str(program)), "envoy")
    await world.until(lambda: len(children) > 2)
    (directory / "envoy.pid").rmdir()
    await world.until(lambda: envoy.pid)
    assert [child.returncode for child in children[:-1]] == [-signal.SIGKILL] * (len(children) - 1)
    await tasks.close()
    await envoy.end()
    await tasks.wait()
