"""The sandbox of a cluster whose user is not root: where it is, and how commands get into it.

All of such a cluster lives in it: the agents with their containers and networks, and the control plane, which has taken
its port on the host before it went in.
"""

import os
from pathlib import Path

import orjson

from sampan.cluster import processes

RECORD = "sandbox.json"
"""Made in the cluster's run folder when the sandbox is ready."""
PORTS = "slirp.sock"
"""Where slirp4netns is asked to lead ports of the host into the sandbox."""
LINK = "tap0"
RESOLVER = "10.0.2.3"
"""The world's names are answered here, by slirp4netns."""
PROGRAMS = {"newuidmap": "uidmap", "newgidmap": "uidmap", "slirp4netns": "slirp4netns", "nsenter": "util-linux"}
"""What it takes, and the Debian packages."""

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def holder(folder: Path) -> int:
    """The process whose namespaces they are; 0 when the sandbox is not there."""
    try:
        record = orjson.loads((folder / RECORD).read_bytes())
        pid = int(record["pid"])
        is_it = processes.start_time(pid) == record["started"] and _users_of(pid) == record["namespace"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0
    return pid if is_it else 0


def way_in(folder: Path) -> list[str]:
    """What stands before a command that is to run there, as its root."""
    return ["nsenter", "--preserve-credentials", f"--target={holder(folder)}", "--user", "--mount", "--net", "--"]


def enter(folder: Path) -> None:
    """Moves this process into the sandbox' users and network for good. It must have one thread only. OSError."""
    import ctypes

    pid = holder(folder)
    if not pid:
        raise OSError("the cluster's sandbox is not there")
    for name, kind in (("user", _NEW_USER), ("net", _NEW_NETWORK)):
        handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, kind) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"entering the sandbox' {name} namespace: {os.strerror(number)}")
        finally:
            os.close(handle)


def inside(folder: Path) -> list[int]:
    """All processes of the sandbox, whether or not its holder still lives.

    The kernel gives the number of a namespace that has ended to another one. So it counts only as long as one of the
    processes in it names this cluster's directory, as the control plane, agents and containers' keepers do.
    """
    try:
        namespace = orjson.loads((folder / RECORD).read_bytes())["namespace"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    found = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _users_of(pid) == namespace]
    return found if any(f"{folder.parent}/" in _command(pid) for pid in found) else []


def _users_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/user")
    except OSError:
        return ""


def _command(pid: int) -> str:
    """With a slash after each word, so that a directory is one however it is written."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", "/")
    except OSError:
        return ""
