"""Whether the programs that make containers can be used: a node whose runc or conmon is broken is not Ready.

They run for a single call only, so nobody is there to be asked now and then. Their files are looked at, which costs
nothing; the programs themselves are asked for their version only where a file is another one, after a start that
failed or takes long, and until they answer again. As with a kubelet and its runtime, one that hangs is down, and
nothing is begun meanwhile.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence

from sampan.kit.clock import Clock
from sampan.node import outsiders

LOOK_SECONDS = 10.0
PATIENCE_SECONDS = 30.0
VOUCH_SECONDS = 10.0
"""So long for an answer where somebody waits for it; one that was given is good for a second."""
DOWN = "container runtime is down"
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_TOLD_CHARACTERS = 500

Identity = tuple[int, ...]


class ProgramHealth:
    """Of these programs, by their paths."""

    def __init__(self, paths: Sequence[str], clock: Clock) -> None:
        self._paths, self._clock = tuple(paths), clock
        self._is_doubtful = False
        self._usable = asyncio.Event()
        self._usable.set()
        self._asking, self._well_at = asyncio.Lock(), float("-inf")
        self.complaint = ""
        """Why the node can't be used, if it can't."""

    def is_usable(self, path: str) -> bool:
        """Whether nobody knows better; of a program that nobody looks at nobody does."""
        return not (self.complaint and path in self._paths)

    async def wait_usable(self) -> None:
        """Returns when nothing is wrong."""
        await self._usable.wait()

    async def fault(self) -> str:
        """Why something that took too long may have: what is wrong now, if they are asked at once. Nothing if all is well."""
        async with self._asking:
            if self.complaint or self._clock.monotonic() - self._well_at < 1.0:
                return self.complaint
            why = await self._ask("", VOUCH_SECONDS)
            self._is_doubtful |= bool(why)
            return why

    async def fault_of(self, path: str) -> str:
        """The same of what only this program does; nothing of one that nobody looks at."""
        return await self.fault() if path in self._paths else ""

    def doubt(self) -> None:
        """Something failed that may be their fault: they are asked soon."""
        self._is_doubtful = True

    async def watch(self, tell: Callable[[str], None]) -> None:
        """For ever. Tells why the node can't be used, and nothing once it can again."""
        known = self._identities()
        while True:
            found = self._identities()
            if self.complaint or self._is_doubtful or found != known:
                self._is_doubtful, known = False, found
                why = await self._ask(self.complaint, PATIENCE_SECONDS)
                if why != self.complaint:
                    self._note(why)
                    tell(why)
            await self._clock.sleep(LOOK_SECONDS)

    def _note(self, why: str) -> None:
        self.complaint = why
        if why:
            self._usable.clear()
        else:
            self._usable.set()

    def _identities(self) -> tuple[Identity, ...]:
        return tuple(map(_identity, self._paths))

    async def _ask(self, before: str, seconds: float) -> str:
        """What is wrong with the first that can't be used; as before where nobody can be asked just now."""
        for path in self._paths:
            if not os.access(path, os.X_OK):
                return _not_ready("RuntimeProgramMissing", f"{path} is not installed")
            try:
                answer = await outsiders.ask((path, "--version"), seconds)
            except outsiders.NoAnswer:
                return DOWN
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._is_doubtful = True
                    return before
                why = (error.strerror or str(error)).lower()
                return _not_ready("RuntimeProgramFailed", f"fork/exec {path}: {why}")
            if answer.code:
                text = (answer.errors or answer.output).decode(errors="replace").strip()[:_TOLD_CHARACTERS]
                how = f"exit status {answer.code}" if answer.code > 0 else f"signal {-answer.code}"
                return _not_ready("RuntimeProgramFailed", f"{path} --version: {how}{text and f': {text}'}")
        self._well_at = self._clock.monotonic()
        return ""


def _not_ready(reason: str, message: str) -> str:
    """As a kubelet writes what a runtime says of itself."""
    return f"container runtime not ready: RuntimeReady=false reason:{reason} message:{message}"


def _identity(path: str) -> Identity:
    """Another one when the file is; nothing where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_mode
