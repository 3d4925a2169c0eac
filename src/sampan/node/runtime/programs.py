"""Runs the two programs that containers are made of: conmon (which keeps a container's streams) and runc.

How conmon speaks through its pipe and files is described in https://github.com/containers/conmon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from sampan.node import spawn
from sampan.node.images import rooted
from sampan.node.runtime import host, pipes
from sampan.node.runtime.protocol import RuntimeFailure

START_TIMEOUT_SECONDS = 120.0
_TOO_LATE = "context deadline exceeded"
_OUTPUT_BYTES = 1 << 20
_TOLD_CHARACTERS = 2000
_END_TRIES, _END_TRY_SECONDS = 40, 0.05
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_THRIFT = {"GOMAXPROCS": "1", "GOGC": "off"}
"""For runc, which lives too briefly to gain from more threads or from collecting garbage."""
_CRASH = ("runtime: ", "runtime/cgo: ", "fatal error: ", "panic: ")
"""How Go begins to tell of its end, such as for want of a thread: hundreds of lines."""
_TEXT_LOG = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


def find(program: str) -> str:
    """The program's absolute path, also where an agent's PATH lacks sbin; as it was given if there is none."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PATH}") or program


def started(command: Sequence[str], around: spawn.Surroundings, what: str) -> spawn.Child:
    """The program; RuntimeFailure, worded as containerd does, where this machine has no room for one more just now.

    FileNotFoundError if it is not there.
    """
    try:
        return spawn.start(list(command), around)
    except FileNotFoundError:
        raise
    except OSError as error:
        text = f"{what}: fork/exec {command[0]}: {(error.strerror or str(error)).lower()}"
        raise RuntimeFailure("RunContainerError", text) from error


@dataclass(frozen=True, slots=True)
class Bundle:
    """What conmon is told of a container."""

    id: str
    name: str
    folder: str
    log_path: str
    tty: bool
    stdin: bool
    stdin_once: bool


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs' paths and the directories they share with us."""

    runc: str
    conmon: str
    state_dir: str
    exit_dir: str
    arguments: tuple[str, ...] = ()
    """Global ones of the runtime, before all others."""

    def require(self) -> None:
        """RuntimeFailure if one of the programs is missing."""
        for program in (self.runc, self.conmon):
            if not os.access(program, os.X_OK):
                raise RuntimeFailure("Unsupported", f"{program} is not installed")

    async def create(self, bundle: Bundle) -> int:
        """Starts conmon, which has runc make the container; returns the pid of its first process."""
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        source, sink = pipes.pipe()
        try:
            try:
                variables = {"PATH": os.environ.get("PATH", _PATH), "_OCI_SYNCPIPE": str(sink)}
                # conmon makes a file `oom` where it stands
                around = spawn.Surroundings(cwd=bundle.folder, pass_fds=(sink,), variables=self._thrift() | variables)
                process = started(self._conmon_arguments(bundle), around, "failed to create containerd task")
            finally:
                os.close(sink)
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                answer = await pipes.read_line(source, _OUTPUT_BYTES)
                await process.wait()
        except FileNotFoundError as error:
            raise RuntimeFailure("RunContainerError", f"{self.conmon} is not installed") from error
        except TimeoutError as error:
            raise RuntimeFailure("RunContainerError", _TOO_LATE) from error
        finally:
            os.close(source)
        return _created_pid(answer)

    @property
    def is_runc(self) -> bool:
        """Whether it is runc itself."""
        return os.path.basename(self.runc) == "runc"

    async def start(self, container_id: str, held: int = -1) -> None:
        """Lets the made container run. With a pidfd of its first process that needs no runtime, if this is runc."""
        if held >= 0 and self.is_runc and await self._let_go(container_id, held):
            return
        code, output = await self.run_runc("start", container_id)
        if code:
            raise start_failure("runc start failed", output)

    async def _let_go(self, container_id: str, held: int) -> bool:
        """What `runc start` does: its init waits for somebody to read from a pipe. False if it has ended instead.

        Once the pipe is open it stays so, since init may write at any moment.
        """
        pipe = os.path.join(self.state_dir, container_id, "exec.fifo")
        with contextlib.ExitStack() as opened:
            try:
                init = os.dup(held)  # `held` is closed when conmon ends, and its number is soon another's
                opened.callback(os.close, init)
                source = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                opened.callback(os.close, source)
            except OSError:
                return False
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await pipes.readable(source, init)
            except TimeoutError as error:
                raise RuntimeFailure("RunContainerError", _TOO_LATE) from error
            with contextlib.suppress(BlockingIOError):
                if os.read(source, 1):
                    os.unlink(pipe)
                    return True
        return False

    async def delete(self, container_id: str, cgroup: str = "", *, by_hand: bool = False) -> None:
        """Removes what runc has of the container, killing what runs; its cgroup goes too. RuntimeFailure if it can't.

        What runc can't, such as after a crash that left its state empty, or is not even asked for (`by_hand`), we do
        ourselves, with the `cgroup` (its path).
        """
        if not by_hand and os.access(self.runc, os.X_OK):
            code, output = await self.run_runc("delete", "--force", container_id)
        else:
            code, output = 127, f"{self.runc} can't be used".encode()
        state = os.path.join(self.state_dir, container_id)
        if code and (self._is_known(container_id) or (cgroup and host.is_cgroup(cgroup))):
            is_over = await _ended(cgroup) if cgroup and host.has_cgroups() else not _is_readable(state)
            if not is_over:
                raise RuntimeFailure("RuntimeError", f"failed to delete the container: {error_text(output)}")
            rooted.remove_tree(state)

    def _is_known(self, container_id: str) -> bool:
        """Whether the runtime still has something of it."""
        return os.path.lexists(os.path.join(self.state_dir, container_id))

    async def run_detached(self, container_id: str, folder: str, pid_file: str) -> None:
        """Makes and starts a container without streams, which nobody waits for. RuntimeFailure."""
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        log = os.path.join(folder, "runtime.log")
        arguments = ("run", "--detach", "--bundle", folder, "--pid-file", pid_file, container_id)
        command = self.runc_command("--log", log, *arguments)
        process = started(command, spawn.Surroundings(own_session=True), "failed to create containerd task")
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                code = await process.wait()
        except TimeoutError as error:
            process.kill_group()
            raise RuntimeFailure("RunContainerError", _TOO_LATE) from error
        if code:
            raise start_failure("runc run failed", logged(log))

    async def features(self) -> bytes:
        """What the runtime says that it can do; something else from one that doesn't know the question."""
        return (await self._run(self.runc, "features"))[1]

    async def run_runc(self, *arguments: str) -> tuple[int, bytes]:
        """Runs runc to its end; returns exit code and what it printed. One that hangs is killed, and has failed."""
        return await self._run(*self.runc_command(*arguments))

    async def _run(self, *command: str) -> tuple[int, bytes]:
        source, sink = pipes.pipe()
        try:
            try:
                variables = {**os.environ, **self._thrift()}
                around = spawn.Surroundings(stdout=sink, stderr=sink, variables=variables, own_session=True)
                process = started(command, around, "OCI runtime")
            finally:
                os.close(sink)
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    output = await pipes.read_all(source, _OUTPUT_BYTES)
                    return await process.wait(), output
            except TimeoutError:
                process.kill_group()
                return -signal.SIGKILL, _TOO_LATE.encode()
        finally:
            os.close(source)

    def _thrift(self) -> dict[str, str]:
        return _THRIFT if self.is_runc else {}

    def runc_command(self, *arguments: str) -> list[str]:
        """runc's command line."""
        return [self.runc, *self.arguments, "--root", self.state_dir, "--log-format", "json", *arguments]

    def _conmon_arguments(self, bundle: Bundle) -> list[str]:
        folder = bundle.folder
        arguments = [self.conmon, "--cid", bundle.id, "--cuuid", bundle.id, "--name", bundle.name]
        arguments += ["--runtime", self.runc, "--bundle", folder, "--full-attach", "--socket-dir-path", folder]
        arguments += ["--runtime-arg", f"--root={self.state_dir}", "--runtime-arg", "--log-format=json"]
        arguments += [word for each in self.arguments for word in ("--runtime-arg", each)]
        arguments += ["--container-pidfile", f"{folder}/pid", "--conmon-pidfile", f"{folder}/conmon.pid"]
        arguments += ["--exit-dir", self.exit_dir, "--log-level", "error", "--no-sync-log"]
        arguments += ["--log-path", f"k8s-file:{bundle.log_path}" if bundle.log_path else "none"]
        arguments += ["--terminal"] if bundle.tty else []
        arguments += ["--stdin"] if bundle.stdin else []
        arguments += ["--leave-stdin-open"] if bundle.stdin and not bundle.stdin_once else []
        return arguments


def logged(path: str) -> bytes:
    """What a runtime wrote into its log."""
    with contextlib.suppress(FileNotFoundError):
        return Path(path).read_bytes()
    return b""


def start_failure(default: str, output: bytes) -> RuntimeFailure:
    """The failed start as containerd words it."""
    text = error_text(output) or default
    return RuntimeFailure(
        "RunContainerError",
        f"failed to create containerd task: failed to create shim task: OCI runtime create failed: {text}: unknown",
    )


def error_text(output: bytes) -> str:
    """runc's message out of its log lines (JSON or text); what is neither is taken as it is, of a crash the first line."""
    text = output.decode("utf-8", "replace").strip()
    for line in reversed(text.splitlines()):
        with contextlib.suppress(orjson.JSONDecodeError, TypeError, KeyError):
            tree = orjson.loads(line)
            if tree["level"] in ("error", "fatal"):
                return str(tree["msg"])
        found = _TEXT_LOG.search(line)
        if found:
            return found[1].encode().decode("unicode_escape")
    if text.startswith(_CRASH):
        return text.partition("\n")[0]
    return text[:_TOLD_CHARACTERS]


async def _ended(cgroup: str) -> bool:
    """Ends all in the cgroup; whether nothing is left of it."""
    for _ in range(_END_TRIES):
        if host.end_cgroup(cgroup):
            return True
        await asyncio.sleep(_END_TRY_SECONDS)
    return False


def _is_readable(state: str) -> bool:
    """Whether the runtime's own file (runc's or crun's) of a container is whole. OSError where nobody can say."""
    for name in ("state.json", "status"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            return bool(orjson.loads(Path(state, name).read_bytes()))
    return False


def _created_pid(answer: bytes) -> int:
    for line in answer.splitlines():
        with contextlib.suppress(orjson.JSONDecodeError, TypeError, KeyError):
            tree = orjson.loads(line)
            pid = int(tree["pid"])
            if pid > 0:
                return pid
            raise start_failure("runc create failed", str(tree.get("message", "")).encode())
    raise start_failure("runc create failed: conmon gave no answer", b"")
