"""Ports for servers that want to be told theirs.

They lie below those that the kernel gives to connections: between the choice and the server's start none of these takes
one of them away.
"""

import itertools
import os
import socket

FIRST, LAST = 12000, 18400  # below the gateway tests' own
_NEXT = itertools.count(os.getpid() * 37)  # tests in another process begin elsewhere


def free_port(address: str = "127.0.0.1") -> int:
    """One that nobody listens at, and that was not given before."""
    while True:
        port = FIRST + next(_NEXT) % (LAST - FIRST)
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
