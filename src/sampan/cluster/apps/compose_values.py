"""Values as compose files write them: names, durations, sizes, lists that may be one text. Pure."""

import math
import re
import shlex
from typing import Any

_NAME = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([bkmg]?)b?", re.IGNORECASE)
_UNITS = {"": "", "b": "", "k": "Ki", "m": "Mi", "g": "Gi"}
_BYTES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


class ComposeError(ValueError):
    """What can't be understood or done, and where it stands."""


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping; an empty one for nothing. Raises ComposeError."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ComposeError(f"{where} must be a mapping")
    return value


def texts(value: Any, where: str) -> list[str]:
    """A list of texts, or one text. Raises ComposeError."""
    found = [] if value is None else value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) or item is None for item in found):
        raise ComposeError(f"{where} must be a list of texts")
    return [text(item) for item in found]


def text(value: Any) -> str:
    """As YAML wrote it: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def words(value: Any, where: str) -> list[str] | None:
    """A command: a list, or a text as a shell splits it; None for nothing. Raises ComposeError."""
    if value is None:
        return None
    if isinstance(value, list):
        return [item.replace("$(", "$$(") for item in texts(value, where)]
    try:
        return [item.replace("$(", "$$(") for item in shlex.split(text(value))]
    except ValueError as error:
        raise ComposeError(f"{where}: {error}") from error


def seconds(value: Any, where: str) -> float:
    """`1m30s`. Raises ComposeError."""
    found = _DURATION.findall(text(value))
    if not found or "".join(number + unit for number, unit in found) != text(value):
        raise ComposeError(f"{where}: {value!r} is not a duration such as 1m30s")
    return sum(float(number[:15]) * _SECONDS[unit] for number, unit in found)


def size(value: Any, where: str) -> str:
    """`512m` as a quantity, 512Mi. Raises ComposeError."""
    found = _SIZE.fullmatch(text(value).strip())
    if not found:
        raise ComposeError(f"{where}: {value!r} is not a size such as 512m")
    unit = _UNITS[found[2].lower()]
    if "." in found[1]:
        return str(math.ceil(float(found[1]) * _BYTES[unit]))
    return f"{int(found[1])}{unit}"


def cores(value: Any, where: str) -> str:
    """`0.5` as a quantity, 500m. Raises ComposeError."""
    try:
        number = float(text(value))
    except ValueError as error:
        raise ComposeError(f"{where}: {value!r} is not a number of CPUs") from error
    if not 0 < number < 1e6:
        raise ComposeError(f"{where}: {value!r} is not a number of CPUs")
    return f"{math.ceil(number * 1000)}m" if number % 1 else str(int(number))


def whole(value: Any, where: str) -> int:
    """A number that is not negative. Raises ComposeError."""
    shown = text(value)
    if not shown.isascii() or not shown.isdecimal() or len(shown) > 9:
        raise ComposeError(f"{where}: {value!r} is not a whole number")
    return int(shown)


def flag(value: Any, where: str) -> bool:
    """true or false. Raises ComposeError."""
    if text(value).lower() not in ("true", "false"):
        raise ComposeError(f"{where}: {value!r} is neither true nor false")
    return text(value).lower() == "true"


def name_of(name: str, what: str) -> str:
    """As Kubernetes takes it: lower case, with dashes. Raises ComposeError."""
    found = re.sub(r"[_.]+", "-", name.lower()).strip("-")
    if not _NAME.fullmatch(found):
        raise ComposeError(f"{name!r} can't be the name of a {what}: use letters, digits and dashes, a letter first")
    return found
