"""Accepting: connections are taken in one by one, also when this process has no descriptor left for them.

Then one more is turned away at once by a descriptor that is kept for this, room is asked for, and a moment passes
before the next attempt: what waits is neither spun on nor forgotten.

https://man7.org/linux/man-pages/man2/accept.2.html
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
from collections.abc import Callable

LOG = logging.getLogger("sampan")

BACKLOG = 1024
AT_ONCE = 16
"""So many in one turn of the event loop: handshakes are dear."""
PAUSE_SECONDS = 0.1
TELL_SECONDS = 60.0
KEPT_PART, LEAST_KEPT = 4, 32
"""Of all descriptors, what connections leave for files, webhooks, agents and other programs."""
MOST_CONNECTIONS = 20_000
"""Each takes up to 55 KiB: memory is short before descriptors are, where 1,048,576 are allowed."""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Accepting:
    """On one listening socket. `enter` gets each connection; `make_room` closes one that nobody needs, if there is any."""

    def __init__(
        self, sock: socket.socket, enter: Callable[[socket.socket], None], make_room: Callable[[], object]
    ) -> None:
        self._sock, self._enter, self._make_room = sock, enter, make_room
        self._loop = asyncio.get_running_loop()
        self._kept = _open_something()
        self._again: asyncio.TimerHandle | None = None
        self._is_short = False
        self._tell_from = 0.0
        sock.listen(BACKLOG)
        self._loop.add_reader(sock, self._take)

    def close(self) -> None:
        """Nobody is accepted any more."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        if self._kept is not None:
            os.close(self._kept)

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                made, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._wait(error)
                return
            if self._is_short:
                self._is_short = False
                LOG.info("connections are accepted again")
            made.setblocking(False)
            self._enter(made)

    def _wait(self, error: OSError) -> None:
        if self._loop.time() >= self._tell_from:
            self._tell_from = self._loop.time() + TELL_SECONDS
            LOG.warning("a connection can't be accepted, and is closed: %s", error.strerror or error)
            self._is_short = True
        if error.errno in _SHORTAGES:
            self._turn_away()
            self._make_room()
        self._loop.remove_reader(self._sock)
        self._again = self._loop.call_later(PAUSE_SECONDS, self._loop.add_reader, self._sock, self._take)

    def _turn_away(self) -> None:
        """Whoever is first learns at once that there is no room."""
        if self._kept is not None:
            os.close(self._kept)
        with contextlib.suppress(OSError):
            self._sock.accept()[0].close()
        self._kept = _open_something()


def most_connections() -> int:
    """How many connections this process has memory and descriptors for, with some to spare."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(max(limit - max(limit // KEPT_PART, LEAST_KEPT), 1), MOST_CONNECTIONS)


def _open_something() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
