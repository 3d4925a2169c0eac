"""What a process makes only when it is first used: modules of ours, and the methods of dataclasses.

Both are as they would be otherwise, only later ([decision 25](../../../docs/decisions/0025-small-at-idle.md)):

- `modules`: importing a module of ours finds its file and no more. It is executed when somebody asks for a name that it
  defines; `from a.module import NAME` asks at once. What Python 3.15 calls a lazy import.
- `rest_soon`: those that still wait when the start is over are executed too, a little at a time. A process does not read
  them later, when the package was replaced or removed, or when no file can be opened.
- `methods`: a dataclass' `__init__`, `__repr__`, `__eq__` and so on are texts that Python compiles, which is a third of
  the time of loading us. They are compiled when they are first called. Python 3.13 and later does it another way.
"""

import dataclasses
import importlib.machinery
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sampan.kit import wall

OURS = "sampan."
REST_SECONDS = 10.0
_PAUSE_SECONDS = 0.005
_CREATE = "_create_fn"
_GIVEN_BY_IMPORT = frozenset(
    {"__class__", "__dict__", "__name__", "__package__", "__spec__", "__loader__", "__file__", "__cached__"}
)


def modules() -> None:
    """From now on, in this process. Where a process brings forth others that share its modules, they are better loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def rest_soon() -> None:
    """When the start is over."""
    timer = threading.Timer(REST_SECONDS, rest, [_PAUSE_SECONDS])
    timer.daemon = True
    timer.start()


def rest(pause: float = 0.0) -> None:
    """Executes all that wait, and those that they bring in."""
    failed: set[str] = set()
    while waiting := [name for name in tuple(_FOUND.loaders) if name not in failed]:
        for name in waiting:
            try:
                _execute(sys.modules[name])
            except Exception:
                import logging

                logging.getLogger(__name__).exception("%s can't be loaded", name)
                failed.add(name)
            wall.pause(pause)


@contextmanager
def methods() -> Iterator[None]:
    """Of dataclasses that are defined within."""
    compiled = getattr(dataclasses, _CREATE, None)
    if compiled is None:
        yield
        return
    setattr(dataclasses, _CREATE, lambda *texts, **names: _method(compiled, texts, names))
    try:
        yield
    finally:
        setattr(dataclasses, _CREATE, compiled)


class _Module(types.ModuleType):
    """One that was found. Whoever asks for what it defines makes it a usual one, or waits until somebody has."""

    def __getattribute__(self, name: str) -> Any:
        if name not in _GIVEN_BY_IMPORT:
            _execute(self)
        return types.ModuleType.__getattribute__(self, name)


class _Found:
    """Those that were not executed yet, by name; each with a lock, for the thread that comes second has to wait."""

    def __init__(self) -> None:
        self.loaders: dict[str, Any] = {}
        self.locks: dict[str, threading.RLock] = {}


_FOUND = _Found()


def _execute(module: types.ModuleType) -> None:
    """Once; after a failure, again for who asks next. Modules of ours import one another in no circle: nor do they wait so."""
    name = module.__name__
    lock = _FOUND.locks.get(name)
    if lock is None:
        return
    with lock:
        loader = _FOUND.loaders.pop(name, None)
        if loader is None:
            return  # somebody else has done it, or it asks for a name of its own
        before = dict(module.__dict__)
        try:
            loader.exec_module(module)
        except BaseException:
            for new in module.__dict__.keys() - before.keys():
                del module.__dict__[new]
            module.__dict__.update(before)
            _FOUND.loaders[name] = loader
            raise
        module.__class__ = types.ModuleType
        del _FOUND.locks[name]


class _Loader:
    """Leaves the work to the loader that it stands before."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        _FOUND.loaders[module.__name__] = self._loader
        _FOUND.locks[module.__name__] = threading.RLock()
        module.__class__ = _Module


class _Finder:
    """Finds modules of ours, and leaves packages and everybody else's to others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(OURS):
            return None
        for folder in path or ():
            file = f"{folder}/{name.rpartition('.')[2]}.py"
            if os.path.exists(file):
                loader: Any = _Loader(importlib.machinery.SourceFileLoader(name, file))
                spec = importlib.machinery.ModuleSpec(name, loader, origin=file)
                spec.has_location = True
                return spec
        return None


def _method(compiled: Callable[..., Any], texts: tuple[Any, ...], names: dict[str, Any]) -> Callable[..., Any]:
    """What stands for a method until it is called, and leaves its place on the class to it then.

    Except `__repr__`, which dataclasses wrap: there it stays, and calls the method.
    """
    made: Callable[..., Any] | None = None

    def stand_in(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal made
        if made is None:
            made = compiled(*texts, **names)
            made.__qualname__ = stand_in.__qualname__
            for owner in type(self).__mro__:
                if owner.__dict__.get(texts[0]) is stand_in:
                    setattr(owner, texts[0], made)
        return made(self, *given, **named)

    stand_in.__name__ = texts[0]
    return stand_in
