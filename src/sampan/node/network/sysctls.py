"""Kernel settings of the whole host: changed while somebody needs it, then put back as they were.

Several nodes and clusters share a host. A record in /run says what the value was and who needs the
new one; the last to leave restores it. /run is emptied by a reboot, and so are the settings.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sampan.kit import files

_PROC = Path("/proc/sys")


def read(name: str, proc: Path = _PROC) -> str:
    """The value of a setting such as net.ipv4.ip_forward."""
    return _file(name, proc).read_text().strip()


def write(name: str, value: str, proc: Path = _PROC) -> None:
    """Change a setting that belongs to us alone, such as one of our bridge's."""
    _file(name, proc).write_text(value)


def ensure(name: str, value: str, proc: Path = _PROC) -> None:
    """The same, but nothing is written where it is so already."""
    if read(name, proc) != value:
        write(name, value, proc)


def claim(run_dir: Path, name: str, value: str, owner: str, *, proc: Path = _PROC) -> None:
    """Set it, remembering the old value if nobody did, and that `owner` needs it."""
    with _record(run_dir, name) as record:
        record.setdefault("old", read(name, proc))
        record["name"] = name
        record["owners"] = sorted({*record.get("owners", ()), owner})
        ensure(name, value, proc)


def release(run_dir: Path, name: str, owner: str, *, keep: bool = False, proc: Path = _PROC) -> None:
    """`owner` needs it no more; the last owner's going restores the old value, unless others are to `keep` it."""
    if not _path(run_dir, name).exists():
        return
    with _record(run_dir, name) as record:
        owners = [other for other in record.get("owners", ()) if other != owner]
        record["owners"] = owners
        if owners or "old" not in record:
            return
        with suppress(FileNotFoundError):  # one of a link that is gone
            if not keep and read(name, proc) != record["old"]:
                write(name, record["old"], proc)
        record.clear()
    with suppress(OSError):
        run_dir.rmdir()


def claimed(run_dir: Path, prefix: str) -> list[str]:
    """The settings that somebody needs, of those whose names begin so."""
    found = []
    for path in run_dir.glob("sysctl-*.json"):
        with suppress(FileNotFoundError, ValueError):
            found.append(str(json.loads(path.read_bytes()).get("name") or ""))
    return sorted(name for name in found if name.startswith(prefix))


@contextmanager
def _record(run_dir: Path, name: str) -> Iterator[dict[str, Any]]:
    """The setting's record, locked against other agents; an emptied one is deleted."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with files.alone(run_dir):
        path = _path(run_dir, name)
        try:
            record = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            record = {}
        yield record
        if record:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(record))
            os.replace(fresh, path)
        else:
            path.unlink(missing_ok=True)


def _path(run_dir: Path, name: str) -> Path:
    return run_dir / f"sysctl-{name.replace('/', '_')}.json"


def _file(name: str, proc: Path) -> Path:
    """Up to the first slash, dots stand for slashes; what comes then may be a link's name with dots of its own."""
    head, slash, rest = name.partition("/")
    return proc / f"{head.replace('.', '/')}{slash}{rest}"
