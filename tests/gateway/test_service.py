"""The service around Envoy: what it hears before there is a plan, and what is left when the service ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from sampan.gateway import build, envoy_process, envoy_resources, service, xds
from sampan.gateway.envoy_resources import LISTENERS, TYPES
from sampan.gateway.traffic import Entrance, Plan
from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.platform.layer import Around


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks("test")
    yield made
    await made.close()


async def test_questions_are_held_until_there_is_a_plan(
    tmp_path: Path, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Envoy that outlived its last server is not emptied; a plan with nothing in it is told."""
    monkeypatch.setattr(xds, "HOLD_SECONDS", 0.01)
    server, path = xds.Server(tasks), tmp_path / "x.sock"
    await server.start(path)
    connector = aiohttp.UnixConnector(envoy_process.reachable(path))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def asked() -> tuple[int, Any]:
            async with session.post("http://x/v3/discovery:listeners", json={"version_info": "old"}) as answer:
                return answer.status, await answer.json() if answer.status == 200 else None

        assert await asked() == (304, None)
        monkeypatch.setattr(xds, "HOLD_SECONDS", 20.0)
        server.publish({type_: {} for type_ in TYPES})
        status, answer = await asked()
        assert (status, answer["type_url"], answer["resources"]) == (200, LISTENERS, [])
    await server.stop()


def around(tasks: Tasks, directory: Path) -> Around:
    return Around(cast("Any", None), SystemClock(), cast("Any", None), tasks, directory)


async def test_what_cannot_be_planned_leaves_the_last_plan(
    tmp_path: Path, tasks: Tasks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in the log, and nothing ends."""

    def broken(*_: Any) -> None:
        raise ValueError("odd")

    server = xds.Server(tasks)
    server.publish(envoy_resources.resources(build.Plan()))
    monkeypatch.setattr(build, "plan", broken)
    service.Translator(around(tasks, tmp_path), server, tmp_path / "envoy.log")._publish()
    assert "what was planned last stays" in caplog.text


@dataclass
class FakeEnvoy:
    """Runs until it is ended. One with a pid was there before; a folder's admin socket is nobody's."""

    pid: int = 1
    ended: list[bool] = field(default_factory=list)
    runs: asyncio.Event = field(default_factory=asyncio.Event)
    SOCKET = "x.sock"
    ADMIN = "admin.sock"
    LOG = "envoy.log"

    async def run(self, program: str) -> None:
        self.runs.set()
        await asyncio.Event().wait()

    async def keep_log_short(self) -> None:
        await asyncio.Event().wait()

    async def end(self) -> None:
        self.ended.append(True)


@pytest.fixture
def envoy(monkeypatch: pytest.MonkeyPatch) -> FakeEnvoy:
    """In the place of Envoy; nothing is planned or told."""

    async def nothing(*_: Any, **__: Any) -> str:
        return "127.0.0.1"

    found = FakeEnvoy()
    monkeypatch.setattr(service, "Envoy", lambda *_: found)
    monkeypatch.setattr(service, "Metrics", lambda _: type("Metrics", (), {"start": nothing, "stop": nothing})())
    monkeypatch.setattr(service.Translator, "start", nothing)
    monkeypatch.setattr(service, "_announce", nothing)
    monkeypatch.setattr(service, "_own_address", nothing)
    monkeypatch.setattr(envoy_process, "find", lambda: "envoy")
    return found


async def test_envoy_goes_on_after_a_failure_of_the_service(tmp_path: Path, tasks: Tasks, envoy: FakeEnvoy) -> None:
    """It is taken over by the next; only who is stopped in peace ends it."""
    parts = Tasks("parts")
    serving = tasks.spawn(service.serve(around(parts, tmp_path)), "serve", critical=False)
    await envoy.runs.wait()

    async def failing() -> None:
        raise RuntimeError("a part")

    parts.spawn(failing(), "failing")
    with pytest.raises(RuntimeError, match="a part"):
        await serving
    await parts.close()
    assert envoy.ended == []


async def test_envoy_ends_with_the_service(tmp_path: Path, tasks: Tasks, envoy: FakeEnvoy) -> None:
    """As when the layer is disabled."""
    parts = Tasks("parts")
    serving = tasks.spawn(service.serve(around(parts, tmp_path)), "serve")
    await envoy.runs.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert envoy.ended == [True]


@pytest.mark.parametrize("is_coming_back", [False, True])
async def test_envoy_goes_on_where_the_service_comes_back(
    tmp_path: Path, tasks: Tasks, envoy: FakeEnvoy, is_coming_back: bool
) -> None:
    """As when the control plane is started anew; and it ends where somebody else takes over, who has the lease."""
    parts, said = Tasks("parts"), replace(around(Tasks("parts"), tmp_path), is_coming_back=lambda: is_coming_back)
    serving = parts.spawn(service.serve(said), "serve", critical=False)
    await envoy.runs.wait()
    parts.kill()
    await asyncio.gather(serving, return_exceptions=True)
    assert envoy.ended == [True] * (not is_coming_back)


async def test_envoy_starts_when_there_is_something_to_serve(
    tmp_path: Path, tasks: Tasks, envoy: FakeEnvoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the class says that it is not there, and whoever asks for figures is told that there are none."""
    envoy.pid, said, settled = 0, [], asyncio.Event()
    found: asyncio.Queue[service.Translator] = asyncio.Queue()

    async def announce(_: Around, *told: Any, is_asleep: bool = False) -> None:
        said.append(is_asleep)
        if not is_asleep:
            settled.set()

    async def start(self: service.Translator, _: Path) -> None:
        found.put_nowait(self)

    monkeypatch.setattr(service, "_announce", announce)
    monkeypatch.setattr(service.Translator, "start", start)
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / envoy.ADMIN).touch()  # left by one that ended
    parts = Tasks("parts")
    serving = tasks.spawn(service.serve(around(parts, tmp_path)), "serve", critical=False)
    translator = await found.get()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (said, envoy.runs.is_set(), (tmp_path / "gateway" / envoy.ADMIN).exists()) == ([True], False, False)

    plan = Plan((Entrance("default/web/80", "127.0.0.1", 18500, 80, ()),))
    monkeypatch.setattr(build, "plan", lambda *_: plan)
    monkeypatch.setattr(xds.Server, "settled", envoy.runs.wait)
    translator._publish()
    async with asyncio.timeout(60):
        await settled.wait()
    assert (said, envoy.runs.is_set()) == ([True, False], True)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await parts.close()


async def test_without_envoy_there_are_no_figures(tmp_path: Path) -> None:
    """Which is no failure."""
    metrics = service.Metrics(tmp_path)
    port = await metrics.start("127.0.0.1")
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert (answer.status, "sampan_gateway_route_requests_total{" in await answer.text()) == (200, False)
    finally:
        await metrics.stop()
