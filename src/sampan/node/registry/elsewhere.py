"""Connections that are made in another network namespace: a node that has its own pulls images as its host would.

So the host's name servers and registries on the host's own loopback are there for it.
"""

import os
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from sampan.node.network import namespaces
from sampan.node.network.threads import run_in_fresh_thread


def connector(namespace: int) -> aiohttp.TCPConnector:
    """Makes sockets in the namespace of this descriptor, and asks for names there."""
    return aiohttp.TCPConnector(socket_factory=lambda found: _socket(namespace, found), resolver=_Resolver(namespace))


class _Resolver(AbstractResolver):
    def __init__(self, namespace: int) -> None:
        self._namespace = namespace

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As the system's resolver says there. OSError."""

        def ask() -> list[Any]:
            namespaces.move_to(self._namespace)
            return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        found = await run_in_fresh_thread(ask)
        return [
            ResolveResult(hostname=host, host=at[0], port=at[1], family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
            for kind, _, proto, _, at in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _socket(namespace: int, found: aiohttp.AddrInfoType) -> socket.socket:
    """Made while the calling thread is there; it is back at once."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.move_to(namespace)
        try:
            return socket.socket(found[0], found[1], found[2])
        finally:
            namespaces.move_to(own)
    finally:
        os.close(own)
