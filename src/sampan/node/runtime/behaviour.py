"""Behaviour: reading what people write of a simulated container's life. See docs/guide/simulated-pods.md.

    pull: 2s..5s
    start: {takes: 1s, error: "exec: not found"}
    stages:
    - {run: 10s, readiness: false, memory: 64Mi..1Gi}
    - {run: 1h, log: working}
    exit: 1

A list of these has cases, which may hold for some `attempts` only or by `chance`. What can't be understood is
refused, by its place and in words.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from sampan.meta import quantity
from sampan.meta.status import ApiError
from sampan.meta.wire import yaml
from sampan.node.runtime.stages import Behaviour, Case, Exit, Life, Pull, Slope, Span, Stage, Start, Stop

T = TypeVar("T")

MAX_PARTS = 100
MAX_LINES = 1000
MAX_SECONDS = 1e10
OOM = "OOMKilled"
FOREVER = "forever"

_STAGE_WORDS = ("run", "startup", "readiness", "liveness", "cpu", "memory", "log", "every")
_CASE_WORDS = ("attempts", "chance", "pull", "start", "stages", *_STAGE_WORDS, "exit", "stop")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_TERM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


class BehaviourError(ValueError):
    """What is wrong with a behaviour, and where."""


def read(text: str) -> Behaviour:
    """From YAML or JSON. Raises BehaviourError."""
    try:
        return parse(yaml.decode(text.encode()))
    except ApiError as error:
        text = error.message.removeprefix("error converting YAML to JSON: yaml: ")
        raise BehaviourError(f"no YAML: {text}") from None


def parse(tree: Any) -> Behaviour:
    """From a tree: one case, or a list of them. Raises BehaviourError."""
    if isinstance(tree, list | tuple):
        return tuple(_case(each, f"[{number}]") for number, each in enumerate(_some(tree, "")))
    return (_case(tree, ""),)


def _case(tree: Any, path: str) -> Case:
    given = _words(tree, path, _CASE_WORDS)
    first, last = _attempts(given.get("attempts"), _at(path, "attempts"))
    return Case(
        key=path,
        first_attempt=first,
        last_attempt=last,
        chance=_chance(given.get("chance"), _at(path, "chance")),
        pull=_given(given, "pull", path, _pull),
        start=_given(given, "start", path, _start),
        life=_life(given, path),
        stop=_given(given, "stop", path, _stop),
    )


def _life(given: Mapping[str, Any], path: str) -> Life | None:
    """Its stages; without a list of them the case's own words are the only one, which ends at once if it only exits."""
    own = {word: given[word] for word in _STAGE_WORDS if word in given}
    if not own and "stages" not in given and "exit" not in given:
        return None
    if "stages" not in given:
        if "exit" in given and "run" not in own:
            own["run"] = 0
        stages: tuple[Stage, ...] = (_stage(own, path),)
    elif own:
        raise _wrong(_at(path, next(iter(own))), "belongs in one of the stages, as there is a list of them")
    else:
        stages = _stages(given["stages"], _at(path, "stages"))
    if stages[-1].run is None and "exit" in given:
        raise _wrong(_at(path, "exit"), "the last stage has no run, so it never ends by itself")
    return Life(stages, _exit(given.get("exit"), _at(path, "exit")))


def _stages(value: Any, path: str) -> tuple[Stage, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(path, "must be a list")
    found = tuple(_stage(each, f"{path}[{number}]") for number, each in enumerate(_some(value, path)))
    for number, stage in enumerate(found[:-1]):
        if stage.run is None:
            raise _wrong(f"{path}[{number}]", "needs run: another stage comes after it")
    return found


def _stage(tree: Any, path: str) -> Stage:
    given = _words(tree, path, _STAGE_WORDS)
    run = None if given.get("run") == FOREVER else _given(given, "run", path, _span)
    cpu = _given(given, "cpu", path, _slope) or Slope()
    memory = _given(given, "memory", path, _slope) or Slope()
    for word, slope in (("cpu", cpu), ("memory", memory)):
        if run is None and slope.first != slope.last:
            raise _wrong(_at(path, word), "changes in the course of the stage, which therefore needs run")
    every = _given(given, "every", path, _span) or Span()
    if "every" in given and not every.least == every.most > 0:
        raise _wrong(_at(path, "every"), "must be one time above zero")
    if "every" in given and "log" not in given:
        raise _wrong(_at(path, "every"), "says how often log is written, and there is none")
    probes = {probe: _probe(given.get(probe, True), _at(path, probe)) for probe in ("startup", "readiness", "liveness")}
    log = _given(given, "log", path, _log) or ()
    return Stage(run=run, cpu=cpu, memory=memory, log=log, every=every.least, **probes)


def _pull(value: Any, path: str) -> Pull:
    given = _takes(value, path, ("takes", "error", "fails"))
    fails = given.get("fails", math.inf)
    if "fails" in given and (not _is_whole(fails) or fails < 1):
        raise _wrong(_at(path, "fails"), "must be how many times it fails: a whole number from 1")
    if "fails" in given and "error" not in given:
        raise _wrong(_at(path, "error"), "must say what a failing pull says")
    takes = _given(given, "takes", path, _span) or Span()
    return Pull(takes, _given(given, "error", path, _text) or "", fails)


def _start(value: Any, path: str) -> Start:
    given = _takes(value, path, ("takes", "error"))
    return Start(_given(given, "takes", path, _span) or Span(), _given(given, "error", path, _text) or "")


def _stop(value: Any, path: str) -> Stop:
    if value == "ignored":
        return Stop(None)
    given = _takes(value, path, ("takes", "exit"))
    return Stop(_given(given, "takes", path, _span) or Span(), _exit(given.get("exit"), _at(path, "exit")))


def _exit(value: Any, path: str) -> Exit:
    if value is None:
        return Exit()
    if value == OOM:
        return Exit(137, is_oom=True)
    if isinstance(value, Mapping):
        given = _words(value, path, ("code", "message"))
        ended = _exit(given.get("code"), _at(path, "code"))
        return Exit(ended.code, ended.is_oom, _given(given, "message", path, _text) or "")
    if not _is_whole(value) or value > 255:
        raise _wrong(path, f"must be a number from 0 to 255, {OOM}, or have code and message")
    return Exit(value)


def _attempts(value: Any, path: str) -> tuple[float, float]:
    """3, 1..3 or 3.. (from the third on); counted from 1."""
    if value is None:
        return 1, math.inf
    first, dots, last = str(value).partition("..")
    ends = [first, last if dots else first]
    if isinstance(value, bool) or not all(re.fullmatch(r"[1-9]\d{0,8}", end, re.ASCII) for end in ends if end):
        raise _wrong(path, "must be a number from 1, or a range such as 1..3 or 4..")
    low, high = int(ends[0] or 1), float(ends[1] or math.inf)
    if high < low or value == "..":
        raise _wrong(path, "must go from the lower to the higher number")
    return low, high


def _chance(value: Any, path: str) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong(path, "must be a number from 0 to 1")
    return float(value)


def _span(value: Any, path: str) -> Span:
    """5, 1m30s, or 2s..5s."""
    first, dots, last = value.partition("..") if isinstance(value, str) else (value, "", "")
    least = _seconds(first, path)
    most = _seconds(last, path) if dots else least
    if most < least:
        raise _wrong(path, "must go from the shorter to the longer time")
    return Span(least, most)


def _seconds(value: Any, path: str) -> float:
    found = value
    if isinstance(value, str) and _DURATION.fullmatch(value):
        found = sum(float(number) * _UNITS[unit] for number, unit in _TERM.findall(value))
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        found = float(value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, "must be a time such as 5 (seconds), 1m30s, or 2s..5s (some time between)")
    if not 0 <= found < MAX_SECONDS:
        raise _wrong(path, "is out of range")
    return float(found)


def _slope(value: Any, path: str) -> Slope:
    """64Mi, or 64Mi..1Gi."""
    first, dots, last = value.partition("..") if isinstance(value, str) else (value, "", "")
    is_amount = isinstance(value, str | int | float) and not isinstance(value, bool)
    try:
        ends = [float(quantity.parse(end)) for end in (first, last if dots else first) if is_amount]
    except ValueError:
        ends = []
    if not ends:
        raise _wrong(path, "must be a quantity such as 64Mi, or two of them: 64Mi..1Gi")
    if min(ends) < 0:
        raise _wrong(path, "must not be negative")
    return Slope(ends[0], ends[1])


def _probe(value: Any, path: str) -> str:
    """What it says when it fails, empty for one that succeeds."""
    if isinstance(value, bool):
        return "" if value else "simulated failure"
    if isinstance(value, str) and value:
        return value
    raise _wrong(path, "must be true, false, or what the failing probe says")


def _log(value: Any, path: str) -> tuple[str, ...]:
    texts = value if isinstance(value, list | tuple) else (value,)
    found = tuple(line for number, text in enumerate(texts) for line in _text(text, f"{path}[{number}]").splitlines())
    if len(found) > MAX_LINES:
        raise _wrong(path, f"must have at most {MAX_LINES} lines")
    return found


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(path, "must be a text")
    return value


def _takes(value: Any, path: str, words: tuple[str, ...]) -> Mapping[str, Any]:
    """The words of what may also be written as its time alone."""
    return _words(value, path, words) if isinstance(value, Mapping) else {"takes": value}


def _given(given: Mapping[str, Any], word: str, path: str, read: Callable[[Any, str], T]) -> T | None:
    return read(given[word], _at(path, word)) if word in given else None


def _words(tree: Any, path: str, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(tree, Mapping):
        raise _wrong(path, "must have fields, such as run: 5s")
    for word in tree:
        if word not in known:
            raise _wrong(_at(path, str(word)), f"is not known here; known are {', '.join(known)}")
    return tree


def _some(parts: Any, path: str) -> Any:
    if not 0 < len(parts) <= MAX_PARTS:
        raise _wrong(path, f"must have from 1 to {MAX_PARTS} parts")
    return parts


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _at(path: str, word: str) -> str:
    return f"{path}.{word}" if path else word


def _wrong(path: str, what: str) -> BehaviourError:
    return BehaviourError(f"{path}: {what}" if path else what)
