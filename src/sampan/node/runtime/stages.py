"""Stages: what a simulated container does in the course of its life, as values and plain rules.

A behaviour is a list of cases. In each respect (getting the image, starting, living, being stopped) the first case
decides that holds for the attempt and speaks of it. Whatever is left to chance (a span of time, whether a case
holds) is drawn from the names of what it is drawn for, so the same pod does the same again, whatever else there
is. Seconds count from the container's start.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

KEPT_LINES = 10_000
KILLED = 137

Draw = Callable[[str], float]
"""A number from 0 up to 1 for what is named; the same one for the same name."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some time between the two, in seconds; each is as likely as any other."""

    least: float = 0.0
    most: float = 0.0

    def at(self, share: float) -> float:
        """The time that a drawn number stands for."""
        return self.least + (self.most - self.least) * share


@dataclass(frozen=True, slots=True)
class Slope:
    """What goes evenly from the one value to the other in the course of a stage."""

    first: float = 0.0
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class Pull:
    """Getting the image, each time: how long it takes, and with what it fails (the first `fails` times)."""

    takes: Span = Span()
    error: str = ""
    fails: float = math.inf


@dataclass(frozen=True, slots=True)
class Start:
    """From the image to the running container: how long it takes, and with what it fails."""

    takes: Span = Span()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ends."""

    code: int = 0
    is_oom: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """What it does when it is asked to end. Without `takes` it does not listen."""

    takes: Span | None = Span()
    exit: Exit = Exit()


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a container's life; without `run` it lasts until the container is stopped.

    Probes succeed where their text is empty, and otherwise fail with it. CPU is in cores, memory in bytes. `log` is
    written at the stage's begin, and again each `every` seconds if that is given.
    """

    run: Span | None = None
    startup: str = ""
    readiness: str = ""
    liveness: str = ""
    cpu: Slope = Slope()
    memory: Slope = Slope()
    log: tuple[str, ...] = ()
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Life:
    """From the start on: stages, and how it ends after the last of them."""

    stages: tuple[Stage, ...] = (Stage(),)
    exit: Exit = Exit()


@dataclass(frozen=True, slots=True)
class Case:
    """What is said of the attempts of these numbers (from 1), with this chance; None of what nothing is said.

    `key` names the case among all that may hold for the same container.
    """

    key: str = ""
    first_attempt: float = 1
    last_attempt: float = math.inf
    chance: float = 1.0
    pull: Pull | None = None
    start: Start | None = None
    life: Life | None = None
    stop: Stop | None = None


Behaviour = tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """The life of one attempt, everything that was left to chance decided.

    `begins` are the times of the stages, `lengths` how long they are to be; `ends` is infinite for what runs until it
    is stopped, `stop_seconds` for what does not listen to being asked.
    """

    start_seconds: float
    start_error: str
    life: Life
    begins: tuple[float, ...]
    lengths: tuple[float, ...]
    ends: float
    exit: Exit
    stop_seconds: float
    stop_exit: Exit


@dataclass(frozen=True, slots=True)
class Moment:
    """A container at one time: what its probes say (empty: success), and what it uses (cores, bytes)."""

    startup: str
    readiness: str
    liveness: str
    cpu: float
    memory: float


def draw(*names: str) -> Draw:
    """Chance for what bears these names: a pod's uid, its container, its attempt."""
    root = "\0".join(names)

    def number(what: str) -> float:
        drawn = hashlib.blake2b(f"{root}\0{what}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn, "big") / 2.0**64

    return number


def case_of(behaviour: Behaviour, attempt: int, chance: Draw) -> Case:
    """What the attempt (from 0, as restarts count) does: in each respect, what the first case says that holds for it."""
    found: dict[str, Any] = {}
    for case in behaviour:
        is_meant = case.first_attempt <= attempt + 1 <= case.last_attempt
        if is_meant and (case.chance >= 1.0 or chance(f"case {case.key}") < case.chance):
            said = {name: getattr(case, name) for name in ("pull", "start", "life", "stop")}
            found = {name: value for name, value in said.items() if value is not None} | found
    return Case(**found)


def course(case: Case, chance: Draw, memory_limit: float = 0.0) -> Course:
    """The life of an attempt. One that comes to use more memory than it may (bytes; 0: any) is killed then."""
    start, life, stop = case.start or Start(), case.life or Life(), case.stop or Stop()
    begins, lengths, end, exit = list[float](), list[float](), 0.0, life.exit
    for number, stage in enumerate(life.stages):
        length = math.inf if stage.run is None else stage.run.at(chance(f"stage {number}"))
        begins.append(end)
        lengths.append(length)
        excess = _excess(stage.memory, length, memory_limit)
        if excess is not None:
            end, exit = end + excess, Exit(KILLED, is_oom=True)
            break
        end += length
    return Course(
        start_seconds=start.takes.at(chance("start")),
        start_error=start.error,
        life=life,
        begins=tuple(begins),
        lengths=tuple(lengths),
        ends=end,
        exit=exit,
        stop_seconds=math.inf if stop.takes is None else stop.takes.at(chance("stop")),
        stop_exit=stop.exit,
    )


def state(course: Course, elapsed: float) -> Moment:
    """What is so after so many seconds."""
    number = _stage(course, elapsed)
    stage, length = course.life.stages[number], course.lengths[number]
    share = min((elapsed - course.begins[number]) / length, 1.0) if 0 < length < math.inf else 0.0
    used = [slope.first + (slope.last - slope.first) * share for slope in (stage.cpu, stage.memory)]
    return Moment(stage.startup, stage.readiness, stage.liveness, *used)


def spent(course: Course, elapsed: float) -> float:
    """The core-seconds that were used until then."""
    total = 0.0
    for number in range(_stage(course, elapsed) + 1):
        stage, length = course.life.stages[number], course.lengths[number]
        seconds = min(elapsed - course.begins[number], length)
        share = seconds / length if 0 < length < math.inf else 0.0
        total += seconds * (stage.cpu.first + (stage.cpu.last - stage.cpu.first) * share / 2)
    return total


def lines(course: Course, elapsed: float) -> list[tuple[float, str]]:
    """What was logged until then, with its time: at most the newest so many lines."""
    found: list[tuple[float, str]] = []
    for number in reversed(range(_stage(course, elapsed) + 1)):
        stage = course.life.stages[number]
        for at in _times(course, number, elapsed) if stage.log else ():
            found += [(at, line) for line in reversed(stage.log)]
            if len(found) >= KEPT_LINES:
                return found[:KEPT_LINES][::-1]
    return found[::-1]


def _excess(memory: Slope, length: float, limit: float) -> float | None:
    """After how many seconds of a stage more memory is used than may be; None if never."""
    if not limit or max(memory.first, memory.last) <= limit:
        return None
    if memory.first > limit:
        return 0.0
    return length * (limit - memory.first) / (memory.last - memory.first)


def _stage(course: Course, elapsed: float) -> int:
    """The number of the stage that is on."""
    return max((n for n, begin in enumerate(course.begins) if begin <= elapsed), default=0)


def _times(course: Course, number: int, elapsed: float) -> Iterator[float]:
    """When a stage's lines are written until then, the newest first."""
    begin, length, every = course.begins[number], course.lengths[number], course.life.stages[number].every
    rounds = int(min(length, elapsed - begin) / every) if every else 0
    if rounds and rounds * every >= length:
        rounds -= 1
    for at in range(rounds, -1, -1):
        yield begin + at * every
