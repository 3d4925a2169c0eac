"""Outside: what a cluster inside a test is to code that was not made for it: a server on a port, and the time.

Both are there when they are asked for, and not before.
"""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from sampan.cluster.simulated import SimulatedCluster
from sampan.kit.simloop import Stuck

if TYPE_CHECKING:
    from sampan.testing.bridge import Bridge
    from sampan.testing.virtual_time import VirtualTime


class Outside:
    """Of one cluster; `close()` ends it all."""

    def __init__(self, sim: SimulatedCluster) -> None:
        self._sim = sim
        self._bridge: Bridge | None = None
        self._virtual: VirtualTime | None = None
        self._virtual_in: Thread | None = None
        self._directory: Path | None = None
        self._undo = contextlib.ExitStack()
        self._is_closed = False

    @property
    def url(self) -> str:
        """Where the API is. Raises RuntimeError when the cluster is closed."""
        return self._opened().url

    @property
    def kubeconfig(self) -> Path:
        """The file, in a directory of its own that goes with the cluster. Raises RuntimeError when that is closed."""
        bridge = self._opened()
        if self._directory is None:
            name = self._undo.enter_context(tempfile.TemporaryDirectory(prefix="sampan-"))
            self._directory = Path(name)
            bridge.kubeconfig(self._directory)
        return self._directory / "kubeconfig"

    @contextlib.contextmanager
    def virtual_time(self) -> Iterator[None]:
        """See virtual_time.VirtualTime. Raises RuntimeError where time cannot become virtual."""
        from sampan.testing.virtual_time import VirtualTime

        with VirtualTime(self._sim, self._opened()) as virtual:
            self._virtual, self._virtual_in = virtual, threading.current_thread()
            try:
                yield
            finally:
                self._virtual = self._virtual_in = None

    def advance(self, seconds: float) -> None:
        """Lets that much time pass, also for foreign code while time is virtual for it."""
        if (virtual := self._conducted()) is not None:
            virtual.advance(seconds)
        else:
            self._sim.advance(seconds)

    def run_until(self, is_so: Callable[[], Any], within: float) -> None:
        """Lets time pass until the condition holds. Raises Stuck when it does not within so many seconds."""
        if (virtual := self._conducted()) is not None:
            virtual.run_until(is_so, within)
        elif self._bridge is None:
            self._sim.run_until(lambda: bool(is_so()), within)
        else:
            self._run_until(is_so, within)

    def close(self) -> None:
        """Ends connections; there is no file and no thread any more."""
        self._is_closed = True
        self._undo.close()

    def _opened(self) -> "Bridge":
        if self._is_closed:
            raise RuntimeError("the cluster is closed")
        if self._bridge is None:
            from sampan.testing.bridge import Bridge

            made = Bridge(self._sim)
            self._undo.callback(made.close)
            made.start()
            self._bridge = made
        return self._bridge

    def _conducted(self) -> "VirtualTime | None":
        """The virtual time that the caller may let pass."""
        if self._virtual is not None and threading.current_thread() is not self._virtual_in:
            name = self._virtual_in.name if self._virtual_in is not None else ""
            raise RuntimeError(f"time is virtual, and only the thread that made it so ({name}) can let it pass")
        return self._virtual

    def _run_until(self, is_so: Callable[[], Any], within: float) -> None:
        """The condition may ask the server itself, whose thread is not to be kept out meanwhile."""
        end = self._sim.time + within
        self._sim.advance(0)
        while not is_so():
            left = end - self._sim.time
            if left <= 0:
                raise Stuck(f"still not so after {within:g} s")
            self._next_instant(left)

    def _next_instant(self, seconds: float) -> None:
        """Goes to where something happens next, or so far."""
        asked = iter((False, True))
        end = self._sim.time + seconds
        try:
            self._sim.run_until(lambda: next(asked), seconds)
        except Stuck:
            self._sim.advance(max(end - self._sim.time, 0.0))
