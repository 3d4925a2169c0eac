"""What is written of a simulated container's life is read whole, or refused by its place."""

import math
from typing import Any

import pytest

from sampan.node.runtime import behaviour
from sampan.node.runtime.behaviour import BehaviourError
from sampan.node.runtime.stages import Exit, Pull, Slope, Span, Start, Stop

WHOLE = """
- attempts: 1..2
  chance: 0.25
  pull: {takes: 2s..5s, error: manifest unknown, fails: 2}
  start: 500ms
  stages:
  - {run: 1m30s, startup: false, readiness: "HTTP probe failed with statuscode: 503", memory: 64Mi..1Gi}
  - {run: 1h, cpu: 250m, log: [one, "two\\nthree"], every: 10}
  exit: {code: 3, message: no disk}
  stop: {takes: 1..4, exit: 143}
- stop: ignored
- start: {error: "exec: not found"}
- {run: 5, exit: OOMKilled}
"""


def test_every_word() -> None:
    """All that can be said arrives as it is meant."""
    first, deaf, broken, killed = behaviour.read(WHOLE)
    assert (first.first_attempt, first.last_attempt, first.chance) == (1, 2, 0.25)
    assert first.pull == Pull(Span(2, 5), "manifest unknown", 2)
    assert first.start == Start(Span(0.5, 0.5))
    assert first.life is not None
    loading, working = first.life.stages
    assert loading.run == Span(90, 90)
    assert (loading.startup, loading.readiness, loading.liveness) == (
        "simulated failure",
        "HTTP probe failed with statuscode: 503",
        "",
    )
    assert loading.memory == Slope(64 << 20, 1 << 30)
    assert (working.cpu, working.log, working.every) == (Slope(0.25, 0.25), ("one", "two", "three"), 10)
    assert first.life.exit == Exit(3, message="no disk")
    assert first.stop == Stop(Span(1, 4), Exit(143))
    assert (deaf.stop, deaf.life, deaf.pull, deaf.start) == (Stop(None), None, None, None)
    assert (deaf.first_attempt, deaf.last_attempt, deaf.chance) == (1, math.inf, 1)
    assert broken.start == Start(error="exec: not found")
    assert killed.life is not None
    assert killed.life.exit == Exit(137, is_oom=True)


def test_short_forms() -> None:
    """A time alone, an exit alone, a container that is said to run for ever; JSON is read as well."""
    (exits,) = behaviour.parse({"exit": 1})
    assert exits.life is not None
    assert (exits.life.stages[0].run, exits.life.exit) == (Span(0, 0), Exit(1))
    (runs,) = behaviour.read('{"run": "forever", "attempts": "3.."}')
    assert runs.life is not None
    assert (runs.life.stages[0].run, runs.first_attempt, runs.last_attempt) == (None, 3, math.inf)
    (pulls,) = behaviour.parse({"pull": "3s", "attempts": 2})
    assert (pulls.pull, pulls.first_attempt, pulls.last_attempt) == (Pull(Span(3, 3)), 2, 2)


@pytest.mark.parametrize(
    ("tree", "complaint"),
    [
        ("x", "must have fields"),
        (None, "must have fields"),
        ([], "must have from 1 to 100 parts"),
        ([{}, {"runs": 1}], "[1].runs: is not known here; known are attempts, chance, pull,"),
        ({"run": "soon"}, "run: must be a time"),
        ({"run": True}, "run: must be a time"),
        ({"run": -1}, "run: is out of range"),
        ({"run": math.nan}, "run: is out of range"),
        ({"run": 10**400}, "run: is out of range"),
        ({"run": "5s..2s"}, "run: must go from the shorter to the longer time"),
        ({"run": "1.5.2"}, "run: must be a time"),
        ({"run": [5]}, "run: must be a time"),
        ({"exit": 256}, "exit: must be a number from 0 to 255, OOMKilled,"),
        ({"exit": "1"}, "exit: must be a number"),
        ({"exit": {"code": 1, "text": ""}}, "exit.text: is not known here"),
        ({"run": "forever", "exit": 1}, "exit: the last stage has no run"),
        ({"stages": [{}, {"run": 1}]}, "stages[0]: needs run"),
        ({"stages": []}, "stages: must have from 1"),
        ({"stages": {}}, "stages: must be a list"),
        ({"stages": [{"run": 1, "exit": 1}]}, "stages[0].exit: is not known here"),
        ({"stages": [{"run": 1}], "cpu": 1}, "cpu: belongs in one of the stages"),
        ({"cpu": "much"}, "cpu: must be a quantity"),
        ({"cpu": True}, "cpu: must be a quantity"),
        ({"memory": -1}, "memory: must not be negative"),
        ({"memory": "1Mi..2Mi"}, "memory: changes in the course of the stage, which therefore needs run"),
        ({"readiness": 1}, "readiness: must be true, false, or what the failing probe says"),
        ({"every": 5}, "every: says how often log is written"),
        ({"log": "x", "every": 0}, "every: must be one time above zero"),
        ({"log": "x", "every": "1..2"}, "every: must be one time above zero"),
        ({"log": [1]}, "log[0]: must be a text"),
        ({"log": "x\n" * 1001}, "log: must have at most 1000 lines"),
        ({"attempts": 0}, "attempts: must be a number from 1"),
        ({"attempts": True}, "attempts: must be a number from 1"),
        ({"attempts": "3..1"}, "attempts: must go from the lower to the higher number"),
        ({"attempts": ".."}, "attempts: must"),
        ({"chance": 2}, "chance: must be a number from 0 to 1"),
        ({"chance": True}, "chance: must be a number from 0 to 1"),
        ({"pull": {"fails": 2}}, "pull.error: must say what a failing pull says"),
        ({"pull": {"error": "x", "fails": 0}}, "pull.fails: must be how many times"),
        ({"pull": {"time": 2}}, "pull.time: is not known here; known are takes, error, fails"),
        ({"start": {"error": ""}}, "start.error: must be a text"),
        ({"stop": "never"}, "stop.takes: must be a time"),
    ],
)
def test_refusals(tree: Any, complaint: str) -> None:
    """What makes no sense is refused with its place."""
    with pytest.raises(BehaviourError) as caught:
        behaviour.parse(tree)
    assert complaint in str(caught.value)


def test_broken_text() -> None:
    """What is no YAML is refused by its line."""
    with pytest.raises(BehaviourError, match="no YAML: line 3"):
        behaviour.read("run: 5\nexit: [")
