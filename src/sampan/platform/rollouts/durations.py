"""Durations as people write them: 30, 30s, 5m, 1h30m."""

import re

_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(given: int | str) -> float:
    """How many seconds that is. ValueError for what is no duration."""
    text = str(given)
    if isinstance(given, int) or text.isdecimal():
        return float(given)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'time: invalid duration "{given}"')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
