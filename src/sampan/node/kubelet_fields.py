"""How the values of a kubelet's configuration are read: numbers, durations, quantities, lists. Pure.

Each reader takes a value and its path in the file, and raises KubeletConfigError.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sampan.meta import quantity

T = TypeVar("T")
Reader = Callable[[Any, str], T]


class KubeletConfigError(ValueError):
    """The file can't be meant so; the text says where and why."""


def boolean(value: Any, path: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise _wrong(value, path, "true or false")
    return value


def integer(value: Any, path: str) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, path, "a whole number")
    return value


def text(value: Any, path: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise _wrong(value, path, "a text")
    return value


def seconds(value: Any, path: str) -> float:
    """A duration such as 30s or 1m30s, in seconds; not below zero."""
    from sampan.cel import times

    if isinstance(value, str):
        try:
            nanos = times.parse_duration(value).nanos
        except ValueError as error:
            raise KubeletConfigError(f"{path}: {error}") from error
        if nanos >= 0:
            return nanos / times.SECOND
    raise _wrong(value, path, "a duration such as 30s or 1m30s, not below zero")


def amount(value: Any, path: str) -> str:
    """A quantity such as 250m or 1Gi, not below zero; as it is written."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        written = str(value)
        try:
            if quantity.parse(written).nanos >= 0:
                return written
        except ValueError as error:
            raise KubeletConfigError(f"{path}: {error}") from error
    raise _wrong(value, path, "a quantity such as 250m or 1Gi, not below zero")


def threshold(value: Any, path: str) -> str:
    """A quantity such as 100Mi, or per cent such as 10%; as it is written."""
    written = str(value)
    if not written.endswith("%"):
        return amount(value, path)
    try:
        if 0 <= float(written[:-1]) <= 100:
            return written
    except ValueError:
        pass
    raise _wrong(value, path, "a quantity such as 100Mi, or per cent such as 10%")


def size(value: Any, path: str) -> int:
    """A quantity, as bytes."""
    return quantity.to_int(amount(value, path))


def percent(value: Any, path: str) -> int:
    """A whole number from 0 to 100."""
    found = integer(value, path)
    if not 0 <= found <= 100:
        raise KubeletConfigError(f"{path}: must be between 0 and 100, not {found}")
    return found


def items(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of such values."""

    def read_all(value: Any, path: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _wrong(value, path, "a list")
        return tuple(read(item, f"{path}[{number}]") for number, item in enumerate(value))

    return read_all


def mapping(read: Reader[T], *known: str) -> Reader[Mapping[str, T]]:
    """Values of that kind by name; any name, when none is known."""

    def read_all(value: Any, path: str) -> Mapping[str, T]:
        if not isinstance(value, Mapping):
            raise _wrong(value, path, "a mapping")
        found = {}
        for name, item in value.items():
            if known and name not in known:
                raise unknown(f"{path}.{name}", known)
            found[text(name, path)] = read(item, f"{path}.{name}")
        return found

    return read_all


def taint(value: Any, path: str) -> dict[str, str]:
    """A taint as a Node has it."""
    found = dict(mapping(text, "key", "value", "effect")(value, path))
    if not found.get("key"):
        raise KubeletConfigError(f"{path}.key: must be set")
    effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
    if found.get("effect") not in effects:
        raise KubeletConfigError(f"{path}.effect: must be one of {', '.join(effects)}")
    return found


def unknown(path: str, known: tuple[str, ...]) -> KubeletConfigError:
    """The error for a field that isn't there, or that this node doesn't honour."""
    return KubeletConfigError(f"{path}: unknown, or not honoured by this node; known are {', '.join(sorted(known))}")


def _wrong(value: Any, path: str, wanted: str) -> KubeletConfigError:
    return KubeletConfigError(f"{path}: must be {wanted}, not {value!r}")
