"""Connecting to a port of the loopback that the calling thread sees, by IPv4 or else IPv6."""

import socket

CONNECT_SECONDS = 5.0


def connected(port: int) -> socket.socket:
    """A connected socket that does not block. Blocks meanwhile; OSError, the first one, when nobody listens."""
    failures: list[OSError] = []
    for host in ("127.0.0.1", "::1"):
        try:
            found = socket.create_connection((host, port), CONNECT_SECONDS)
        except OSError as error:
            failures.append(error)
        else:
            found.setblocking(False)
            return found
    raise failures[0]
