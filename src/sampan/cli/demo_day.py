"""The trading day in real containers: a cluster with its layers, the market, the day, and what came of it."""

import argparse
import asyncio
import json
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sampan.cli import demo_parts, live_view
from sampan.cli.main import CommandError
from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import load as access
from sampan.client.transport import TransportError
from sampan.cluster import layers
from sampan.cluster.settings import Settings
from sampan.cluster.trading_day import curve, figures, manifests, play, report, staging
from sampan.cluster.trading_day.figures import Record
from sampan.cluster.trading_day.load import Load, Place
from sampan.cluster.trading_day.staging import Stage
from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError

IMAGE = "market:v1"
PROGRAM = "market.py"
LAYERS = ("gateway", "elastic", "rollouts", "protection")
LAYER_SECONDS = 60.0
ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.1
MOST_REASONS = 10


def show(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    if arguments.json:
        _try_to_write(arguments.json)
    course = demo_parts.Course()
    print("1. a cluster")
    cluster = demo_parts.cluster(arguments)
    source = demo_parts.example("trading-day")
    print("2. the market's image, made from this machine's Python")
    course.say(demo_parts.image(cluster, IMAGE, [source / PROGRAM]))
    try:
        ended = _run(_Demo(cluster, source, arguments.minutes * 60, course).play())
    except (ApiError, TransportError, staging.StagingError) as error:
        raise CommandError(f"the trading day could not go on: {error}; see: sampan logs") from error
    print("\n" + report.text(ended.record))
    for line in _reasons(ended.load):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.tree(ended.record), indent=2) + "\n")
    print(_next_steps(cluster, ended.url))
    if ended.error is not None:
        raise CommandError(f"the trading day could not go on: {ended.error}; see: sampan logs")
    if ended.is_broken_off:
        raise CommandError("the day was broken off; the market goes on, and the day begins anew with the same command")
    if not figures.is_success(ended.record):
        raise CommandError("the day was not as it should be; the report says what was not")
    return 0


def _try_to_write(file: Path) -> None:
    """A place that can't be written is found before the day; nothing is left there until then. Raises OSError."""
    was_there = file.exists()
    file.open("a").close()
    if not was_there:
        file.unlink()


def _run(work: "Coroutine[Any, Any, Ended]") -> "Ended":
    """On the faster loop where there is one: offering the load is to cost little."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


@dataclass(frozen=True, slots=True)
class Ended:
    """A day that is over, as far as it went."""

    record: Record
    load: Load
    url: str
    is_broken_off: bool = False
    error: Exception | None = None
    """Why it could not go on, if it could not."""


@dataclass(frozen=True, slots=True)
class _Demo:
    """What it is played with."""

    cluster: Settings
    source: Path
    seconds: float
    course: demo_parts.Course

    async def play(self) -> Ended:
        """All that talks to the cluster. Raises ApiError, TransportError, StagingError, CommandError."""
        transport, tasks = HttpTransport(access(self.cluster.path("kubeconfig"))), Tasks("demo")
        try:
            return await self._play(Client(transport, "sampan-demo"), tasks)
        finally:
            await tasks.close()
            await transport.close()

    async def _play(self, client: Client, tasks: Tasks) -> Ended:
        clock, say = SystemClock(), self.course.say
        print(f"3. the layers {', '.join(LAYERS)}")
        await _enable(client)
        say("they work")
        print("4. the market: a rollout behind a gateway, scaled by requests, latency and the clock")
        stage = Stage(client, clock, manifests.read(self.source), say)
        address = await staging.set_up(stage)
        place = Place(address, 80, address)
        url = f"http://{address}/"
        load = Load(place, clock)
        tasks.spawn(load.run(), "load")
        await _first_answer(load)
        say(f"it answers at {url}")
        record = Record(curve.day(clock.now(), self.seconds), per_pod=manifests.per_pod(stage.objects))
        print(f"5. the day, in {figures.span(self.seconds)}; Ctrl-C ends it before its time\n")
        view = live_view.of_this_terminal()
        playing = tasks.spawn(play.play(stage, load, record, view.show), "day")
        is_broken_off, failure = False, None
        try:
            is_broken_off = await _until_over(playing)
        except (ApiError, TransportError, staging.StagingError) as error:
            failure = error
        finally:
            view.end()
        await load.end()
        return Ended(record, load, url, is_broken_off, failure)


async def _until_over(playing: "asyncio.Task[None]") -> bool:
    """Whether somebody broke it off."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, playing.cancel)
    try:
        await playing
    except asyncio.CancelledError:
        return True
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return False


async def _enable(client: Client) -> None:
    """Raises CommandError for layers that don't work in time."""
    await layers.enable(client, *LAYERS)
    deadline = monotonic() + LAYER_SECONDS
    while True:
        states = await layers.read(client)
        waiting = [name for name in LAYERS if states.get(name) != layers.READY]
        if not waiting:
            return
        if monotonic() > deadline:
            why = "; ".join(f"{name}: {states.get(name) or 'nobody has begun with it'}" for name in waiting)
            raise CommandError(f"not all layers work after {LAYER_SECONDS:.0f} s: {why}; see: sampan logs")
        await asyncio.sleep(LOOK_SECONDS)


async def _first_answer(load: Load) -> None:
    """Asks until there is a good one. Raises CommandError."""
    deadline = monotonic() + ANSWER_SECONDS
    load.offer(1 / LOOK_SECONDS)
    while not load.take().answered:
        if monotonic() > deadline:
            ((_, why), _), *_ = [*load.failures.most_common(1), (("", "no answer"), 0)]
            raise CommandError(
                f"the market does not answer: {why}; see: sampan why -n {manifests.NAMESPACE} rollout/{manifests.NAME}"
            )
        await asyncio.sleep(LOOK_SECONDS)
    load.failures.clear()


def _reasons(load: Load) -> list[str]:
    """Why requests failed, most of them first."""
    found = load.failures.most_common(MOST_REASONS)
    rows = [f"  {count:>6}  {version or 'no version':<10}  {reason}" for (version, reason), count in found]
    return ["", "Failed requests, by who answered them and why:", *rows] if rows else []


def _next_steps(cluster: Settings, url: str) -> str:
    kubectl = f"kubectl{demo_parts.context_option(cluster)} -n {manifests.NAMESPACE}"
    name = demo_parts.name_option(cluster)
    return "\n".join(
        [
            "",
            f"The market answers at {url}",
            "Try next:",
            f"  curl -i {url}",
            f"  {kubectl} get rollout,hpa,cronhpa,analysisrun,httproute",
            f"  {kubectl} get events --sort-by=.lastTimestamp | tail",
            f"  {kubectl} delete namespace {manifests.NAMESPACE}   # refused, and it says why",
            f"  sampan why{name} -n {manifests.NAMESPACE} rollout/{manifests.NAME}",
            f"  sampan down{name} --purge   # and nothing is left",
        ]
    )
