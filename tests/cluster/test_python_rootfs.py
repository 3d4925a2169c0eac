"""A root file system made of this machine's Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from sampan.cluster import python_rootfs


def test_linked_libraries() -> None:
    """The C library and the loader; each is a file."""
    found = python_rootfs.linked_libraries([Path(sys.executable).resolve()])
    assert any(path.name.startswith("libc.so") for path in found)
    assert any(path.name.startswith("ld-linux") for path in found)
    assert all(path.is_file() for path in found)


def test_what_is_no_program_links_to_nothing(tmp_path: Path) -> None:
    """A script, or a file that is not there."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert python_rootfs.linked_libraries([script, tmp_path / "none"]) == []


@pytest.mark.slow
def test_the_root_file_system_has_what_it_needs(tmp_path: Path) -> None:
    """The interpreter by its usual name, its library, the programs; no packages of this machine."""
    program = tmp_path / "hello.py"
    program.write_text("print('hello')\n")
    root = tmp_path / "root"
    python_rootfs.build(root, [program])
    python_rootfs.build(root, [program])
    link = root / "usr/bin/python3"
    binary = root / str(link.readlink()).lstrip("/")
    assert binary.is_file()
    assert (root / "app/hello.py").read_text() == program.read_text()
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert not list(root.rglob("site-packages"))
    assert list(root.rglob("__pycache__/base_events.cpython-*.pyc"))
    done = subprocess.run([str(binary), "-S", str(program)], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"
