"""The service around Envoy: what it hears before there is a plan, and what is left when the service ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from sampan.client.api import Client
from sampan.gateway import build, envoy_process, envoy_resources, proxy, service, xds
from sampan.gateway.envoy_resources import LISTENERS, TYPES
from sampan.gateway.refusal_teller import Teller
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
    """Runs until it is ended. One with a pid was there before."""

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
    monkeypatch.setattr(service.Metrics, "start", nothing)
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


@dataclass
class Starting:
    """A service of the gateway. What it says comes into `said`, which makes `told` have news; `translator` is its own."""

    said: list[bool | None] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: list[service.Metrics] = field(default_factory=list)
    is_wanted: bool = False
    translator: service.Translator | None = None

    async def announce(self, _: Around, *told: Any, is_asleep: bool | None = False) -> None:
        self.said.append(is_asleep)
        self.told.set()

    async def say(self) -> list[bool | None]:
        """All, as soon as there is more."""
        self.begun.set()
        async with asyncio.timeout(60):
            await self.told.wait()
        self.told.clear()
        for _ in range(20):
            await asyncio.sleep(0)
        return self.said


@pytest.fixture
async def starting(
    tmp_path: Path, tasks: Tasks, envoy: FakeEnvoy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Starting]:
    """It begins as soon as somebody asks what it says; Envoy is not there yet."""
    envoy.pid, found, metrics = 0, Starting(), service.Metrics

    async def start(translator: service.Translator, _: Path) -> None:
        await found.begun.wait()
        found.translator = translator
        if found.is_wanted:
            translator.wanted.set()

    def made(directory: Path) -> service.Metrics:
        found.metrics.append(metrics(directory))
        return found.metrics[0]

    monkeypatch.setattr(service, "_announce", found.announce)
    monkeypatch.setattr(service.Translator, "start", start)
    monkeypatch.setattr(service, "Metrics", made)
    parts = Tasks("parts")
    serving = tasks.spawn(service.serve(around(parts, tmp_path)), "serve", critical=False)
    yield found
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await parts.close()


async def test_envoy_starts_when_there_is_something_to_serve(
    envoy: FakeEnvoy, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the class says that it is not there, and whoever asks for figures is told that there are none."""
    assert await starting.say() == [True]
    assert (envoy.runs.is_set(), starting.metrics[0].is_asleep) == (False, True)
    assert starting.translator is not None

    plan = Plan((Entrance("default/web/80", "127.0.0.1", 18500, 80, ()),))
    monkeypatch.setattr(build, "plan", lambda *_: plan)
    monkeypatch.setattr(xds.Server, "settled", lambda _: envoy.runs.wait())
    starting.translator._publish()
    assert await starting.say() == [True, False]
    assert (envoy.runs.is_set(), starting.metrics[0].is_asleep) == (True, False)


async def test_nothing_is_taken_back_while_envoy_starts(
    envoy: FakeEnvoy, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after each `sampan down` and `sampan up`: what was said before stays until there is more to say."""
    settled, starting.is_wanted = asyncio.Event(), True
    monkeypatch.setattr(xds.Server, "settled", lambda _: settled.wait())
    assert await starting.say() == [None]
    assert (envoy.runs.is_set(), starting.metrics[0].is_asleep) == (True, False)
    settled.set()
    assert await starting.say() == [None, False]


async def test_an_envoy_that_does_not_start_is_not_said_to_serve(
    envoy: FakeEnvoy, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes. One that runs and asks, yet refuses something, is."""
    servers: asyncio.Queue[xds.Server] = asyncio.Queue()

    async def settled(server: xds.Server) -> None:
        servers.put_nowait(server)
        await asyncio.Event().wait()

    monkeypatch.setattr(service, "WAKING_SECONDS", 0.01)
    monkeypatch.setattr(xds.Server, "settled", settled)
    starting.is_wanted = True
    assert await starting.say() == [None]

    async def some_rounds() -> xds.Server:
        async with asyncio.timeout(60):
            return [await servers.get() for _ in range(4)][-1]

    server = await some_rounds()
    envoy.pid = 1  # one that ends again and again, too, is there for moments
    await some_rounds()
    assert starting.said == [None]
    server.was_asked = True
    assert await starting.say() == [None, False]


class ClassClient(Client):
    """Has the class with these annotations."""

    def __init__(self, annotations: dict[str, Any]) -> None:
        self.annotations = annotations

    async def get(self, *_: Any, **__: Any) -> Any:
        return {"metadata": {"name": "sampan", "annotations": self.annotations}}

    async def patch(self, kind: Any, key: Any, change: Any, *_: Any, **__: Any) -> Any:
        merged = {**self.annotations, **change["metadata"]["annotations"]}
        self.annotations = {name: value for name, value in merged.items() if value is not None}


SERVING, ASLEEP = {proxy.ADDRESS: "192.0.2.9"}, {proxy.ADDRESS: "192.0.2.9", proxy.ASLEEP: "true"}


@pytest.mark.parametrize(
    ("before", "is_asleep", "after"),
    [
        ({}, None, ASLEEP),
        (ASLEEP, None, ASLEEP),
        (SERVING, None, SERVING),
        (ASLEEP, False, SERVING),
        (SERVING, True, ASLEEP),
    ],
)
async def test_the_class_says_whether_envoy_serves(
    tmp_path: Path, tasks: Tasks, before: dict[str, Any], is_asleep: bool | None, after: dict[str, Any]
) -> None:
    """None, as it starts: as was said before; never that it serves where nothing was."""
    client = ClassClient(before)
    said = replace(around(tasks, tmp_path), client=client)
    await service._announce(said, "192.0.2.9", 8080, is_asleep=is_asleep)
    assert client.annotations == {**after, proxy.METRICS_PORT: "8080"}


@pytest.mark.parametrize(("is_asleep", "status"), [(True, 200), (False, 503)])
async def test_without_envoy_there_are_no_figures(tmp_path: Path, is_asleep: bool, status: int) -> None:
    """Which is no failure where it was not needed yet. While it starts again, none is not zero."""
    metrics = service.Metrics(tmp_path)
    metrics.is_asleep = is_asleep
    port = await metrics.start("127.0.0.1")
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert (answer.status, "sampan_gateway_route_requests_total{" in await answer.text()) == (status, False)
    finally:
        await metrics.stop()


def test_a_log_that_was_put_aside_is_read_from_its_begin(tmp_path: Path, tasks: Tasks) -> None:
    """However long the next one is by then."""
    path = tmp_path / "envoy.log"
    path.write_text("first\n")
    teller = Teller(xds.Server(tasks), path, ClassClient({}), SystemClock())
    path.write_text("first\nsecond\n")
    assert teller._new_lines() == "second\n"
    for text in ("third, which is longer than both\n", "fourth, as long as the third is...\n"):
        path.replace(envoy_process.aside(path))
        path.write_text(text)
        assert (teller._new_lines(), teller._new_lines()) == (text, "")
