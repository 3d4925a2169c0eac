"""Wall clock: what time.time, datetime.now and their like show while time is virtual, in the whole process.

The methods of the datetime class itself are changed, so the class stays what it is for everybody who has it
already. That is CPython's own business, and undone at the end. Not seen: what asks the system without Python
(OpenSSL, file times, another process), time.gmtime and its like without an argument, and a `from time import
time` inside a class or a function that ran before.
"""

import contextlib
import ctypes
import datetime as dt
import gc
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_NANO = 1_000_000_000


@contextlib.contextmanager
def shown(now: Callable[[], float]) -> Iterator[None]:
    """Shows the time that `now` gives, in unix seconds. Raises RuntimeError on a Python where that is not possible."""

    def time_ns() -> int:
        return round(now() * _NANO)

    class Methods:
        """What the class has meanwhile."""

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(now(), tz)  # type: ignore[attr-defined]

        @classmethod
        def utcnow(cls) -> Any:
            return cls.fromtimestamp(now(), dt.UTC).replace(tzinfo=None)  # type: ignore[attr-defined]

    with taken(time, {"time": now, "time_ns": time_ns}), _methods({n: vars(Methods)[n] for n in ("now", "utcnow")}):
        yield


@contextlib.contextmanager
def taken(module: Any, ours: dict[str, Any]) -> Iterator[None]:
    """Puts our functions in the place of the module's, also where other modules have imported those by name."""
    by_theirs = {getattr(module, name): function for name, function in ours.items()}
    places = [
        (holder, name, value)
        for holder in list(sys.modules.values())
        if isinstance(holder, ModuleType) and not holder.__name__.startswith("sampan.")
        for name, value in list(vars(holder).items())
        if type(value) in _FUNCTIONS and value in by_theirs
    ]
    for holder, name, value in places:
        setattr(holder, name, by_theirs[value])
    try:
        yield
    finally:
        for holder, name, value in places:
            setattr(holder, name, value)


_FUNCTIONS = (type(len), type(lambda: None))


@contextlib.contextmanager
def _methods(ours: dict[str, Any]) -> Iterator[None]:
    """Gives the datetime class other methods, and takes them back."""
    attributes = next((each for each in gc.get_referents(dt.datetime.__dict__) if isinstance(each, dict)), {})
    if "now" not in attributes or sys.implementation.name != "cpython":
        raise RuntimeError("virtual time cannot be shown to other code on this Python")
    theirs = {name: attributes[name] for name in ours}

    def put(methods: dict[str, Any]) -> None:
        attributes.update(methods)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(dt.datetime))

    put(ours)
    try:
        yield
    finally:
        put(theirs)
