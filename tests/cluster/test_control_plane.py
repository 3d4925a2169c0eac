"""The control plane's process, where it cannot start."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.cluster.migration import INCOMPLETE
from sampan.cluster.settings import Settings
from sampan.store.protocol import Put
from sampan.store.sqlite import SqliteStore


@pytest.mark.slow
def test_a_second_one_on_a_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    """It says who has the store, changes nothing, and ends."""
    Settings("tide", tmp_path, runtime="simulated", api_port=1).save()
    first = SqliteStore.open(tmp_path / "state.db")
    command = [sys.executable, "-m", "sampan.cluster.control_plane_process", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    first._shut()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"the store: {tmp_path / 'state.db'} is in use by another process"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_target_of_a_migration_that_broke_off_is_refused_in_one_line(tmp_path: Path) -> None:
    """With what to do about it."""
    Settings("tide", tmp_path, runtime="simulated", api_port=1).save()

    async def mark() -> None:
        store = SqliteStore.open(tmp_path / "state.db")
        await store.txn((), (Put(INCOMPLETE, b""),))
        await store.close()

    asyncio.run(mark())
    command = [sys.executable, "-m", "sampan.cluster.control_plane_process", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("the store: it is the target of a migration that was broken off")
    assert "Traceback" not in done.stderr
