"""What a process makes only when it is first used: modules of ours, and the methods of dataclasses.

Both are as they would be otherwise, only later ([decision 25](../../../docs/decisions/0025-small-at-idle.md)):

- `modules`: importing a module of ours finds its file and no more. It is executed when somebody asks for a name that it
  defines; `from a.module import NAME` asks at once. What Python 3.15 calls a lazy import.
- `methods`: a dataclass' `__init__`, `__repr__`, `__eq__` and so on are texts that Python compiles, which is a third of
  the time of loading us. They are compiled when they are first called. Python 3.13 and later does it another way.
"""

import dataclasses
import importlib.machinery
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OURS = "sampan."
_CREATE = "_create_fn"


def modules() -> None:
    """From now on, in this process. Where a process brings forth others that share its modules, they are better loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


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
    """One that was found. Any name that it does not have yet makes it a usual one."""

    def __getattr__(self, name: str) -> Any:
        _execute(self)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


class _Found:
    """Those that were not executed yet, by name; each with a lock, for the thread that comes second has to wait."""

    def __init__(self) -> None:
        self.loaders: dict[str, Any] = {}
        self.locks: dict[str, threading.RLock] = {}


_FOUND = _Found()


def _execute(module: types.ModuleType) -> None:
    """Once; after a failure, again for who asks next."""
    name = module.__name__
    lock = _FOUND.locks.get(name)
    if lock is None:
        return
    with lock:
        loader = _FOUND.loaders.pop(name, None)
        if loader is None:
            return  # somebody else has done it, or it asks for a name of its own that is not there yet
        try:
            loader.exec_module(module)
        except BaseException:
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
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None and spec.submodule_search_locations is None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


def _method(compiled: Callable[..., Any], texts: tuple[Any, ...], names: dict[str, Any]) -> Callable[..., Any]:
    """What stands for a method until it is called, and takes its own place on the class then."""
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
