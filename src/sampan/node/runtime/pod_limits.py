"""The limits that all containers of a pod have together: the files of the pod's own cgroup.

A child's CPU quota may not be above its parent's on cgroup v1, so a pod is widened before its containers are, and
made narrower after them.

https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan.node.runtime import host
from sampan.node.runtime.protocol import Resources

_NONE = 1 << 62
_CONTROLLERS = ("cpu", "memory", "pids")


@dataclass(frozen=True, slots=True)
class _File:
    """A limit in its file; `wanted` is what is written, `size` how much it allows."""

    path: Path
    wanted: str
    size: int

    def is_wider(self) -> bool:
        """Whether it allows more than what is in the file."""
        return self.size > _size(self.path.read_text())


def widen(cgroup: str, limits: Resources) -> None:
    """Makes the cgroup (relative path), and raises what is to be raised. OSError if it can't be."""
    for file in _files(cgroup, limits):
        if file.is_wider():
            file.path.write_text(file.wanted)


def apply(cgroup: str, limits: Resources) -> None:
    """Sets every limit. One that is below what the containers still have stays, until the last of them has less."""
    for file in _files(cgroup, limits):
        if file.is_wider():
            file.path.write_text(file.wanted)
        elif file.path.read_text().strip() != file.wanted:
            with contextlib.suppress(OSError):
                file.path.write_text(file.wanted)


def _files(cgroup: str, limits: Resources) -> Iterator[_File]:
    relative = cgroup.strip("/")
    if not relative or ".." in relative.split("/"):
        raise ValueError(f"{cgroup!r} is no pod's place in the cgroup file system")
    if not host.has_cgroups():
        return iter(())
    return _v2(relative, limits) if host.is_cgroup_v2() else _v1(relative, limits)


def _v2(relative: str, limits: Resources) -> Iterator[_File]:
    folder = host.CGROUPS
    for part in relative.split("/"):
        for controller in _CONTROLLERS:
            with contextlib.suppress(OSError):  # one that the machine does not have
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        folder = folder / part
        folder.mkdir(exist_ok=True)
    weight = str(1 + (max(2, limits.cpu_shares) - 2) * 9999 // 262142)
    quota = f"{limits.cpu_quota} {limits.cpu_period}" if limits.cpu_quota else f"max {limits.cpu_period}"
    if limits.cpu_shares:
        yield _File(folder / "cpu.weight", weight, int(weight))
    yield _File(folder / "cpu.max", quota, limits.cpu_quota or _NONE)
    yield _File(folder / "memory.max", str(limits.memory_limit or "max"), limits.memory_limit or _NONE)
    yield from _pids(folder, limits)


def _pids(folder: Path, limits: Resources) -> Iterator[_File]:
    if limits.pids_limit > 0:
        folder.mkdir(parents=True, exist_ok=True)
        yield _File(folder / "pids.max", str(limits.pids_limit), limits.pids_limit)


def _v1(relative: str, limits: Resources) -> Iterator[_File]:
    cpu, memory = host.CGROUPS / "cpu" / relative, host.CGROUPS / "memory" / relative
    cpu.mkdir(parents=True, exist_ok=True)
    memory.mkdir(parents=True, exist_ok=True)
    if limits.cpu_shares:
        shares = max(2, limits.cpu_shares)
        yield _File(cpu / "cpu.shares", str(shares), shares)
    yield _File(cpu / "cpu.cfs_quota_us", str(limits.cpu_quota or -1), limits.cpu_quota or _NONE)
    yield _File(memory / "memory.limit_in_bytes", str(limits.memory_limit or -1), limits.memory_limit or _NONE)
    yield from _pids(host.CGROUPS / "pids" / relative, limits)


def _size(text: str) -> int:
    """What a file allows; v1 says "none" by -1, or by a number of nearly 64 bits."""
    word = (text.split() or ["max"])[0]
    number = _NONE if word == "max" else int(word)
    return _NONE if number < 0 else min(number, _NONE)
