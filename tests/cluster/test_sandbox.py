"""Which processes are a sandbox': never those of somebody who got its number after it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from sampan.cluster import processes, sandbox

WAITS = "import sys; sys.stdout.write('here'); sys.stdout.flush(); sys.stdin.read()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cluster" / "run"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in this process' user namespace, as everybody is."""
    command = [sys.executable, "-c", WAITS, str(Path.home())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.read(4)
        yield started


def record(folder: Path, pid: int, **changes: str) -> None:
    known = {"pid": pid, "started": processes.start_time(pid), "namespace": os.readlink(f"/proc/{pid}/ns/user")}
    (folder / sandbox.RECORD).write_bytes(orjson.dumps({**known, **changes}))


def test_the_holder_is_known_by_its_beginning(folder: Path, other: "subprocess.Popen[bytes]") -> None:
    """Not by its number alone."""
    assert sandbox.holder(folder) == 0
    record(folder, other.pid)
    assert sandbox.holder(folder) == other.pid
    record(folder, other.pid, started="1")
    assert sandbox.holder(folder) == 0
    record(folder, other.pid, namespace="user:[1]")
    assert sandbox.holder(folder) == 0


def test_a_namespace_of_others_has_none_of_ours(folder: Path, other: "subprocess.Popen[bytes]") -> None:
    """Unless one of its processes names the cluster's directory, all that live there are strangers."""
    record(folder, other.pid)
    assert sandbox.inside(folder) == []
    command = [sys.executable, "-c", WAITS, str(folder.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        ours.stdout.read(4)
        assert {ours.pid, other.pid} <= set(sandbox.inside(folder))
    (folder / sandbox.RECORD).write_text("nonsense")
    assert sandbox.inside(folder) == []
