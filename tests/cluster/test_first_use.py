"""What is made only when it is first used is then as it always was."""

import dataclasses
import importlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sampan.cluster import first_use

Write = Callable[[str, str], ModuleType]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Imports `sampan.tried.NAME` with this text, as a process does that has said `modules`."""
    import sampan

    package = tmp_path / "tried"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(sampan, "__path__", [*sampan.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    first_use.modules()

    def write(name: str, text: str) -> ModuleType:
        (package / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(f"sampan.tried.{name}")

    yield write
    for name in [name for name in sys.modules if name.startswith("sampan.tried")]:
        del sys.modules[name]
    monkeypatch.delattr(sampan, "tried", raising=False)


def test_a_module_is_executed_when_it_is_asked_for_something(written: Write) -> None:
    """Once, and is a usual one from then on."""
    module = written("later", "import sys\nsys.tried = getattr(sys, 'tried', 0) + 1\nANSWER = 42\n")
    assert not hasattr(sys, "tried")
    assert (module.ANSWER, module.ANSWER, sys.tried) == (42, 42, 1)  # type: ignore[attr-defined]
    assert type(module) is ModuleType
    assert module is importlib.import_module("sampan.tried.later")
    with pytest.raises(AttributeError, match=r"module 'sampan.tried.later' has no attribute 'other'"):
        _ = module.other
    del sys.tried  # type: ignore[attr-defined]


def test_what_a_module_lacks_is_said(written: Write) -> None:
    """Also to whoever is the first to ask, and by `from` as usual."""
    assert not hasattr(written("poor", "A = 1\n"), "b")
    with pytest.raises(ImportError, match="cannot import name 'c'"):
        exec("from sampan.tried.poor import c")


def test_one_that_fails_fails_for_everyone_who_asks(written: Write) -> None:
    """As an import that is tried again; and it is there once it succeeds."""
    module = written("broken", "import os\nA = os.environ['TRIED_BY_A_TEST']\n")
    for _ in range(2):
        with pytest.raises(KeyError, match="TRIED_BY_A_TEST"):
            _ = module.A
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIED_BY_A_TEST", "yes")
        assert module.A == "yes"


def test_threads_that_ask_at_once_find_it_whole(written: Write) -> None:
    """The second waits until the first has executed it."""
    module = written("slow", "import threading\nEVENT.wait(60)\nLAST = 1\n")
    begun, found = threading.Event(), []
    module.__dict__["EVENT"] = begun
    threads = [threading.Thread(target=lambda: found.append(module.LAST)) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join(60)
    assert found == [1] * 4


def test_packages_and_modules_of_others_are_as_usual(written: Write) -> None:
    """Only ours wait."""
    written("one", "A = 1\n")
    assert type(sys.modules["sampan.tried"]) is ModuleType
    assert first_use._Finder.find_spec("colorsys") is None


def test_a_dataclass_is_as_usual() -> None:
    """All that its methods do, also for those that inherit them, though they are compiled when they are called."""

    def define() -> tuple[type, type]:
        @dataclasses.dataclass(frozen=True, slots=True, order=True)
        class Point:
            """A point."""

            x: int
            y: int = 0
            tags: tuple[str, ...] = dataclasses.field(default=(), compare=False)

        @dataclasses.dataclass
        class Named:
            """Something."""

            name: str
            parts: list[str] = dataclasses.field(default_factory=list)

        return Point, Named

    with first_use.methods():
        later, later_named = define()
    now, now_named = define()
    assert "stand_in" in str(later.__init__.__code__)  # type: ignore[misc]
    for point, named in ((later, later_named), (now, now_named)):
        one, two = point(1, y=2), point(1, 2, ("a",))
        assert (one == two, hash(one) == hash(two), one != object(), one < point(2)) == (True, True, True, True)
        assert repr(two).endswith("Point(x=1, y=2, tags=('a',))")
        assert dataclasses.replace(one, x=3) == point(3, 2)
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
            one.x = 4
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
            del one.x
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            point()
        first, other = named("a"), type("Other", (named,), {})("a")
        first.parts.append("b")
        assert (named("a").parts, first == other, hasattr(other, "parts")) == ([], False, True)
        with pytest.raises(TypeError, match="unhashable"):
            hash(first)
    assert "stand_in" not in str(later.__init__.__code__)  # type: ignore[misc]
    assert later.__init__.__qualname__.endswith("Point.__init__")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("process", "unneeded"),
    [
        ("sampan.cli.up", "sampan.cluster.pki sampan.control.plan asyncio ssl yaml cryptography aiohttp"),
        ("sampan.node.process", "yaml grpclib sampan.node.registry.session zoneinfo"),
        ("sampan.cluster.control_plane", "grpc sampan.store.etcd_client sampan.gateway.service sampan.cel.interpreter"),
    ],
)
def test_starting_loads_nothing_that_it_does_not_need(process: str, unneeded: str) -> None:
    """Some of the largest of what a start can do without."""
    code = f"""
import sys
from sampan.cluster import first_use, loading
if {process!r} != "sampan.cli.up":
    first_use.modules()
    with loading.fast():
        import {process}
        {process}.__doc__, getattr({process}, "main", None)
else:
    import {process}
waiting = first_use._FOUND.loaders
print(*(name for name in {unneeded.split()!r} if name in sys.modules and name not in waiting))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
