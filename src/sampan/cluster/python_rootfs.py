"""A small root file system with a Python in it: the interpreter that runs us, its library, what they link to.

So the examples' images can be made on any Linux machine, with nothing to download. The library is there compiled, too: a
container begins in a fraction of the time then.
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

LEFT_OUT = ("*.opt-*.pyc", "test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "site-packages",
            "dist-packages", "config-*", "_tkinter*", "_test*", "xxlimited*")  # fmt: skip
_LINKED = re.compile(r"(?:=> )?(/\S+) \(0x")


def build(directory: Path, programs: Iterable[Path]) -> None:
    """Fills the directory; the programs go to /app."""
    binary = Path(sys._base_executable or sys.executable).resolve()  # type: ignore[attr-defined]
    library = Path(sysconfig.get_path("stdlib"))
    for name in ("app", "tmp", "etc", "usr/bin", "root", "data"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "tmp").chmod(0o1777)
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (directory / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    _copy(binary, directory)
    link = directory / "usr/bin/python3"
    if not link.exists():
        link.symlink_to(binary)
    copied = directory / str(library).lstrip("/")
    shutil.copytree(library, copied, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    compileall.compile_dir(copied, quiet=2, stripdir=str(directory))  # only what this machine hasn't compiled yet
    for linked in linked_libraries([binary, *copied.glob("lib-dynload/*.so")]):
        _copy(linked, directory)
    for program in programs:
        shutil.copy2(program, directory / "app" / program.name)


def linked_libraries(files: Iterable[Path]) -> list[Path]:
    """The shared libraries that the files need, and the loader."""
    found: set[str] = set()
    result = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    for line in result.stdout.splitlines():
        match = _LINKED.search(line)
        if match and match.group(1).startswith(("/lib", "/usr/lib", "/usr/local/lib", sys.base_prefix)):
            found.add(match.group(1))
    return [Path(path) for path in sorted(found)]


def _copy(path: Path, directory: Path) -> None:
    """Copies a file to the same place below the directory, under the name by which it is loaded."""
    target = directory / str(path).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(os.path.realpath(path), target)
