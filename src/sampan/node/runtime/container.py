"""One container as the running agent holds it: its record, the processes it watches, and who waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sampan.node.runtime import host, record
from sampan.node.runtime.protocol import ContainerState


class Container:
    """The record in memory and on disk, with pidfds of conmon and of the first process."""

    def __init__(self, folder: str, known: record.Record) -> None:
        self.folder = folder
        self.known = known
        self.ending = False
        """Whether it was killed or has ended, so that nothing more is to start in it."""
        self.ended = asyncio.Event()
        self.released = asyncio.Event()
        self.deleting = asyncio.Lock()
        self.is_clean = False
        """Whether the runtime has nothing of it any more, and nothing is mounted."""
        self.removing = False
        """Whether it will need its pod's cgroup no more."""
        self._conmon_fd = -1
        self._init_fd = -1

    @property
    def state(self) -> ContainerState:
        """As last observed."""
        return self.known.state

    @property
    def id(self) -> str:
        """The container's id."""
        return self.known.state.id

    @property
    def init_fd(self) -> int:
        """A pidfd of its first process; -1 without one."""
        return self._init_fd

    @property
    def cgroup(self) -> str:
        """Its cgroup, relative to the file system."""
        return f"{self.known.cgroup_parent}/{self.id}"

    @property
    def merged(self) -> str:
        """Where its root file system is mounted."""
        return self.known.rootfs or os.path.join(self.folder, "merged")

    def update(self, **changes: Any) -> None:
        """Changes the state, in memory and on disk."""
        self.known = dataclasses.replace(self.known, state=dataclasses.replace(self.state, **changes))
        with contextlib.suppress(FileNotFoundError):
            record.save(self.folder, self.known)

    def watch(self, pid: int, conmon_ended: Callable[[Container], None]) -> bool:
        """Holds the first process, and calls back when conmon ends. False if conmon is not there any more."""
        self._init_fd = _open_process(pid, lambda: _is_of_container(pid, self.id))
        conmon = read_pid(os.path.join(self.folder, "conmon.pid"))
        self._conmon_fd = _open_process(conmon, lambda: self.id in _command_line(conmon))
        if self._conmon_fd < 0:
            return False
        loop = asyncio.get_running_loop()
        loop.add_reader(self._conmon_fd, conmon_ended, self)
        return True

    def unwatch(self) -> None:
        """Lets go of both processes."""
        if self._conmon_fd >= 0:
            asyncio.get_running_loop().remove_reader(self._conmon_fd)
        for fd in (self._conmon_fd, self._init_fd):
            if fd >= 0:
                os.close(fd)
        self._conmon_fd = self._init_fd = -1

    def signal(self, number: int) -> bool:
        """Signals the first process; False if it has ended."""
        return _signal(self._init_fd, number)

    def kill_conmon(self) -> None:
        """Ends conmon, of which nothing more is wanted, and what it runs: a runc that hangs, the container."""
        known = read_pid(os.path.join(self.folder, "conmon.pid"))
        # One that has only just begun has not written its number yet, and would go on making the container.
        for conmon in [known] if known else _holders(self.id):
            self._kill_holder(conmon)

    def _kill_holder(self, conmon: int) -> None:
        fd = (
            self._conmon_fd if self._conmon_fd >= 0 else _open_process(conmon, lambda: self.id in _command_line(conmon))
        )
        if fd < 0:
            return
        _signal(fd, signal.SIGSTOP)  # so that it starts nothing more
        for pid in _descendants(conmon):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _signal(fd, signal.SIGKILL)
        if fd != self._conmon_fd:
            os.close(fd)

    def kill_all(self) -> None:
        """SIGKILL to the first process and all others in the container's cgroup."""
        rest = host.processes(self.cgroup) if host.has_cgroups() else self._beside()
        self.signal(signal.SIGKILL)
        for pid in rest:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _beside(self) -> list[int]:
        """The other processes, as long as the first one lives: afterwards its number means nothing."""
        found = host.beside(read_pid(os.path.join(self.folder, "pid")))
        return found if self.signal(0) else []


def read_pid(path: str) -> int:
    """The number in a pid file; 0 if there is none."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def signal_number(text: str) -> int:
    """`SIGTERM`, `TERM`, `15` or `SIGRTMIN+3` as a number; SIGTERM for what is none."""
    name = text.upper().removeprefix("SIG")
    if name.isdecimal():
        return int(name) if 0 < int(name) < signal.NSIG else signal.SIGTERM
    base, plus, offset = name.partition("+")
    try:
        number = signal.Signals["SIG" + base] + (int(offset) if plus else 0)
    except (KeyError, ValueError):
        return signal.SIGTERM
    return number if number < signal.NSIG else signal.SIGTERM


def _open_process(pid: int, is_ours: Callable[[], bool]) -> int:
    """A pidfd, or -1. First opened, then looked at: so it cannot be a process that took the number over."""
    if pid <= 0:
        return -1
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return -1
    if is_ours():
        return fd
    os.close(fd)
    return -1


def _is_of_container(pid: int, container_id: str) -> bool:
    """Whether it is the first process of that container."""
    if host.has_cgroups():
        return host.is_in_cgroup(pid, container_id)
    return container_id in _command_line(host.parent(pid))


def _signal(fd: int, number: int) -> bool:
    if fd < 0:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def _holders(container_id: str) -> list[int]:
    """The conmon processes of a container, found by their command line."""
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdecimal() and f"\0--cid\0{container_id}\0" in _command_line(int(entry))
    ]


def _descendants(parent: int) -> list[int]:
    """Children, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(") ")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    level = [parent]
    while level:
        level = [child for pid in level for child in children.get(pid, ())]
        found += level
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
