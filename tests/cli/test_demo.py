"""`sampan demo`: which one is shown, what it refuses, and how a day is drawn."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from sampan.cli import demo, demo_day, demo_guestbook, demo_parts, live_view, main
from sampan.cluster.settings import Settings
from sampan.cluster.trading_day import curve, screen
from sampan.cluster.trading_day.figures import Happening, Record, Sample, Taken
from sampan.gateway import envoy_process
from sampan.meta import status
from tests.cli.conftest import User
from tests.ports import free_port

Capture = pytest.CaptureFixture[str]


def test_without_envoy_the_guestbook(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """It says what is missing and how to get it, and shows what works without."""

    def missing() -> str:
        raise envoy_process.EnvoyMissing("there is no Envoy; mend: pip install 'sampan[gateway]'")

    def shown(arguments: argparse.Namespace) -> int:
        print(f"a guestbook in {arguments.name}")
        return 0

    monkeypatch.setattr(envoy_process, "find", missing)
    monkeypatch.setattr(demo_guestbook, "show", shown)
    assert main.run(["demo", "--name", "none"]) == 0
    said = capsys.readouterr().out
    assert "pip install 'sampan[gateway]'" in said and said.endswith("a guestbook in none\n")


@pytest.mark.parametrize("minutes", ["0", "0.5", "-1", "day", "nan", "1000"])
def test_a_day_has_a_length(minutes: str, capsys: Capture) -> None:
    """From a minute to one as long as the exchange's own."""
    assert main.run(["demo", "--minutes", minutes]) == 2
    assert f"{minutes} is not between 1 and 390" in capsys.readouterr().err


def test_a_report_that_cant_be_written(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """It is found before anything is started."""
    monkeypatch.setattr(envoy_process, "find", lambda: "/envoy")
    assert main.run(["demo", "--name", "none", "--json", "/nowhere/report.json"]) == 1
    assert capsys.readouterr().err == "sampan demo: /nowhere/report.json: No such file or directory\n"


class _Stopped(Exception):
    """Nothing more is to be tried."""


def test_no_empty_report_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the day has not begun there is none; one from before stays as it was."""

    def stopped(arguments: argparse.Namespace) -> None:
        raise _Stopped

    monkeypatch.setattr(envoy_process, "find", lambda: "/envoy")
    monkeypatch.setattr(demo_parts, "cluster", stopped)
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("{}")
    for file in (new, old):
        with pytest.raises(_Stopped):
            main.run(["demo", "--name", "none", "--json", str(file)])
    assert not new.exists() and old.read_text() == "{}"


def test_a_day_that_can_t_go_on_is_reported_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    """As far as it went, in words and in JSON; then it is said why it ended."""

    async def nothing(*given: object) -> str:
        return "127.0.0.1"

    async def begun(stage: object, load: object, day: Record, show: object) -> None:
        day.samples.extend(record().samples)
        raise status.unavailable("gone")

    monkeypatch.setattr(envoy_process, "find", lambda: "/envoy")
    monkeypatch.setattr(demo_parts, "cluster", lambda arguments: Settings("none", tmp_path))
    monkeypatch.setattr(demo_parts, "image", lambda *given: "made")
    for name in ("access", "HttpTransport"):
        monkeypatch.setattr(demo_day, name, lambda given: Closed())
    for name in ("_enable", "_first_answer"):
        monkeypatch.setattr(demo_day, name, nothing)
    monkeypatch.setattr(demo_day.staging, "set_up", nothing)
    monkeypatch.setattr(demo_day.play, "play", begun)
    file = tmp_path / "report.json"
    assert main.run(["demo", "--name", "none", "--json", str(file)]) == 1
    said = capsys.readouterr()
    assert "What was promised" in said.out and said.err.startswith("sampan demo: the trading day could not go on: gone")
    assert json.loads(file.read_text())


class Closed:
    """A transport that nobody asks."""

    async def close(self) -> None:
        """There is nothing to close."""


@pytest.mark.slow
def test_no_demo_on_simulated_nodes(user: User) -> None:
    """There would be nothing that answers. One line says so."""
    user.sampan(f"up --runtime simulated --name pretended --api-port {free_port()}")
    for which in (demo.DAY, demo.GUESTBOOK):
        assert "nodes are simulated; use another --name" in user.fails(f"demo {which} --name pretended")


def record() -> Record:
    made = Record(curve.day(0.0, 240.0))
    made.samples.append(Sample(0.1, 1.0, 8.0, Taken(8, {"": 1}, 0, 0.08, 0.1), 2, 2, 2, 0, 2, 12))
    made.happenings.append(Happening(0.1, "v2 is released"))
    return made


def test_lines_where_nothing_can_be_drawn(capsys: Capture) -> None:
    """What happens is told once; the figures come every ten seconds."""
    now, made = 0.0, record()
    view = live_view.Lines(lambda: now)
    view.show(made)
    assert capsys.readouterr().out == f"  09:39  v2 is released\n  {screen.plain(made)}\n"
    now = 9.0
    view.show(made)
    assert capsys.readouterr().out == ""
    now = 10.0
    view.show(made)
    view.end()
    assert capsys.readouterr().out == f"  {screen.plain(made)}\n"


def test_a_view_in_its_place(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Each time over the one before, with room to spare; the cursor is away meanwhile, and comes back."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 20)))
    monkeypatch.setenv("NO_COLOR", "1")
    view = live_view.InPlace()
    view.show(record())
    first = capsys.readouterr().out
    assert first.startswith("\x1b[?25l") and "\x1b[3" not in first
    drawn = first.count("\n")
    assert 0 < drawn < 20
    assert all(len(line) < 80 + len("\x1b[?25l\x1b[K") for line in first.split("\n"))
    view.show(record())
    assert capsys.readouterr().out.startswith(f"\x1b[{drawn}F")
    view.end()
    assert capsys.readouterr().out == "\x1b[?25h"


@pytest.mark.parametrize(
    ("is_terminal", "kind", "size", "drawn"),
    [
        (True, "xterm", (100, 30), True),
        (True, "dumb", (100, 30), False),
        (True, "xterm", (50, 30), False),
        (True, "xterm", (100, 10), False),
        (False, "xterm", (100, 30), False),
    ],
)
def test_where_there_is_room(
    is_terminal: bool, kind: str, size: tuple[int, int], drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view is drawn on a terminal that can, and is large enough."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size(size))
    monkeypatch.setenv("TERM", kind)
    assert isinstance(live_view.of_this_terminal(), live_view.InPlace) is drawn
