"""A cron schedule: five fields, or a word such as @daily; parsed with the complaints that upstream's parser has.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
"""

import re
from dataclasses import dataclass, replace

from sampan.kit.texts import Texts

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE_PART = re.compile(_DURATION.pattern + r"(?![^0-9.])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that a field may hold, and the names that stand for them."""

    low: int
    high: int
    names: dict[str, int]


_FIELDS = (
    Bounds(0, 59, {}),
    Bounds(0, 23, {}),
    Bounds(1, 31, {}),
    Bounds(1, 12, {name: number for number, name in enumerate(MONTHS, 1)}),
    Bounds(0, 6, {name: number for number, name in enumerate(DAYS)}),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes, hours, days of the month, months and weekdays (Sunday is 0) when it is due.

    A day is due when both day fields take it; when neither is a star, one of them is enough. With
    `every_seconds`, nothing else counts. `zone` is the name given as TZ= or CRON_TZ=, "" for none.
    """

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    is_any_day: bool = False
    is_any_weekday: bool = False
    every_seconds: float = 0.0
    zone: str = ""

    def takes_day(self, day: int, weekday: int) -> bool:
        """Whether a day of the month that is this weekday is due."""
        if self.is_any_day or self.is_any_weekday:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays


def parse(text: str) -> Schedule:
    """The schedule a text says. ValueError in upstream's words."""
    return _READ[text]


def _read(text: str) -> Schedule:
    if not text:
        raise ValueError("empty spec string")
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, rest = text.partition(" ")
        zone, text = head.partition("=")[2], rest.strip()
    if text.startswith("@"):
        return _word(text, zone)
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = (_field(f, bounds) for f, bounds in zip(fields, _FIELDS, strict=True))
    stars = _is_star(fields[2]), _is_star(fields[4])
    return Schedule(minutes, hours, days, months, weekdays, *stars, zone=zone)


_READ = Texts(_read, 128)


def _word(text: str, zone: str) -> Schedule:
    if text in _WORDS:
        return replace(parse(_WORDS[text]), zone=zone)
    if text.startswith(_EVERY):
        wish = text.removeprefix(_EVERY)
        seconds = _duration(wish)
        if seconds is None:
            raise ValueError(f"failed to parse duration {text}: time: {_duration_fault(wish)}")
        return Schedule(every_seconds=max(float(int(seconds)), 1.0), zone=zone)
    raise ValueError(f"unrecognized descriptor: {text}")


def _duration(text: str) -> float | None:
    """Seconds of a text such as 1h30m; None when it is none."""
    sign = -1.0 if text.startswith("-") else 1.0
    text = text.lstrip("+-") if text[:1] in "+-" and text else text
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(parts) != text:
        return None
    total = 0.0
    for part in parts:
        number = part.rstrip("nuµμmsh")
        total += float(number) * _UNITS[part[len(number) :]]
    return sign * total


def _duration_fault(text: str) -> str:
    """What is wrong with a text that is no duration, in Go's words."""
    rest = text.removeprefix("-") if text[:1] == "-" else text.removeprefix("+")
    while found := _WHOLE_PART.match(rest):
        rest = rest[found.end() :]
    found = re.match(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.]*)", rest, re.ASCII)
    if found is None:
        return f'invalid duration "{text}"'
    wrong = f'unknown unit "{found[1]}"' if found[1] else "missing unit"
    return f'{wrong} in duration "{text}"'


def _is_star(field: str) -> bool:
    """Whether any part of the field (which has been read) is a star, with or without a step of one."""
    for part in field.split(","):
        whole, _, step = part.partition("/")
        if whole.split("-")[0] in ("*", "?") and (not step or int(step) == 1):
            return True
    return False


def _field(text: str, bounds: Bounds) -> frozenset[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        found |= _range(part, bounds)
    return frozenset(found)


def _range(text: str, bounds: Bounds) -> set[int]:
    """NUMBER, NUMBER-NUMBER or *, and maybe /STEP."""
    whole, *steps = text.split("/")
    ends = whole.split("-")
    is_single = len(ends) == 1
    if ends[0] in ("*", "?"):
        low, high = bounds.low, bounds.high
    else:
        low = high = _number_or_name(ends[0], bounds)
        if len(ends) == 2:
            high = _number_or_name(ends[1], bounds)
        elif len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
    step = 1
    if len(steps) == 1:
        step = _number(steps[0])
        if is_single:
            high = bounds.high
    elif len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    if low < bounds.low:
        raise ValueError(f"beginning of range ({low}) below minimum ({bounds.low}): {text}")
    if high > bounds.high:
        raise ValueError(f"end of range ({high}) above maximum ({bounds.high}): {text}")
    if low > high:
        raise ValueError(f"beginning of range ({low}) beyond end of range ({high}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return set(range(low, high + 1, step))


def _number_or_name(text: str, bounds: Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _number(text) if named is None else named


def _number(text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) is None:
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ValueError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)
