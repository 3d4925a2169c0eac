"""Programs: controllers under test, which play in the simulated cluster beside the built-in ones.

A file with `async def run(program)`: it works through `program.client` (sampan.client.api.Client), and waits with
asyncio as anywhere; time is virtual. Globals are new in each life. When a life ends by an error of the API or of
the connection, a new one begins, as with a container's back-off; any other exception is a failure of the scenario.
"""

import ast
import asyncio
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from sampan.client.api import CALM, Client
from sampan.client.transport import TransportError
from sampan.cluster import naming
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.kind import Kind
from sampan.kit.dice import Dice
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.web.message import Peer

BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class Program:
    """What a program is handed. `name` is its own: FILE-1, FILE-2 for several of one file."""

    def __init__(self, cluster: SimulatedCluster, name: str, dice: Dice) -> None:
        self.name = name
        self.client = Client(cluster.doors.door(Peer(name, ("system:masters",))), name, watch=CALM)
        self.dice = dice
        self._cluster = cluster

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        return self._cluster.clock.now()

    def kind(self, word: str) -> Kind:
        """The kind that a word means, as for kubectl: deploy, deployments.apps, Deployment."""
        if not self._cluster.is_up:
            raise TransportError("connection refused")
        return naming.kind_of(word, self._cluster.app.served.all())


class Life:
    """One program from start to end: its lives, one after the other. `tell` is told of what happens to it."""

    def __init__(self, program: Program, file: Path, tell: Callable[[str, BaseException | None], None]) -> None:
        self.program = program
        self._file = file
        self._tell = tell
        self._tasks: Tasks | None = None

    def start(self) -> None:
        """Begins, if it does not run."""
        if self._tasks is None:
            self._tasks = Tasks(self.program.name)
            self._tasks.spawn(self._live(), "run")

    def kill(self) -> None:
        """Ends it at this instant, as by SIGKILL."""
        if self._tasks is not None:
            self._tasks.kill()
            self._tasks = None

    async def _live(self) -> None:
        failures = 0
        while True:
            try:
                await run_file(self._file, "program")["run"](self.program)
                return
            except Exception as error:  # noqa: BLE001 (what is no failure of the API's is the scenario's)
                passing = _passing(error)
                if passing is None:
                    self._tell(f"{self.program.name} fails", error)
                    return
                self._tell(f"{self.program.name} ends: {passing}", None)
            await asyncio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
            failures += 1


def _passing(error: BaseException) -> BaseException | None:
    """The error of the API or of the connection that it is or, of a group of such, the first one."""
    if isinstance(error, BaseExceptionGroup):
        found = [_passing(one) for one in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, ApiError | TransportError) else None


def run_file(file: Path, purpose: str) -> dict[str, Any]:
    """The names of the file, run as a module as new."""
    module = ModuleType(f"sampan_{purpose}_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # as for a script
    exec(_compiled(file), module.__dict__)  # noqa: S102 (the user's own program)
    return module.__dict__


def check(file: Path) -> None:
    """Raises SyntaxError, or ValueError where the file has no `async def run(program)`."""
    body = ast.parse(file.read_text(), str(file)).body
    if not any(isinstance(node, ast.AsyncFunctionDef) and node.name == "run" for node in body):
        raise ValueError("it has no `async def run(program)`")


@cache
def _compiled(file: Path) -> CodeType:
    return compile(file.read_text(), str(file), "exec")
