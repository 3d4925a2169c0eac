"""Connecting to a port of the loopback of whichever namespace the sockets were made in, by IPv4 or else IPv6."""

import asyncio
import errno
import os
import socket

CONNECT_SECONDS = 5.0
_HOSTS = ("127.0.0.1", "::1")

Ends = tuple[socket.socket, ...]


def sockets() -> Ends:
    """One for each family, in the namespace that the calling thread sees; they do not block. OSError."""
    first = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        return first, socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError:
        return (first,)  # the kernel is without IPv6


async def connected(ends: Ends, port: int) -> socket.socket:
    """The first that could be connected; the others are closed. OSError, the first one, when nobody listens."""
    loop, failures = asyncio.get_running_loop(), list[OSError]()
    found: socket.socket | None = None
    try:
        for end, host in zip(ends, _HOSTS, strict=False):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await loop.sock_connect(end, (host, port))
            except OSError as error:
                number = error.errno or errno.ETIMEDOUT
                failures.append(OSError(number, os.strerror(number)))  # the event loop has words of its own
            else:
                found = end
                return found
        raise failures[0]
    finally:
        for end in ends:
            if end is not found:
                end.close()
