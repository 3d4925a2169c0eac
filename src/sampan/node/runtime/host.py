"""What this machine grants to containers: cgroup version, capabilities, devices. And its cgroup files."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import stat
from pathlib import Path
from typing import Any

from sampan.kit import descriptors
from sampan.node.runtime import apparmor, spec

CGROUPS = Path("/sys/fs/cgroup")
_HUGE_PAGES = Path("/sys/kernel/mm/hugepages")
_SYS_RESOURCE = "SYS_RESOURCE"


def inspect() -> spec.Host:
    """Looks at the machine."""
    held = _capabilities()
    lowest = -1000 if _SYS_RESOURCE in held and not is_rootless() else int(Path("/proc/self/oom_score_adj").read_text())
    profile = "" if is_rootless() else apparmor.load()
    return spec.Host(
        is_cgroup_v2(),
        held,
        lowest,
        machine=platform.machine(),
        has_mqueue=os.path.isdir("/dev/mqueue"),
        devices=tuple(_devices()),
        huge_pages=_huge(),
        has_cgroups=has_cgroups(),
        apparmor=profile,
        files=descriptors.given(),
    )


def is_rootless() -> bool:
    """Whether root here is somebody else outside of this user namespace."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def has_cgroups() -> bool:
    """Whether there are cgroups that may be changed. Root needs them; a user has none but those that were delegated."""
    return not is_rootless() or os.access(CGROUPS if is_cgroup_v2() else CGROUPS / "memory", os.W_OK)


def _huge() -> tuple[str, ...]:
    """The sizes of huge pages that a cgroup can limit here, as its files name them (2MB)."""
    is_there = (CGROUPS / "hugetlb").is_dir()
    if is_cgroup_v2():
        is_there = "hugetlb" in (CGROUPS / "cgroup.controllers").read_text().split()
    if not is_there:
        return ()
    sizes = (path.name.removeprefix("hugepages-").removesuffix("kB") for path in _HUGE_PAGES.glob("hugepages-*kB"))
    return tuple(
        f"{size >> 20}GB" if size >> 20 else f"{size >> 10}MB" if size >> 10 else f"{size}KB"
        for size in sorted(map(int, sizes))
    )


def is_cgroup_v2() -> bool:
    """Whether there is only the unified hierarchy."""
    return (CGROUPS / "cgroup.controllers").exists()


def is_oom_killed(cgroup: str) -> bool:
    """Whether the kernel killed a process of this cgroup (relative path) for want of memory."""
    path = CGROUPS / cgroup / "memory.events" if is_cgroup_v2() else CGROUPS / "memory" / cgroup / "memory.oom_control"
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)


def memory_used(cgroup: str) -> int:
    """Bytes that this cgroup (relative path) uses now and can't give back; 0 when that can't be read."""
    v2 = is_cgroup_v2()
    folder = CGROUPS / cgroup if v2 else CGROUPS / "memory" / cgroup
    try:
        used = int((folder / ("memory.current" if v2 else "memory.usage_in_bytes")).read_text())
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        stat = {words[0]: int(words[1]) for words in lines}
        prefix = "" if v2 else "total_"
        return max(used - stat.get(f"{prefix}active_file", 0) - stat.get(f"{prefix}inactive_file", 0), 0)
    except (OSError, ValueError, IndexError):
        return 0


def processes(cgroup: str) -> list[int]:
    """The processes directly in this cgroup."""
    found: set[int] = set()
    for path in _hierarchies(cgroup):
        with contextlib.suppress(OSError):
            found.update(int(line) for line in (path / "cgroup.procs").read_text().split())
    return sorted(found)


def end_cgroup(cgroup: str) -> bool:
    """Kills all processes in the cgroup and below and removes it; False while one of them is still there."""
    for path in _hierarchies(cgroup):
        for folder, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                for pid in Path(folder, "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
    remove_cgroup(cgroup)
    return not is_cgroup(cgroup)


def is_cgroup(cgroup: str) -> bool:
    """Whether it is there, in one hierarchy at least."""
    return any(path.exists() for path in _hierarchies(cgroup))


def remove_cgroup(cgroup: str) -> None:
    """Removes the cgroup and those below it, as far as they are empty, in every hierarchy."""
    if not cgroup.strip("/"):
        return
    for path in _hierarchies(cgroup):
        for folder, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def is_in_cgroup(pid: int, name: str) -> bool:
    """Whether the process lives in a cgroup whose last part is this name (a container's id)."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return False
    return any(line.rpartition("/")[2] == name or f"/{name}/" in line for line in lines)


def beside(pid: int) -> list[int]:
    """The processes that see the same mounts as this one, which is a container's first: all others of the container."""
    try:
        mounts = os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return []
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{name}/ns/mnt") == mounts:
                found.append(int(name))
    return found


def parent(pid: int) -> int:
    """Who started it; 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _hierarchies(cgroup: str) -> list[Path]:
    relative = cgroup.strip("/")
    if ".." in relative.split("/"):
        raise ValueError(f"{cgroup!r} leads outside of the cgroup file system")
    if is_cgroup_v2():
        return [CGROUPS / relative]
    return [path / relative for path in sorted(CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def _capabilities() -> frozenset[str]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(spec.CAPABILITIES) if bits >> number & 1)
    return frozenset()


def _devices() -> list[dict[str, Any]]:
    found = []
    for entry in sorted(os.scandir("/dev"), key=lambda item: item.name):
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                found.append(_device(entry.path, status))
    # The runtime makes these itself.
    own = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")}
    return [device for device in found if device["path"] not in own]


def _device(path: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
