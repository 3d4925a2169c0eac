"""Timestamps and durations: reading, writing and the parts of a moment.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#timestamps-and-durations
"""

import base64
import calendar
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from sampan.cel.values import MAX_INT, MIN_INT, Duration, EvaluationError, Opaque, Timestamp

SECOND = 1_000_000_000
_DIGITS = 19
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
_FIRST, _LAST = -62135596800, 253402300799
# The longer forms that OpenAPI's duration format takes beside Go's: "1 day", "2 weeks".
_LONG = {
    "ns nano nanos nanosecond nanoseconds nanos": 1,
    "us micro micros microsecond microseconds µs": 1000,
    "ms milli millis millisecond milliseconds": 10**6,
    "s sec secs second seconds": SECOND,
    "m min mins minute minutes": 60 * SECOND,
    "h hr hour hours": 3600 * SECOND,
    "d day days": 86400 * SECOND,
    "w wk week weeks": 604800 * SECOND,
}
_WORDS = {word: nanos for words, nanos in _LONG.items() for word in words.split()}
_WORDY = re.compile(r"\s*+(-?[0-9]++)\s*+([A-Za-zµ]++)", re.ASCII)


def parse_duration(text: str) -> Duration:
    """A duration as Go writes them: 1h30m, -1.5s. Raises ValueError."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return Duration(0)
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    total, at = 0, 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None:
            missing = re.fullmatch(r"[0-9.]+", rest[at:], re.ASCII) and any(c.isdigit() for c in rest[at:])
            raise ValueError(f'time: {"missing unit in" if missing else "invalid"} duration "{text}"')
        whole, _, fraction = match.group(1).partition(".")
        unit, fraction = _UNITS[match.group(2)], fraction[:_DIGITS]
        total += int(whole[: _DIGITS + 1] or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = match.end()
        if total > MAX_INT:
            raise ValueError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


def parse_schema_duration(text: str) -> Duration:
    """A string of format duration: Go's form, or words: 3 days. Raises ValueError."""
    try:
        return parse_duration(text)
    except ValueError:
        total, end = 0, 0
        while match := _WORDY.match(text, end):
            unit = _WORDS.get(match.group(2).lower())
            if unit is None or len(match.group(1)) > _DIGITS:
                break
            total, end = total + int(match.group(1)) * unit, match.end()
        if not end or text[end:].strip() or abs(total) > MAX_INT:
            raise ValueError(f'unable to parse "{text}" as duration') from None
        return Duration(total)


def format_duration(duration: Duration) -> str:
    """As string(duration) has it: seconds with a fraction, 90s, 1.5s."""
    sign, nanos = ("-", -duration.nanos) if duration.nanos < 0 else ("", duration.nanos)
    whole, part = divmod(nanos, SECOND)
    fraction = f".{part:09d}".rstrip("0") if part else ""
    return f"{sign}{whole}{fraction}s"


def parse_timestamp(text: str) -> Timestamp:
    """A moment as RFC 3339 has it. Raises ValueError."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"')
    year, month, day, hour, minute, second = (int(match.group(i)) for i in range(1, 7))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as wrong:
        part = next((p for p in ("month", "day", "hour", "minute", "second") if p in str(wrong)), "day")
        raise ValueError(f'parsing time "{text}": {part} out of range') from None
    zone = match.group(8)
    shift = 0 if zone in "Zz" else int(zone[0] + "1") * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60)
    return of_seconds(calendar.timegm(moment.timetuple()) - shift, int((match.group(7) or "0")[:9].ljust(9, "0")))


def parse_schema_moment(text: str) -> Timestamp:
    """A string of format date-time: RFC 3339, or a date alone. Raises ValueError."""
    return parse_date(text) if _DATE.fullmatch(text) else parse_timestamp(text.replace(" ", "T", 1))


def parse_date(text: str) -> Timestamp:
    """A string of format date: 2026-01-31. Raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError(f'parsing time "{text}" as "2006-01-02": cannot parse "{text}"')
    return parse_timestamp(f"{text}T00:00:00Z")


def of_seconds(seconds: int, nanos: int = 0) -> Timestamp:
    """A moment in the years 1 to 9999. Raises ValueError outside."""
    if not _FIRST <= seconds <= _LAST:
        raise ValueError("timestamp overflow")
    return Timestamp(seconds * SECOND + nanos)


def moved(moment: Timestamp, nanos: int) -> Timestamp:
    """A moment that many nanoseconds later."""
    total = moment.nanos + nanos
    if not _FIRST * SECOND <= total < (_LAST + 1) * SECOND:
        raise EvaluationError("timestamp overflow")
    return Timestamp(total)


def span(nanos: int) -> Duration:
    """A duration, checked against 64 bits."""
    if not MIN_INT <= nanos <= MAX_INT:
        raise EvaluationError("integer overflow")
    return Duration(nanos)


def format_timestamp(moment: Timestamp) -> str:
    """As string(timestamp) has it: RFC 3339 in UTC with as many digits as needed."""
    seconds, part = divmod(moment.nanos, SECOND)
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{part:09d}".rstrip("0") if part else ""
    return f"{when:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + "Z"


def at_zone(moment: Timestamp, zone: str | None) -> datetime:
    """The moment's wall clock in that time zone: UTC, +02:00, Europe/Paris."""
    seconds = moment.nanos // SECOND
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    try:
        return when if not zone else when.astimezone(_zone(zone))
    except OverflowError:
        raise EvaluationError("timestamp overflow") from None


def _zone(name: str) -> tzinfo:
    match = re.fullmatch(r"([+-]?)([0-9]{1,2}):([0-9]{2})", name, re.ASCII)
    if match:
        minutes = int(match.group(2)) * 60 + int(match.group(3))
        return timezone(timedelta(minutes=-minutes if match.group(1) == "-" else minutes))
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


def plain(value: Any) -> Any:
    """What JSON has for a moment, a duration, bytes or a library's value."""
    if isinstance(value, Timestamp):
        return format_timestamp(value)
    if isinstance(value, Duration):
        return format_duration(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Opaque):
        return str(value)
    raise EvaluationError(f"unsupported type: {type(value).__name__}")
