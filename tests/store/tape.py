"""A tape: what one traced run did to a folder's files, and what it told meanwhile, in the order of its system calls.

The files as they were after any stretch of the tape can be made again without the process (`tests.store.disk`): a kill is
the end of a tape, and there are as many as it has calls.

https://man7.org/linux/man-pages/man1/strace.1.html
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CALLS = (
    "open", "openat", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate",
    "fsync", "fdatasync", "sync_file_range", "syncfs", "rename", "renameat", "renameat2", "unlink", "unlinkat", "link",
    "linkat", "sendfile", "copy_file_range", "mkdir", "mkdirat", "rmdir",
)  # fmt: skip
_IGNORED = ("-shm",)  # memory that processes share: nothing in it counts for the next one
Span = tuple[int, int]
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\w+)(.*)", re.DOTALL)
_STARTED = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>,?(.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One thing done. It was asked for at line `began` of the trace, and done at line `ended`: others may have come in between."""

    kind: str  # create, write, truncate, allocate, sync, sync folder, rename, link, unlink, tell
    name: str
    began: int
    ended: int
    data: bytes = b""
    at: int = 0  # an offset, or a size
    target: str = ""


@dataclass
class Tape:
    """The calls, and the files that were there before the first of them."""

    before: dict[str, bytes] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    status: int = 0
    stderr: str = ""


def record(folder: Path, command: Sequence[str], *, timeout: float = 300) -> Tape:
    """Runs the command to its end; what it writes to its standard output is told."""
    before = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    traced = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-y",
        "-xx",
        "-s",
        "1000000000",
        "-e",
        f"trace={','.join(_CALLS)}",
    ]
    with tempfile.NamedTemporaryFile() as output:
        made = subprocess.run([*traced, "-o", output.name, *command], capture_output=True, timeout=timeout, check=False)
        lines = Path(output.name).read_text("latin-1").split("\n")
    return Tape(before, list(_calls(lines, folder.resolve())), made.returncode, made.stderr.decode("utf-8", "replace"))


def _calls(lines: Sequence[str], folder: Path) -> Iterator[Call]:
    """A call counts where it ended, for then its work was done; what was told, where it began."""
    started: dict[str, tuple[int, str]] = {}
    reader = _Reader(folder)
    for place, line in enumerate(lines):
        if match := _STARTED.match(line):
            pid, name, arguments = match.groups()
            started[pid] = place, arguments
            if name == "write" and (told := reader.told(arguments)):
                yield Call("tell", "", place, place, told)
            continue
        span, arguments = (place, place), ""
        if match := _RESUMED.match(line):
            pid, name, rest = match.groups()
            began, arguments = started.pop(pid)
            span = (began, place)
            line = f"{pid} {name}({arguments}{rest}"
        elif (match := _LINE.match(line)) and match[2] == "write" and (told := reader.told(match[3])):
            yield Call("tell", "", place, place, told)
        match = _LINE.match(line)
        if match is not None and not match[4].startswith("-"):
            yield from reader.read(match[2], _arguments(match[3]), int(match[4], 0), span)


class _Reader:
    """What a call did to the folder, if anything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def told(self, arguments: str) -> bytes:
        return _text(_arguments(arguments)[1]) if re.match(r"1(<|,)", arguments) else b""

    def read(self, call: str, arguments: list[str], result: int, span: Span) -> Iterator[Call]:
        if call in ("open", "openat", "creat"):
            yield from self._opened(arguments[1:] if call == "openat" else arguments, span)
            return
        if call in ("rename", "renameat", "renameat2", "link", "linkat"):
            paths = [argument for argument in arguments if argument.startswith('"')]
            name, target = (self._name(_text(path).decode()) for path in paths[:2])
            assert bool(name) == bool(target), f"{call} in or out of the folder"
            if name and target:
                yield Call("rename" if call.startswith("rename") else "link", name, *span, target=target)
            return
        if call in ("unlink", "unlinkat"):
            path = next(argument for argument in arguments if argument.startswith('"'))
            if name := self._name(_text(path).decode()):
                yield Call("unlink", name, *span)
            return
        name = self._of_descriptor(arguments[0])
        if name is None or call in ("mkdir", "mkdirat", "rmdir"):
            return
        yield self._changed(call, name, arguments, result, span)

    def _changed(self, call: str, name: str, arguments: list[str], result: int, span: Span) -> Call:
        if call in ("fsync", "fdatasync"):
            is_folder = not name or (self._folder / name).is_dir()
            return Call("sync folder" if is_folder else "sync", name, *span)
        if call == "pwrite64":
            return Call("write", name, *span, _text(arguments[1])[:result], int(arguments[3]))
        if call == "write":
            return Call("write", name, *span, _text(arguments[1])[:result], -1)
        if call == "ftruncate":
            return Call("truncate", name, *span, at=int(arguments[1]))
        if call == "fallocate":
            assert arguments[1] == "0", "an odd fallocate"
            return Call("allocate", name, *span, at=int(arguments[2]) + int(arguments[3]))
        raise AssertionError(f"{call} on {name}: what it did is not known")

    def _opened(self, arguments: list[str], span: Span) -> Iterator[Call]:
        name, flags = self._name(_text(arguments[0]).decode()), arguments[1]
        if name and "O_CREAT" in flags:
            yield Call("create", name, *span)
        if name and "O_TRUNC" in flags:
            yield Call("truncate", name, *span)

    def _of_descriptor(self, argument: str) -> str | None:
        """The file's name now; None when it is elsewhere, or has none any more."""
        match = re.match(r"\d+<([^>]*)>(\(deleted\))?", argument)
        if match is None or match[2]:
            return None
        return self._name(_unescaped(match[1]).decode("utf-8", "replace"))

    def _name(self, path: str) -> str | None:
        """Below the folder: "" for itself."""
        if path == str(self._folder):
            return ""
        inside = path.removeprefix(f"{self._folder}/")
        return None if inside == path or path.endswith(_IGNORED) else inside


def _arguments(text: str) -> list[str]:
    """Apart at the commas; with -xx there are none inside of strings."""
    return text.split(", ")


def _text(argument: str) -> bytes:
    return _unescaped(argument.strip('"'))


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
