"""Words: what a test may write for a time, a condition or an object, and what it is told when it makes no sense."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from numbers import Real
from typing import Any

from sampan.cluster import manifests
from sampan.meta import conditions

Object = dict[str, Any]
Condition = str | Callable[[Object], Any]
Seconds = float | timedelta
Selector = str | Mapping[str, str]

EXISTS = ("exists", "create", "created")
GONE = ("delete", "deleted", "gone")
_CONDITION = re.compile(r"(?:condition=)?([A-Za-z][\w./-]*)(?:=(\w+))?", re.ASCII)


def seconds(given: Seconds) -> float:
    """A time from 0 on, in seconds. Raises TypeError, ValueError."""
    if isinstance(given, timedelta):
        given = given.total_seconds()
    if not isinstance(given, Real):
        raise TypeError(f"a time is a number of seconds or a timedelta, not {given!r}")
    if not 0 <= given < math.inf:
        raise ValueError(f"a time is a number of seconds from 0 on, not {given}")
    return float(given)


def duration(**parts: float) -> float:
    """Days, hours and minutes in seconds. Raises ValueError."""
    try:
        return timedelta(**parts).total_seconds()
    except OverflowError:
        raise ValueError(f"so much time cannot pass: {parts}") from None


def selector(given: Selector | None) -> str:
    """A selector as kubectl takes it; a mapping wants each value as it is."""
    if given is None or isinstance(given, str):
        return given or ""
    return ",".join(f"{key}={value}" for key, value in given.items())


def question(is_so: Callable[..., Any]) -> Callable[..., bool]:
    """The condition, of which the answer is plain. Raises TypeError when it is none, and when its answer is a coroutine."""
    if not callable(is_so):
        raise TypeError(f"a condition is a function, such as lambda: ..., not {is_so!r}")

    def ask(*given: Any) -> bool:
        answer = is_so(*given)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise TypeError("a condition is a plain function, and no coroutine: it only looks, and nothing awaits it")
        return bool(answer)

    return ask


def condition(wanted: Condition) -> Callable[[Object | None], bool]:
    """Whether an object, or None for none, is so. Raises TypeError, ValueError."""
    if not isinstance(wanted, str):
        ask = question(wanted)
        return lambda obj: obj is not None and ask(obj)
    if wanted in GONE:
        return lambda obj: obj is None
    if wanted in EXISTS:
        return lambda obj: obj is not None
    found = _CONDITION.fullmatch(wanted)
    if found is None:
        raise ValueError(
            f"{wanted!r} is nothing to wait for: write Ready, Ready=False, exists, deleted, or a function of the object "
            "such as lambda pod: pod['status']['phase'] == 'Succeeded'"
        )
    type, status = found[1], found[2] or "True"
    return lambda obj: obj is not None and _status(obj, type).lower() == status.lower()


def _status(obj: Object, type: str) -> str:
    """As kubectl looks for it: whether letters are capitals does not matter."""
    names = [each["type"] for each in (obj.get("status") or {}).get("conditions") or () if "type" in each]
    name = next((name for name in names if name.lower() == type.lower()), type)
    found = conditions.get(obj, name)
    return str(found.get("status")) if found else ""


def one(manifest: Any) -> Object:
    """The only object of a manifest. Raises ValueError, and what reading it does."""
    found = list(manifests.objects_of(manifest))
    if len(found) != 1:
        raise ValueError(f"one object is made at a time, and here are {len(found)}: use apply for several")
    return found[0]


def complete(obj: Object) -> Object:
    """The object, which says what kind it is of. Raises ValueError."""
    if not (obj.get("apiVersion") and obj.get("kind")):
        raise ValueError(f"an object needs apiVersion, kind and metadata.name; this one is {_brief(obj)}")
    return obj


def named(obj: Object) -> Object:
    """The object, which has a name already. Raises ValueError."""
    metadata = complete(obj).get("metadata") or {}
    if not metadata.get("name"):
        if metadata.get("generateName"):
            raise ValueError("apply finds what is there by metadata.name, and this object has generateName: use create")
        raise ValueError(f"an object needs apiVersion, kind and metadata.name; this one is {_brief(obj)}")
    return obj


def _brief(obj: Object) -> str:
    text = repr(obj)
    return text if len(text) <= 80 else f"{text[:77]}..."
