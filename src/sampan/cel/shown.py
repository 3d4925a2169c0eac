"""Values as messages of failed evaluations show them: in CEL's and Go's form, and no longer than a reader wants it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sampan.cel import times
from sampan.cel.values import Duration, Opaque, Optional, Timestamp, TypeValue
from sampan.meta import go_text

MAX_CHARACTERS = 1000


def text(value: Any) -> str:
    """As in: no such key: {a: true, b: [1, null]}."""
    shown = ""
    for part in _parts(value):
        shown += part
        if len(shown) > MAX_CHARACTERS:
            return f"{shown[:MAX_CHARACTERS]}..."
    return shown


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _listed("{", "}", (_pair(key, held) for key, held in value.items()))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        yield from _listed("[", "]", map(_parts, value))
    elif isinstance(value, Optional):
        yield "optional("
        yield from _parts(value.value) if value.present else ("none",)
        yield ")"
    else:
        yield _plain(value)


def _listed(first: str, last: str, items: Iterator[Iterator[str]]) -> Iterator[str]:
    yield first
    for place, item in enumerate(items):
        if place:
            yield ", "
        yield from item
    yield last


def _pair(key: Any, value: Any) -> Iterator[str]:
    yield from _parts(key)
    yield ": "
    yield from _parts(value)


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return go_text.text(list(value[:MAX_CHARACTERS]))
    if isinstance(value, Timestamp):
        return times.format_timestamp(value)
    if isinstance(value, Duration):
        return times.format_duration(value)
    if isinstance(value, TypeValue):
        return value.name
    return str(value) if isinstance(value, Opaque) else go_text.text(value)
