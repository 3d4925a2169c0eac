"""Timestamps: unix seconds to RFC 3339 text and back, as the API writes them.

`Time` fields have whole seconds, `MicroTime` fields six digits; both are UTC with a "Z".

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from sampan.kit.texts import Texts

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format(now: float) -> str:
    """Whole seconds, rounded down: 2026-01-01T00:00:00Z."""
    return _format_second(math.floor(now))


def format_micro(now: float) -> str:
    """Six digits, as MicroTime fields have them: 2026-01-01T00:00:00.000000Z."""
    return format_micros(round(now * 1_000_000))


def format_micros(micros: int) -> str:
    """The same, of a whole number of microseconds."""
    return f"{_format_second(micros // 1_000_000)[:-1]}.{micros % 1_000_000:06d}Z"


def parse(text: str) -> float:
    """Unix seconds of an RFC 3339 text; ValueError when it is none."""
    return _READ[text]


def micros(text: str) -> int:
    """Whole microseconds of an RFC 3339 text, exactly, in any year; ValueError when it is none."""
    whole, nanos = _parts(text)
    return whole * 1_000_000 + nanos // 1000


def _read(text: str) -> float:
    whole, nanos = _parts(text)
    return whole + nanos / 1e9


def _parts(text: str) -> tuple[int, int]:
    """Unix seconds and billionths above them."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"')
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    moment = datetime(year, month, day, hour, minute, second, tzinfo=_zone(found[8]))
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f'parsing time "{text}": year outside of range [1,9999]') from None
    return int((moment - _EPOCH).total_seconds()), int((found[7] or "0").ljust(9, "0"))


_READ = Texts(_read, 1024)


def is_valid(text: str) -> bool:
    """Whether `parse` takes the text."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _format_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19] + "Z"


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)
