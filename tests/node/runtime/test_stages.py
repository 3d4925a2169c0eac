"""A simulated container's course: what is so after so many seconds, and what chance decides."""

import math
from typing import Any

from sampan.node.runtime import behaviour, stages
from sampan.node.runtime.stages import Course, Exit


def course(tree: Any, attempt: int = 0, limit: float = 0, uid: str = "u") -> Course:
    chance = stages.draw(uid, "main", str(attempt))
    return stages.course(stages.case_of(behaviour.parse(tree), attempt, chance), chance, limit)


def test_stages_follow_each_other() -> None:
    """Probes and use are those of the stage that is on; slopes go evenly; the last value stays at the end."""
    made = course(
        {
            "stages": [
                {"run": 10, "readiness": "loading", "memory": "100..300"},
                {"run": 20, "cpu": "2..0", "memory": 300},
                {"liveness": False, "run": 5},
            ],
            "exit": 2,
        }
    )
    assert (made.begins, made.ends, made.exit) == ((0, 10, 30), 35, Exit(2))
    first, second, third = (stages.state(made, seconds) for seconds in (5, 10, 30))
    assert (first.readiness, first.liveness, first.memory, first.cpu) == ("loading", "", 200, 0)
    assert (second.readiness, second.memory, second.cpu) == ("", 300, 2)
    assert (third.liveness, third.cpu) == ("simulated failure", 0)
    assert stages.state(made, 20).cpu == 1
    assert stages.state(made, 99).liveness == "simulated failure"


def test_nothing_said() -> None:
    """A container of which nothing is said starts at once and runs until it is asked to end, and then does, well."""
    made = course({})
    assert (made.start_seconds, made.start_error, made.ends) == (0, "", math.inf)
    assert (made.stop_seconds, made.stop_exit) == (0, Exit(0))
    assert course({"stop": "ignored"}).stop_seconds == math.inf


def test_too_much_memory() -> None:
    """Whoever comes to use more than the limit is killed when that happens, whatever was to come."""
    tree = {"stages": [{"run": 10, "memory": "0..100"}, {"run": 10, "memory": "100..300"}], "exit": 0}
    made = course(tree, limit=200)
    assert (made.ends, made.exit) == (15, Exit(137, is_oom=True))
    assert [stages.state(made, seconds).memory for seconds in (5, 15)] == [50, 200]
    assert course(tree, limit=300).exit == Exit(0)
    assert course({"memory": 201}, limit=200).ends == 0
    assert course({"memory": 200}, limit=200).ends == math.inf


def test_cases() -> None:
    """In each respect the first case decides that holds and speaks of it."""
    tree = [{"attempts": "1..2", "exit": 1}, {"attempts": 3, "start": 7}, {"run": 60, "start": 2, "stop": 4}]
    lives = [course(tree, attempt) for attempt in range(4)]
    assert [life.exit.code for life in lives] == [1, 1, 0, 0]
    assert [life.start_seconds for life in lives] == [2, 2, 7, 2]
    assert [life.ends for life in lives] == [0, 0, 60, 60]
    assert {life.stop_seconds for life in lives} == {4}


def test_chance() -> None:
    """Chances come as often as they say; the same container and attempt have the same luck again."""
    tree = [{"chance": 0.3, "exit": 1}, {"run": "10..20"}]
    lives = [course(tree, uid=str(number)) for number in range(1000)]
    assert 250 < sum(life.exit.code for life in lives) < 350
    times = [life.ends for life in lives if not life.exit.code]
    assert 10 <= min(times) < 10.5
    assert 19.5 < max(times) < 20
    assert lives == [course(tree, uid=str(number)) for number in range(1000)]
    assert len({course({"run": "1..9"}, attempt).ends for attempt in range(20)}) == 20


def test_lines() -> None:
    """Lines come when their stage begins, and again as often as is said, until it ends."""
    made = course({"stages": [{"run": 10, "log": ["a", "b"], "every": 5}, {"run": 5}, {"log": "end"}]})
    assert stages.lines(made, 0) == [(0, "a"), (0, "b")]
    assert stages.lines(made, 9) == [(0, "a"), (0, "b"), (5, "a"), (5, "b")]
    assert stages.lines(made, 99) == [*stages.lines(made, 9), (15, "end")]


def test_lines_are_bounded() -> None:
    """Of a long log the newest lines are kept, and the older ones cost nothing."""
    found = stages.lines(course({"log": "x", "every": "1s"}), 1e9)
    assert (len(found), found[-1]) == (stages.KEPT_LINES, (1e9, "x"))
    assert found[0] == (1e9 - stages.KEPT_LINES + 1, "x")


def test_a_stage_without_length_says_its_lines() -> None:
    """Though it is over at once."""
    made = course({"stages": [{"run": 0, "log": "hello", "every": 1}, {}]})
    assert stages.lines(made, 3) == [(0, "hello")]
