"""What is made only when it is first used is then as it always was."""

import contextlib
import dataclasses
import importlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sampan.cluster import (
    agent_process,
    control_plane,
    control_plane_process,
    first_use,
    loading,
    log_format,
    processes,
)

Write = Callable[[str, str], ModuleType]
MADE_UP_CLOCK = Path(sys.prefix) / "clients" / "libfaketimeMT.so.1"


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


def test_one_that_fails_leaves_nothing_behind(written: Write) -> None:
    """Nobody gets a class of the first attempt that differs from the second's."""
    module = written("half", "given = given + 1\nclass A: pass\nif given < 3: raise RuntimeError\n")
    module.__dict__["given"] = 1
    with pytest.raises(RuntimeError):
        _ = module.A
    assert (module.__dict__["given"], "A" in module.__dict__) == (1, False)


def test_another_thread_does_not_see_half_a_module(written: Write) -> None:
    """It waits also for a name that is there already. The one that executes it does not."""
    text = """
import sys
def public():
    return helper()
FOUND = sys.modules[__name__].public
BEGUN.set()
END.wait(60)
def helper():
    return 1
"""
    module, results, asks = written("middle", text), [], threading.Event()
    begun, end = threading.Event(), threading.Event()
    module.__dict__.update(BEGUN=begun, END=end)

    def ask() -> None:
        asks.set()
        results.append(module.public())

    first = threading.Thread(target=lambda: results.append(module.public()))
    first.start()
    assert begun.wait(60)
    second = threading.Thread(target=ask)
    second.start()
    assert asks.wait(60)
    second.join(0.05)  # without the wait it would have failed by now
    end.set()
    for thread in (first, second):
        thread.join(60)
    assert results == [1, 1]


def test_the_rest_is_executed_when_the_start_is_over(written: Write, tmp_path: Path, caplog) -> None:
    """Also what is brought in by that, and though one of them fails; whatever becomes of the files then."""
    (tmp_path / "tried" / "imported.py").write_text("VERSION = 'old'\n")
    found = written("found", "from sampan.tried import imported\nVERSION = 'old'\n")
    broken = written("broken", "raise RuntimeError\n")
    first_use.rest()
    shutil.rmtree(tmp_path / "tried")
    assert (found.VERSION, found.imported.VERSION) == ("old", "old")
    assert "sampan.tried.broken can't be loaded" in caplog.text
    with pytest.raises(OSError):
        _ = broken.A


@pytest.mark.skipif(not MADE_UP_CLOCK.exists() and not os.environ.get("CI"), reason="needs libfaketime (scripts/test)")
def test_the_rest_is_executed_where_a_clock_is_made_up() -> None:
    """Where time.sleep fails, as it does there."""
    faked = {"LD_PRELOAD": str(MADE_UP_CLOCK), "FAKETIME": "+400d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    code = """
from sampan.cluster import first_use
first_use.modules()
from sampan.meta import timestamps
assert first_use._FOUND.loaders
first_use.rest(0.001)
assert not first_use._FOUND.loaders
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **faked}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_processes_load_the_rest_when_they_have_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's that shares nothing with others; the control plane's, but not before it is where it is to be."""
    loaded = threading.Semaphore(0)
    monkeypatch.setattr(first_use, "REST_SECONDS", 0.0)
    monkeypatch.setattr(first_use, "rest", lambda pause: loaded.release())
    monkeypatch.setattr(first_use, "modules", lambda: None)
    monkeypatch.setattr(loading, "fast", contextlib.nullcontext)
    monkeypatch.setattr(processes, "heed_signals", lambda: None)
    threads = []
    monkeypatch.setattr(sys, "argv", ["sampan", "directory"])
    monkeypatch.setattr(control_plane, "load", lambda _: SimpleNamespace(rootless=True, log_format="text"))
    monkeypatch.setattr(control_plane_process, "_make_keys", lambda directory: lambda: None)
    monkeypatch.setattr(control_plane, "_enter_sandbox", lambda _: threads.append(threading.active_count()))
    for name in ("_run", "ControlPlane"):
        monkeypatch.setattr(control_plane, name, lambda *_: None)
    for module, name in (
        (control_plane.gc, "freeze"),
        (control_plane.descriptors, "take_all"),
        (log_format, "configure"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)
    before = threading.active_count()
    control_plane_process.main()
    assert loaded.acquire(timeout=60)
    assert threads == [before]
    for name, answer in (("_load", None), ("_run", 0), ("_is_new_process", False)):
        monkeypatch.setattr(agent_process, name, lambda *_, answer=answer, **__: answer)
    assert agent_process.main(["--config", "a"]) == 0
    assert loaded.acquire(timeout=60)
    monkeypatch.setattr(first_use, "rest_soon", lambda: pytest.fail("what agents share is loaded already"))
    assert agent_process.main(["--config", "a", "--also", "b", "log", "pid"]) == 0


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
    waits = sys.version_info < (3, 13)  # which compiles all methods of a class in one go
    assert ("stand_in" in str(later.__init__.__code__)) == waits  # type: ignore[misc]
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
        ("sampan.node.process", "yaml grpclib sampan.node.registry.session zoneinfo cryptography aiohttp.web_app"),
        (
            "sampan.cluster.control_plane",
            "grpc yaml aiohttp.web_app sampan.store.etcd_client sampan.gateway.service sampan.cel.interpreter",
        ),
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
