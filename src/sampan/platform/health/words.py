"""Words: how durations, names and near misses are told to people."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sampan.meta import objects, timestamps

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
CREDENTIALS = re.compile(
    r"(://)[^\s/'\"]+(?=@)|([?&;]\w*(?:password|passwd|pwd|token|secret|key)=)[^\s&;#'\"]+", re.IGNORECASE
)


def duration(seconds: float) -> str:
    """40s, 3m, 2h, 5d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit == "d" and seconds >= size):
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def plural(count: int, noun: str) -> str:
    """1 pod, 2 pods."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str], limit: int = 5) -> str:
    """a, b and 3 more."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that is so like another that somebody may have meant it, or ""."""
    known = sorted({each for each in names if each and each != name})
    found = get_close_matches(name, known, 1, 0.6)
    if found:
        return found[0]
    return next((each for each in known if len(name) > 2 and (each.startswith(name) or name.startswith(each))), "")


def nearest_object(name: str, found: Iterable[Mapping[str, Any]]) -> str:
    """The same among objects."""
    return nearest(name, (objects.name(each) for each in found))


def meant(name: str) -> str:
    """A question about a near miss, or nothing."""
    return f"; did you mean {name}?" if name else ""


def in_namespace(namespace: str) -> str:
    """kubectl, and where."""
    return f"kubectl -n {namespace}" if namespace else "kubectl"


def last_line(lines: Sequence[str]) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def plain(text: str) -> str:
    """Without control characters, and those that turn the direction of writing, which a terminal would obey."""
    return CONTROLS.sub("\ufffd", text)


def masked(text: str) -> str:
    """Without the passwords and tokens that addresses carry."""
    return CREDENTIALS.sub(r"\1\2*****", text)


def clipped(text: str, limit: int = 300) -> str:
    """On one line, not too long, without what a terminal would obey and what nobody should read."""
    one = masked(plain(" ".join(text.split())))
    return one if len(one) <= limit else one[: limit - 3] + "..."


def since(obj: Mapping[str, Any], now: float) -> float:
    """Seconds since an object was made."""
    made = objects.metadata(obj).get("creationTimestamp")
    return max(now - timestamps.parse(made), 0.0) if made else 0.0
