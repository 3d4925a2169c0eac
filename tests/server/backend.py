"""A real HTTP server at this host's own address, for proxies, webhooks and extension API servers to call.

It listens on an address that is neither loopback nor link-local, as a pod's is; without one the tests
that need it are skipped.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sampan.kit.clock import SystemClock
from sampan.server.aggregation.extension import Identity
from sampan.web import certificates
from sampan.web.certificates import Subject

Serve = Callable[["Asked"], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it arrived; `raw` is aiohttp's."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: web.BaseRequest = field(repr=False)
    certificate: dict[str, Any] | None = None


class Backend:
    """Keeps what it was asked."""

    def __init__(self, serve: Serve, host: str) -> None:
        self.host = host
        self.port = 0
        self.asked: list[Asked] = []
        self._serve = serve
        self._server = web.Server(self._handle)
        self._listening: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._server, self.host, 0, ssl=tls)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        await self._server.shutdown(0.1)

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in raw.headers.items()}
        certificate = raw.transport.get_extra_info("peercert") if raw.transport else None
        body = b"".join([chunk async for chunk in raw.content.iter_any()])
        asked = Asked(raw.method, raw.raw_path, headers, body, raw, certificate)
        self.asked.append(asked)
        return await self._serve(asked)


def identity(directory: Path) -> Identity:
    """A front proxy's certificate, with an authority of its own."""
    now = SystemClock().now()
    authority = certificates.new_authority("front-proxy-ca", now)
    certificates.issue(authority, Subject("front-proxy-client"), now).save(directory, "front-proxy-client")
    names = (str(directory / f"front-proxy-client.{end}") for end in ("crt", "key"))
    return Identity(authority.certificate, b"the cluster's authority", ("front-proxy-client",), *names)


def own_address() -> str:
    """An address of this host that others could call. Skips the test when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
        except OSError:
            pytest.skip("this host has no address but loopback")
        address = str(sock.getsockname()[0])
    if ipaddress.ip_address(address).is_loopback:
        pytest.skip("this host has no address but loopback")
    return address
