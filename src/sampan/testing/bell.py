"""Bell and Gate: how one thread lets another go on, without a moment at which nobody can tell whether it will."""

import contextlib
import os
import select
import threading
from collections.abc import Callable


class Bell:
    """Rung by any thread, heard by one, which may listen to descriptors at the same time."""

    def __init__(self) -> None:
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)
        self._lock = threading.Lock()
        self._is_rung = False

    def __del__(self) -> None:
        os.close(self._ear)
        os.close(self._mouth)

    def ring(self) -> None:
        """Ends the listening, under way or to come, until it is silenced."""
        with self._lock:
            if not self._is_rung:
                self._is_rung = True
                os.write(self._mouth, b"x")

    def listen(self, descriptor: int | None = None, seconds: float | None = None) -> bool:
        """Waits in real time until the bell rings or there is something to read. False when the time was over first."""
        watched = select.poll()
        watched.register(self._ear, select.POLLIN)
        if descriptor is not None:
            watched.register(descriptor, select.POLLIN)
        return bool(watched.poll(None if seconds is None else max(seconds, 0.0) * 1000))

    def rings(self) -> bool:
        """Whether it was rung since it was last silenced."""
        return self._is_rung

    def silence(self) -> None:
        """It has been heard."""
        with self._lock:
            if self._is_rung:
                self._is_rung = False
                os.read(self._ear, 1)


class Gate:
    """A lock as threading.Condition wants one to release, which remembers that it was. `opened` is told each time."""

    def __init__(self, opened: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._opened = opened
        self.has_come = False
        self.is_open = False

    def release(self) -> None:
        """What was waited for has come."""
        self.has_come = True
        self.open()

    def open(self) -> None:
        """The waiting thread goes on."""
        self.is_open = True
        with contextlib.suppress(RuntimeError):  # it was open
            self._lock.release()
        self._opened()

    def close(self) -> None:
        """It can be waited at again, unless what was waited for has come."""
        self.is_open = False
        self.is_open = self.has_come

    def wait(self, seconds: float | None = None) -> None:
        """Until it is open, or so many real seconds."""
        self._lock.acquire(timeout=-1 if seconds is None else max(seconds, 0.0))


def is_readable(descriptor: int) -> bool:
    """Whether there is something to read now; of a selector's descriptor: whether anything is ready."""
    watched = select.poll()
    watched.register(descriptor, select.POLLIN)
    return bool(watched.poll(0))
