"""The cluster's processes: started in the background, found again by pid files, ended by signals.

A pid file holds the pid and the process' start time, so that a number used again by somebody else is
never taken for ours.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.01
END_SECONDS = 10.0
PORT_TAKEN = 98
"""With which a process exits where somebody listens on its port."""
_ENDED = "-"
"""In the place of the start time of one that has ended before anybody could look at it."""


@dataclass(frozen=True, slots=True)
class Process:
    """One of ours: `pid_file` and `log` are where it is noted and what it writes to."""

    name: str
    pid_file: Path
    log: Path

    @property
    def pid(self) -> int:
        """The live process' pid, or 0."""
        pid, started = self._noted()
        return pid if pid and start_time(pid) == started else 0

    @property
    def has_ended(self) -> bool:
        """Whether it was started, and is no more."""
        pid, started = self._noted()
        return pid != 0 and start_time(pid) != started

    def _noted(self) -> tuple[int, str]:
        """The pid and the start time in the file; 0 where nothing whole is there."""
        try:
            number, started = self.pid_file.read_text().split()
            return int(number), started
        except (OSError, ValueError):
            return 0, ""

    def forget(self) -> None:
        self.pid_file.unlink(missing_ok=True)


def start(process: Process, command: Sequence[str], pass_fds: Sequence[int] = ()) -> "subprocess.Popen[bytes]":
    """Starts a process of its own session, with its output in the log."""
    process.log.parent.mkdir(parents=True, exist_ok=True)
    process.pid_file.parent.mkdir(parents=True, exist_ok=True)
    with process.log.open("ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=pass_fds
        )
    try:
        process.pid_file.write_text(f"{child.pid} {start_time(child.pid) or _ENDED}\n")
    except OSError:  # nobody would find it again
        child.kill()
        child.wait()
        raise
    return child


def start_detached(process: Process, command: Sequence[str], kill: Sequence[str] = ()) -> bool:
    """Runs a command that leaves the process behind and prints its pid. False when the command was refused.

    `kill` signals for us (sudo kill), where it can't be noted.
    """
    process.log.parent.mkdir(parents=True, exist_ok=True)
    process.log.touch()
    process.pid_file.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode or not done.stdout.strip().isdigit():
        return False
    pid = int(done.stdout)
    try:
        process.pid_file.write_text(f"{pid} {start_time(pid) or _ENDED}\n")
    except OSError:  # nobody would find it again
        _signal(pid, signal.SIGKILL, kill)
        wait_gone(pid, END_SECONDS)
        raise
    return True


def start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def heed_signals() -> None:
    """What whoever started this process ignored, it and what it starts would ignore as well: containers, in the end.

    Who ignores SIGCHLD is never told how its children ended.
    """
    heeded = (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCHLD,
    )
    for number in heeded:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def stop(process: Process, grace_seconds: float, command: Sequence[str] = ()) -> bool:
    """As `end`, and forgets it when it is gone."""
    pid = process.pid
    if pid and not end(pid, grace_seconds, command):
        return False
    process.forget()
    return True


def end(pid: int, grace_seconds: float, command: Sequence[str] = ()) -> bool:
    """SIGTERM, then SIGKILL after the grace; whether it is gone then. `command` signals for us (sudo kill)."""
    _signal(pid, signal.SIGTERM, command)
    if wait_gone(pid, grace_seconds):
        return True
    _signal(pid, signal.SIGKILL, command)
    return wait_gone(pid, grace_seconds)


def with_words(*words: str) -> set[int]:
    """The processes that all of these are words of the command lines of; none is what two looks agree on.

    Of one that hands on to its child and ends while it is looked for, neither may be seen.
    """
    for _ in range(2):
        if found := {pid for pid, line in command_lines().items() if line.issuperset(words)}:
            return found
    return set()


def command_lines() -> dict[int, frozenset[str]]:
    """The words of the command line of each process that has one."""
    found = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if line := Path(f"/proc/{pid}/cmdline").read_bytes():
                found[pid] = frozenset(map(os.fsdecode, line.split(b"\0")))
    return found


def killed_by(handle: int) -> str:
    """The signal that ended the process of a pidfd, such as SIGKILL; "" where it was none, or it is not our child."""
    how = _ending(handle)
    if how is None or how.si_code not in (os.CLD_KILLED, os.CLD_DUMPED):
        return ""
    try:
        return signal.Signals(how.si_status).name
    except ValueError:  # a real-time signal, which has no name
        return f"signal {how.si_status}"


def exit_status(handle: int) -> int:
    """With which the process of a pidfd ended; -1 where it did not exit by itself, or is not our child."""
    how = _ending(handle)
    return how.si_status if how is not None and how.si_code == os.CLD_EXITED else -1


def _ending(handle: int) -> "os.waitid_result | None":
    try:
        return os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (AttributeError, OSError):
        return None


def wait_gone(pid: int, seconds: float) -> bool:
    """Whether the process ended within the time."""
    import select
    import time

    from sampan.kit import wall

    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):
        deadline = time.monotonic() + seconds
        while start_time(pid) and time.monotonic() < deadline:
            wall.pause(POLL_SECONDS)
        return not start_time(pid)
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
    finally:
        os.close(handle)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return bool(ready)


def _signal(pid: int, number: int, command: Sequence[str]) -> None:
    if command:
        subprocess.run([*command, f"-{number}", str(pid)], check=False)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def tail(path: Path, lines: int, since: int = 0) -> str:
    """The last lines of a log, for an error message; only of what comes after so many bytes, unless it was put aside since."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    content = content[since if since <= len(content) else 0 :][-65536:]
    return "\n".join(content.decode("utf-8", "replace").splitlines()[-lines:])


def proportional_kib(pid: int) -> int:
    """The process' share of memory (PSS) in KiB; 0 when it can't be read."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
