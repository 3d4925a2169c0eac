"""A Deployment's life in virtual time: its story holds, and a seed tells it in the same bytes each time."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sampan.cluster.doors import Send
from sampan.kit.frozen import freeze
from sampan.server.cache import Item
from sampan.web.message import Request, Response
from tests.sim.deployment import Scenario

ROOT = Path(__file__).parents[2]
MOST_REQUESTS = 700
"""The story of 30 pods' lives and 18 node-minutes of heartbeats has about 600."""

ISOLATED = """
import asyncio, os, sys
sys.dont_write_bytecode = True
from sampan.kit import clock, ids
from tests.sim.deployment import Scenario

FORBIDDEN = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "_thread.start_new_thread", "os.mkdir", "os.rename")

def hook(event, arguments):
    if event.startswith(FORBIDDEN):
        raise RuntimeError(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        raise RuntimeError(f"writes {arguments[0]}")

def refuse(*arguments):
    raise RuntimeError("the real time or chance was asked")

clock.SystemClock.now = clock.SystemClock.monotonic = clock.SystemClock.sleep = refuse
ids.SystemIds.__init__ = refuse
sys.addaudithook(hook)
Scenario(1).play()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"aiohttp", "apsw", "grpc", "uvloop", "pyroute2"}))
"""


def start(arguments: list[str], hash_seed: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outcome(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.strip()


@pytest.mark.slow
def test_the_story_of_a_deployment() -> None:
    """Available, scaled, rolled, moved off a dead node: a quarter of an hour by few requests, all invariants held."""
    scenario = Scenario(seed=1)
    asked: Counter[str] = Counter()

    async def count(request: Request, user: str, on: Send) -> Response:
        asked[request.method] += 1
        return await on(request)

    scenario.cluster.doors.interceptors.append(count)
    scenario.play()
    assert scenario.cluster.time > 900
    assert asked.total() < MOST_REQUESTS


@pytest.mark.slow
def test_the_same_seed_is_the_same_history() -> None:
    """Byte for byte, under different hash seeds, that is with sets in another order; another seed is another one."""
    script = "tests/sim/deployment.py"
    runs = [start([script, "1"], "0"), start([script, "1"], "1"), start([script, "2"], "0")]
    first, second, other = map(outcome, runs)
    assert len(first) == 64
    assert first == second
    assert first != other


@pytest.mark.slow
def test_nobody_changes_what_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trees that all in-process readers share are never mutated: frozen ones do as well, and tell the same."""
    plain = Scenario(seed=1).play()
    frozen: dict[tuple[bytes, int], object] = {}

    def tree(item: Item) -> object:
        """One for each version, as it is the same one that is shared by all."""
        kept = frozen.get((item.stored, item.revision))
        if kept is None:
            kept = frozen[item.stored, item.revision] = freeze(item.copy())
        return kept

    monkeypatch.setattr(Item, "tree", property(tree))
    assert Scenario(seed=1).play() == plain


@pytest.mark.slow
def test_nothing_outside_is_touched() -> None:
    """No socket, thread, process or file is made, no real clock read, and what could do so is not even imported."""
    assert outcome(start(["-c", ISOLATED], "random")) == "[]"
