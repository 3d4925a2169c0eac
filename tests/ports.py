"""Ports for servers that want to be told theirs: each process that runs tests has a hundred of its own.

They lie below those that the kernel gives to connections, and below the node ports of Services: between the choice and
the server's start nothing takes one of them away. Which process has which is told by names of sockets, which the kernel
keeps where it keeps the ports, and lets go with the process.

An Envoy's must be of those that Gateways may have. Two Envoys of one user may listen at the same port, and then each
gets a part of the connections: so here, too, no two processes have the same, and a cluster's, which begin with the
first, are left alone.
"""

import atexit
import functools
import itertools
import os
import socket
from collections.abc import Iterator

from sampan.gateway import proxy

SIZE = 100
SLOTS, FIRST = 64, 21000  # above the gateway's
GATEWAY_FIRST = proxy.FIRST_PORT + SIZE
GATEWAY_SLOTS = (proxy.LAST_PORT - GATEWAY_FIRST) // SIZE


def free_port(address: str = "127.0.0.1") -> int:
    """One that nobody listens at; it was not given before, unless that was long ago."""
    return _next(_ports(os.getpid(), "servers", FIRST, SLOTS), address)


def gateway_port(address: str = "127.0.0.1") -> int:
    """The same, of those that Gateways may have of Envoy."""
    return _next(_ports(os.getpid(), "gateways", GATEWAY_FIRST, GATEWAY_SLOTS), address)


def _next(ports: Iterator[int], address: str) -> int:
    for port in itertools.islice(ports, SIZE):
        if _is_free(address, port):
            return port
    raise RuntimeError("all ports of this process are taken")


@functools.cache
def _ports(process: int, use: str, first: int, slots: int) -> Iterator[int]:
    """Those of a slot that no other process has, round and round; it begins elsewhere than the last process."""
    for slot in range(process, process + slots):
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0sampan-test-ports-{use}-{slot % slots}")
        except OSError:
            held.close()
        else:
            atexit.register(held.close)
            return _round(first + slot % slots * SIZE, process)
    raise RuntimeError(f"more than {slots} processes run tests")


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
