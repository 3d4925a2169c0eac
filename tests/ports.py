"""Ports for servers that want to be told theirs: each process that runs tests has a hundred of its own.

They lie below those that the kernel gives to connections, and below the node ports of Services: between the choice and
the server's start nothing takes one of them away. Which process has which is told by names of sockets, which the kernel
keeps where it keeps the ports, and lets go with the process.
"""

import atexit
import functools
import itertools
import os
import socket
from collections.abc import Iterator

SLOTS, SIZE = 64, 100
FIRST = 21000  # above the gateway's


def free_port(address: str = "127.0.0.1") -> int:
    """One that nobody listens at; it was not given before, unless that was long ago."""
    for port in itertools.islice(_ports(os.getpid()), SIZE):
        if _is_free(address, port):
            return port
    raise RuntimeError("all ports of this process are taken")


@functools.cache
def _ports(process: int) -> Iterator[int]:
    """Those of a slot that no other process has, round and round; it begins elsewhere than the last process."""
    for slot in range(process, process + SLOTS):
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0sampan-test-ports-{slot % SLOTS}")
        except OSError:
            held.close()
        else:
            atexit.register(held.close)
            return _round(FIRST + slot % SLOTS * SIZE, process)
    raise RuntimeError(f"more than {SLOTS} processes run tests")


def _round(first: int, begin: int) -> Iterator[int]:
    return (first + place % SIZE for place in itertools.count(begin))


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended are no hindrance
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
