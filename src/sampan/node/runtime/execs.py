"""Runs further processes in a running container, through `runc exec`.

runc copies the streams and passes on the exit code; it writes its pid file only once the process runs, and
that tells a process that could not be started from one that failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import re
import signal
import struct
import termios
import tty as terminals
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson

from sampan.kit import descriptors
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.node import spawn
from sampan.node.runtime import container as containers
from sampan.node.runtime import pipes, programs, spec
from sampan.node.runtime.container import Container
from sampan.node.runtime.program_health import ProgramHealth
from sampan.node.runtime.protocol import EXITED, RuntimeFailure, Stream, not_running

MAX_OUTPUT_BYTES = 16 << 20
CONCURRENT_STARTS, OF_USERS = 8, 4
"""So many start at a time for probes and hooks, and so many for users: whose crowd does not make a probe late."""
START_SECONDS = 120.0
"""A process that does not run by then is given up: others wait for its turn."""
DOUBT_SECONDS = 10.0
"""One that does not run by then may wait for a runtime that hangs, which is asked: then it is given up at once."""
LAST_SECONDS, END_SECONDS = 1.0, 5.0
"""What ends with its container has as long to tell of it; what was killed has as long to be gone."""
_CHUNKS = 16
_SAID_BYTES = 4096
_BARE_LINE_END = re.compile(rb"(?<!\r)\n")


class Execs:
    """Starts exec sessions; `open` first."""

    def __init__(
        self, tools: Callable[[str], programs.Programs], tasks: Tasks, ids: Ids, folder: str, health: ProgramHealth
    ) -> None:
        self._tools = tools  # by the handler of a container
        self._health = health
        self._tasks = tasks
        self._ids = ids
        self._folder = folder
        self._arrivals: pipes.Arrivals | None = None
        self._slots = asyncio.Semaphore(CONCURRENT_STARTS)
        self._users_slots = asyncio.Semaphore(OF_USERS)
        self._sessions: dict[str, set[OciExec]] = {}

    def open(self) -> None:
        """Clears what an earlier agent left and watches for pid files."""
        for name in os.listdir(self._folder):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, name))
        self._arrivals = pipes.Arrivals(self._folder)

    def close(self) -> None:
        """Stop watching."""
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None

    async def start(self, container: Container, command: tuple[str, ...], *, tty: bool, stdin: bool) -> OciExec:
        """Starts a process for a user; RuntimeFailure, worded as containerd does, if it cannot be."""
        async with self._users_slots:
            return await self._start(container, command, tty=tty, stdin=stdin)

    async def end(self, container: Container) -> None:
        """Has all that runs in a container that was killed, or has ended, be over: what hangs is killed, whatever its time.

        The container could not end before: a process is not gone until the runtime that started it has noticed. One
        that has noticed may go on for whoever reads the output slowly. From now on nothing starts there any more.
        """
        container.ending = True
        sessions = self._sessions.get(container.id, set())
        if endings := {session.ended for session in sessions if session.holds_container}:
            await asyncio.wait(endings, timeout=LAST_SECONDS)
        if late := [session for session in sessions if session.holds_container]:
            for session in late:
                session.kill()
            container.kill_all()
            await asyncio.wait({session.ended for session in late}, timeout=END_SECONDS)

    async def _start(self, container: Container, command: tuple[str, ...], *, tty: bool, stdin: bool) -> OciExec:
        if container.ended.is_set() or container.ending:  # while this one waited for its turn
            raise not_running(dataclasses.replace(container.state, state=EXITED))
        try:
            return await self._started(container, command, tty=tty, stdin=stdin)
        except OSError as error:  # there are too many open files
            text = f"failed to exec in container: {(error.strerror or str(error)).lower()}"
            raise RuntimeFailure("ExecFailed", text) from error

    async def _started(self, container: Container, command: tuple[str, ...], *, tty: bool, stdin: bool) -> OciExec:
        assert self._arrivals is not None, "the runtime is not open"
        exec_id = self._ids.uid().replace("-", "")
        place = os.path.join(self._folder, exec_id)
        _write_process(place + ".json", container, command, tty=tty)
        arrived = self._arrivals.expect(exec_id + ".pid")
        streams = _Streams()
        session: OciExec | None = None
        try:
            streams.open(tty=tty, stdin=stdin)
            arguments = ["--log", f"{place}.log", "exec", "--process", f"{place}.json", "--pid-file", f"{place}.pid"]
            command_line = self._tools(container.known.handler).runc_command(*arguments, container.id)
            what = f'failed to exec in container: failed to start exec "{exec_id}": OCI runtime exec failed'
            process = programs.started(command_line, streams.child(), what)
            streams.close_child()
            session = OciExec(process, streams, self._tasks)
            self._remember(container.id, session)
            await self._wait_started(session, arrived, place, self._tools(container.known.handler).runc)
        except BaseException:
            streams.close()
            if session is not None:
                await session.close()
            raise
        finally:
            arrived.cancel()
            # The last one is the pid file while it is being written: a runtime that was killed may leave it.
            for name in (f"{exec_id}.json", f"{exec_id}.log", f"{exec_id}.pid", f".{exec_id}.pid"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, name))
        return session

    def _remember(self, container_id: str, session: OciExec) -> None:
        """Until its end."""
        sessions = self._sessions.setdefault(container_id, set())
        sessions.add(session)

        def forget(_: asyncio.Task[int]) -> None:
            sessions.discard(session)
            if not sessions and self._sessions.get(container_id) is sessions:
                del self._sessions[container_id]

        session.ended.add_done_callback(forget)

    async def run(self, container: Container, command: tuple[str, ...], timeout_seconds: float) -> tuple[int, bytes]:
        """Runs a process to its end, for at most so long (0: any time)."""
        async with asyncio.timeout(timeout_seconds or None):
            async with self._slots:
                session = await self._start(container, command, tty=False, stdin=False)
            try:
                output = bytearray()
                async for _, piece in session.output():
                    output += piece[: MAX_OUTPUT_BYTES - len(output)]
                return await session.wait(), bytes(output)
            finally:
                await asyncio.shield(session.close())

    async def _wait_started(self, session: OciExec, arrived: asyncio.Future[None], place: str, runc: str) -> None:
        waiting: set[asyncio.Future[Any]] = {arrived, session.ended}
        done, _ = await asyncio.wait(waiting, timeout=DOUBT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        why = ""
        if not done and not (why := await self._health.fault_of(runc)):
            why = f"it did not run within {START_SECONDS:g} s"
            left = START_SECONDS - DOUBT_SECONDS
            done, _ = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        pid = containers.read_pid(place + ".pid")
        if pid:
            session.hold(pid)
            return
        what = f'failed to exec in container: failed to start exec "{os.path.basename(place)}"'
        if not done:
            raise RuntimeFailure("ExecFailed", f"{what}: {why}")
        text = programs.error_text(programs.logged(place + ".log") or session.said()) or "runc exec failed"
        raise RuntimeFailure("ExecFailed", f"{what}: OCI runtime exec failed: {text}: unknown")


class OciExec:
    """A process started in a container."""

    def __init__(self, process: spawn.Child, streams: _Streams, tasks: Tasks) -> None:
        self._process = process
        self._streams = streams
        self._tasks = tasks
        self._pid_fd = -1
        self._is_gone = False
        self.ended: asyncio.Task[int] = tasks.spawn(process.wait(), "exec", critical=False)

    def hold(self, pid: int) -> None:
        """Takes hold of the process itself, so that it can be killed."""
        try:
            self._pid_fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._is_gone = True
        except OSError:  # there are too many open files
            pass

    @property
    def holds_container(self) -> bool:
        """Whether the container can't end for it: the runtime has not noticed yet that the process has ended.

        A process of which it has may be the end of the runtime's work, or there is output that nobody has read yet.
        """
        if self._pid_fd >= 0 and not self._is_gone:
            try:
                signal.pidfd_send_signal(self._pid_fd, 0)
            except ProcessLookupError:
                self._is_gone = True
        return not (self._is_gone or self.ended.done())

    def said(self) -> bytes:
        """What is there to be read at the end of one that never ran: the runtime's own words."""
        return self._streams.said()

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """Chunks until both streams have ended."""
        chunks: asyncio.Queue[tuple[Stream, bytes]] = asyncio.Queue(_CHUNKS)
        pumps = [
            self._tasks.spawn(_pump(stream, fd, chunks), f"exec {stream}", critical=False)
            for stream, fd in self._streams.outputs()
        ]
        open_streams = len(pumps)
        line_ends = _LineEnds() if self._streams.tty else None
        try:
            while open_streams:
                stream, piece = await chunks.get()
                if piece:
                    yield stream, line_ends.mend(piece) if line_ends else piece
                else:
                    open_streams -= 1
        finally:
            for pump in pumps:
                pump.cancel()

    async def write(self, data: bytes) -> None:
        """Data for stdin."""
        with contextlib.suppress(BrokenPipeError, OSError):
            await self._streams.write(data)

    async def close_stdin(self) -> None:
        """No more input."""
        with contextlib.suppress(OSError):
            await self._streams.close_stdin()

    async def resize(self, width: int, height: int) -> None:
        """The terminal takes this size, and runc passes it on."""
        if self._streams.resize(width, height) and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                self._process.signal(signal.SIGWINCH)

    async def wait(self) -> int:
        """The exit code."""
        code = await asyncio.shield(self.ended)
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """Kills the process if it still runs, and the runtime that waits for it or has not started it yet."""
        self._kill_process()
        self._process.kill_group()

    def _kill_process(self) -> None:
        if self._pid_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)

    async def close(self) -> None:
        """Kills the process if it still runs and closes the streams; does not wait for what can't be killed."""
        if not self.ended.done():
            if self._pid_fd >= 0:
                self._kill_process()
                await asyncio.wait({self.ended}, timeout=LAST_SECONDS)
            self.kill()
            await asyncio.wait({self.ended}, timeout=END_SECONDS)
        if self._pid_fd >= 0:
            os.close(self._pid_fd)
            self._pid_fd = -1
        self._streams.close()


class _Streams:
    """The pipes, or the terminal, between us and the process. -1 is a closed end."""

    def __init__(self) -> None:
        self.tty = False
        self._master = self._stdin = self._stdout = self._stderr = -1
        self._child: list[int] = []

    def open(self, *, tty: bool, stdin: bool) -> None:
        """Makes them. OSError when there are too many open files: `close` takes back what was made."""
        self.tty = tty
        if tty:
            self._master, slave = os.openpty()
            self._child = [slave]
            _set_transparent(slave)
            os.set_blocking(self._master, False)
            return
        self._stdout, stdout = pipes.pipe()
        self._child.append(stdout)
        self._stderr, stderr = pipes.pipe()
        self._child.append(stderr)
        if stdin:
            source, self._stdin = os.pipe()
            os.set_blocking(self._stdin, False)
        else:
            source = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._child.append(source)

    def child(self) -> spawn.Surroundings:
        """What the new process gets."""
        stdout, stderr, stdin = self._child * 3 if self.tty else self._child
        return spawn.Surroundings(stdin=stdin, stdout=stdout, stderr=stderr, own_session=True)

    def close_child(self) -> None:
        """Our copies of what the process has."""
        for fd in set(self._child):
            os.close(fd)
        self._child = []

    def outputs(self) -> list[tuple[Stream, int]]:
        """What can be read."""
        return [("stdout", self._master)] if self.tty else [("stdout", self._stdout), ("stderr", self._stderr)]

    async def write(self, data: bytes) -> None:
        fd = self._master if self.tty else self._stdin
        if fd >= 0:
            await pipes.write(fd, data)

    async def close_stdin(self) -> None:
        if self.tty:
            await self.write(b"\x04")
        elif self._stdin >= 0:
            fd, self._stdin = self._stdin, -1
            os.close(fd)

    def said(self) -> bytes:
        """The first of what came for errors."""
        with contextlib.suppress(OSError):
            return os.read(self._master if self.tty else self._stderr, _SAID_BYTES)
        return b""

    def resize(self, width: int, height: int) -> bool:
        if self._master < 0:
            return False
        size = struct.pack("HHHH", height & 0xFFFF, width & 0xFFFF, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        return True

    def close(self) -> None:
        """Everything that is still open."""
        for fd in {self._master, self._stdin, self._stdout, self._stderr, *self._child} - {-1}:
            os.close(fd)
        self._master = self._stdin = self._stdout = self._stderr = -1
        self._child = []


def _set_transparent(terminal: int) -> None:
    """Raw, and without ONLCR: runc turns output processing on again."""
    terminals.setraw(terminal)
    modes = termios.tcgetattr(terminal)
    modes[1] &= ~termios.ONLCR
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


class _LineEnds:
    """Puts the carriage returns back that a terminal's line ends lack.

    runc switches ONLCR off in the container's terminal, sometimes only after the process has looked at it and
    will restore it: so line ends come with and without a carriage return, and a terminal's user expects one.
    """

    def __init__(self) -> None:
        self._last = b""

    def mend(self, piece: bytes) -> bytes:
        """The next piece of the output, mended."""
        joined = self._last + piece
        mended = _BARE_LINE_END.sub(b"\r\n", joined)[len(self._last) :]
        self._last = b"\r" if piece.endswith(b"\r") else b""
        return mended


async def _pump(stream: Stream, fd: int, chunks: asyncio.Queue[tuple[Stream, bytes]]) -> None:
    try:
        while fd >= 0 and (piece := await pipes.read(fd)):
            await chunks.put((stream, piece))
    except OSError:
        pass
    await chunks.put((stream, b""))


def _write_process(path: str, container: Container, command: tuple[str, ...], *, tty: bool) -> None:
    """As the container's own process, but for what it runs."""
    if not command or any("\0" in part for part in command):
        raise RuntimeFailure("ExecFailed", "exec: the command is empty or holds a NUL byte")
    process: dict[str, Any] = orjson.loads(Path(container.folder, "config.json").read_bytes())["process"]
    environment = [item for item in process["env"] if not (tty and item.startswith("TERM="))]
    extra = ["TERM=xterm"] if tty else []
    limits = spec.open_files(descriptors.given())  # for a container of an agent that had not taken more for itself
    tree = {
        **limits,
        **process,
        **_open_files(process),
        "args": list(command),
        "terminal": tty,
        "env": [*environment, *extra],
    }
    Path(path).write_bytes(orjson.dumps(tree))


def _open_files(process: dict[str, Any]) -> dict[str, Any]:
    """As the container's own process may have open, unless this agent is allowed fewer than the one that started it."""
    limits = process.get("rlimits") or ()
    found = next((one for one in limits if one["type"] == "RLIMIT_NOFILE"), None)
    return {} if found is None else spec.open_files(descriptors.bounded((found["soft"], found["hard"])))
