"""The control plane's process, where it cannot start."""

import asyncio
import functools
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.cluster import key_files, pki
from sampan.cluster.migration import INCOMPLETE
from sampan.cluster.settings import Settings
from sampan.kit import wall
from sampan.store.protocol import Put
from sampan.store.sqlite import SqliteStore
from sampan.web.certificates import new_authority

IMPORTS = (
    "import signal, sys, time\n"
    "from pathlib import Path\n"
    "from sampan.cluster import control_plane_process as process, pki\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_second_one_on_a_directory_is_refused_in_one_line(tmp_path: Path, how: signal.Handlers) -> None:
    """It says who has the store, changes nothing, and ends; so it does where its starter is not told of children."""
    Settings("tide", tmp_path, runtime="simulated", api_port=1).save()
    first = SqliteStore.open(tmp_path / "state.db")
    command = [sys.executable, "-m", "sampan.cluster.control_plane_process", str(tmp_path)]
    ignored = functools.partial(signal.signal, signal.SIGCHLD, how)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, preexec_fn=ignored)
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


@pytest.mark.slow
def test_keys_are_made_while_it_is_loaded(tmp_path: Path) -> None:
    """All of them are there when that is waited for; what goes wrong is left to the control plane."""
    code = IMPORTS + (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"  # that it has ended can be seen all the same
        "process._make_keys(Path(sys.argv[1]))()"
    )
    whole, broken, none = (tmp_path / name for name in ("whole", "broken", "none"))
    for directory in (whole, broken):
        directory.mkdir()
        Settings("tide", directory, runtime="simulated").save()
    (broken / "pki").write_text("in the way")
    for directory in (whole, broken, none):
        done = subprocess.run(
            [sys.executable, "-c", code, str(directory)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    made = {path.name: path.read_bytes() for path in (whole / "pki").iterdir()}
    assert {"ca.key", "sa.key", "node-sampan-tide.crt", "node-sampan-tide-serving.key"} <= made.keys()
    pki.ensure(Settings("tide", whole, runtime="simulated"), wall.now())
    assert {path.name: path.read_bytes() for path in (whole / "pki").iterdir()} == made
    assert not none.exists()


@pytest.mark.slow
def test_a_killed_one_makes_no_keys_any_more(tmp_path: Path) -> None:
    """Its directory may be removed as soon as it is gone."""
    Settings("tide", tmp_path, runtime="simulated").save()
    code = IMPORTS + (
        "pki.ensure = lambda *given: (print('begun', flush=True), time.sleep(600))\n"
        "process._make_keys(Path(sys.argv[1]))()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "begun\n"
        killed.kill()
        assert killed.communicate(timeout=60)[0] == ""  # nobody has it open


@pytest.mark.slow
def test_what_is_told_of_keys_has_the_form_of_the_log(tmp_path: Path) -> None:
    """Here that an authority that is about to end is made anew."""
    cluster = Settings("tide", tmp_path, runtime="simulated", log_format="json")
    cluster.save()
    keys = pki.ensure(cluster, wall.now())
    new_authority("sampan-ca", wall.now(), years=1).save(keys, key_files.AUTHORITY)
    code = IMPORTS + "process._make_keys(Path(sys.argv[1]))()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    (line,) = map(json.loads, done.stderr.splitlines())
    assert line["msg"].startswith("ca.crt is made anew for the same key")
