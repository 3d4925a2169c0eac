"""What was acknowledged survives: the process is killed, or its disk fails, at chosen system calls.

A few real kills here; `test_replay.py` has many more from a tape, and `scripts/soak --store` one at each call.
"""

import shutil
from pathlib import Path

import pytest

from sampan.store.room import RESERVE_BYTES
from tests.store.fire import Fire, kill_at

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]


@pytest.mark.parametrize(
    ("scenario", "call", "number"),
    [
        ("writes", "fdatasync", 12),
        ("upkeep", "pwrite64", 160),
        ("snapshot", "unlink", 2),
    ],
)
def test_a_kill_loses_nothing_and_repeats_nothing(tmp_path: Path, scenario: str, call: str, number: int) -> None:
    """SIGKILL at the Nth system call, also in a compaction, checkpoint, vacuum, upgrade or copy: the whole history holds."""
    kill_at(tmp_path, scenario, call, number)


@pytest.mark.parametrize("injection", ["fdatasync:error=EIO:when=6..9", "fdatasync:error=EIO:when=16..19"])
def test_a_failed_sync_refuses_and_goes_on(tmp_path: Path, injection: str) -> None:
    """Its writes are not acknowledged, later ones are, and nothing that was is lost, in this life or the next."""
    fire = Fire(tmp_path / "s.db", "upkeep")
    fire.prepare()
    assert fire.live(injection) == 0, fire.stderr
    refused = [line for line in fire.lines if line["op"] == "refused"]
    assert refused
    assert all(line["why"] == "the store could not write: disk I/O error" for line in refused)
    after = fire.lines[fire.lines.index(refused[0]) :]
    assert any(line["op"] == "end" and line["ok"] for line in after)
    fire.check()
    assert fire.live() == 0
    fire.check()


def test_a_failed_write_refuses_and_goes_on(tmp_path: Path) -> None:
    """The same for writes that the disk refuses, whatever they were for."""
    fire = Fire(tmp_path / "s.db", "upkeep")
    fire.prepare()
    assert fire.live("pwrite64:error=EIO:when=30+40") == 0, fire.stderr
    assert any(line["op"] == "refused" for line in fire.lines)
    fire.check()


@pytest.mark.parametrize("has_reserve", [True, False])
def test_a_full_disk_creates_nothing_new(tmp_path: Path, has_reserve: bool) -> None:
    """Creations are refused with that reason; with the reserve changes go on; nothing that was acknowledged is lost."""
    fire = Fire(tmp_path / "s.db")
    fire.prepare()
    reserve = tmp_path / "s.db.reserve"
    if has_reserve:
        reserve.write_bytes(bytes(RESERVE_BYTES))
    # In the log of a commit: a checkpoint that finds no room is put off, and nobody is refused for it.
    files = ("-wal", ".reserve")
    assert fire.live("pwrite64:error=ENOSPC:when=40", "fallocate:error=ENOSPC", only=files) == 0, fire.stderr
    refused = [line for line in fire.lines if line["op"] == "refused"]
    assert refused
    assert all(line["why"].startswith("no space is left where the store is") for line in refused)
    began = {line["id"]: line for line in fire.lines if line["op"] == "begin"}
    if has_reserve:
        assert all(any(key.startswith("new/") for key, _ in began[line["id"]]["writes"]) for line in refused)
    after = fire.lines[fire.lines.index(refused[0]) :]
    assert any(line["op"] == "end" and line["ok"] for line in after)
    assert any(line["op"] == "got" for line in after)
    assert not reserve.exists()
    fire.check()
    assert fire.live() == 0
    assert not [line for line in fire.lines[fire.lines.index({"op": "dead"}) :] if line["op"] == "refused"]
    fire.check()


def test_a_slow_disk_holds_up_only_who_writes(tmp_path: Path) -> None:
    """While a sync takes long, reads are answered."""
    fire = Fire(tmp_path / "s.db", "reads")
    fire.prepare()
    assert fire.live("fdatasync:delay_enter=60000") == 0, fire.stderr
    written = {line["id"]: at for at, line in enumerate(fire.lines) if line["op"] == "begin"}
    ends = [(written[line["id"]], at) for at, line in enumerate(fire.lines) if line["op"] == "end"]
    assert max(sum(line["op"] == "got" for line in fire.lines[start:end]) for start, end in ends) >= 5
    fire.check()
