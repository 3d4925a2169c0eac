"""Starts programs without copying the agent: the event loop's own way forks, which costs more than the program does.

A child is reaped when it ends, whether somebody waits for it or not.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a program finds: where it stands, its streams, further descriptors, variables (none: the agent's)."""

    cwd: str | None = None
    pass_fds: tuple[int, ...] = ()
    variables: Mapping[str, str] | None = None
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL
    stderr: int = subprocess.DEVNULL
    own_session: bool = False


PLAIN = Surroundings()


class Child:
    """A program that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        try:
            self._descriptor = os.pidfd_open(process.pid)
        except OSError:  # there are too many open files: nobody would hear of its end
            process.kill()
            process.wait()
            raise
        loop.add_reader(self._descriptor, self._reap)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    async def wait(self) -> int:
        """How it ended; below zero: by which signal."""
        return await asyncio.shield(self._ended)

    def signal(self, number: int) -> None:
        """Nothing happens when it has ended. ProcessLookupError for one that nobody has noticed yet."""
        self._process.send_signal(number)

    def kill_group(self) -> None:
        """Kills it and what it has started, as far as that stayed with it: for one that has a session of its own."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        code = self._process.wait()
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        if not self._ended.done():
            self._ended.set_result(code)


def start(command: tuple[str, ...] | list[str], around: Surroundings = PLAIN) -> Child:
    """Returns once the program has been loaded. OSError if it can't be."""
    process = subprocess.Popen(
        command,
        stdin=around.stdin,
        stdout=around.stdout,
        stderr=around.stderr,
        cwd=around.cwd,
        pass_fds=around.pass_fds,
        env=around.variables,
        start_new_session=around.own_session,
    )
    return Child(process)
