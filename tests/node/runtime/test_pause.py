"""The programs that are made byte by byte: what they hold, and how they say what went wrong."""

import errno
import os
import platform
import signal
import subprocess
from pathlib import Path

import pytest

from sampan.node.runtime import pause

NEW_IPC, NEW_NONSENSE = 0x08000000, 0x00000001


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_programs_for_each_machine(machine: str) -> None:
    """Whole files of a page at most."""
    for made in (pause.keeper(machine), pause.maker(machine, NEW_IPC)):
        assert made[:4] == b"\x7fELF"
        assert len(made) < 300
    assert pause.maker(machine, NEW_IPC) != pause.maker(machine, 0)


def test_a_machine_that_is_not_known() -> None:
    """It is named."""
    with pytest.raises(ValueError, match="riscv64"):
        pause.keeper("riscv64")


def written(folder: Path, content: bytes) -> str:
    path = folder / "program"
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


def test_an_error_is_the_exit_code(tmp_path: Path) -> None:
    """As of unshare(2)."""
    done = subprocess.run([written(tmp_path, pause.maker(platform.machine(), NEW_NONSENSE))], check=False, timeout=5)
    assert done.returncode == errno.EINVAL


@pytest.mark.root
def test_a_namespace_is_held_until_the_input_ends(tmp_path: Path) -> None:
    """So that nothing stays behind an agent that was killed."""
    program = written(tmp_path, pause.maker(platform.machine(), NEW_IPC))
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:
        assert made.stdout is not None
        assert made.stdout.read(1)
        assert os.readlink(f"/proc/{made.pid}/ns/ipc") != os.readlink("/proc/self/ns/ipc")
        made.communicate(timeout=60)
    assert made.returncode == 0


def test_the_keeper_waits(tmp_path: Path) -> None:
    """Children that end are gone at once."""
    with subprocess.Popen([written(tmp_path, pause.keeper(platform.machine()))]) as made:
        with pytest.raises(subprocess.TimeoutExpired):
            made.wait(0.05)
        ignored = next(
            line.split()[1] for line in Path(f"/proc/{made.pid}/status").read_text().splitlines() if "SigIgn" in line
        )
        assert int(ignored, 16) >> (signal.SIGCHLD - 1) & 1
        made.kill()
