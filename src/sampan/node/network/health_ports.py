"""HealthPorts: answers load balancers at the health check ports of services.

Whatever is asked for at such a port, the answer is the same; it is made when it is asked for.
"""

import asyncio
import contextlib
import ipaddress
import logging
from http import HTTPStatus

from sampan.node.network.services import health
from sampan.node.network.services.health import Check
from sampan.node.network.services.here import Here

log = logging.getLogger(__name__)

_ASK_SECONDS = 5.0
_LONGEST_LINE = 8192
_MOST_LINES = 100

Owner = tuple[str, str]


class HealthPorts:
    """One node's. `put` checks, then `settle`."""

    def __init__(self, here: Here) -> None:
        self.is_healthy = False
        self._places = _places(here)
        self._checks: dict[Owner, Check] = {}
        self._listening: dict[int, asyncio.Server] = {}

    def put(self, owner: Owner, check: Check | None) -> None:
        """What there is to say of a service from now on."""
        if check is None:
            self._checks.pop(owner, None)
        else:
            self._checks[owner] = check

    async def settle(self) -> None:
        """Listens where there is a check, and nowhere else. A port that can't be had is said, and tried again next time."""
        if not self._checks and not self._listening:
            return
        wanted = {check.port for check in self._checks.values()}
        for port in self._listening.keys() - wanted:
            self._listening.pop(port).close()
        for port in wanted - self._listening.keys():
            try:
                opened = await asyncio.start_server(self._serve, self._places, port, limit=_LONGEST_LINE)
            except OSError as error:
                log.warning("health check port %d: %s", port, error)
            else:
                self._listening[port] = opened

    async def close(self) -> None:
        """Listens nowhere."""
        self._checks.clear()
        await self.settle()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_ASK_SECONDS):
                await _read_head(reader)
                writer.write(self._answer(writer.get_extra_info("sockname")[1]))
                await writer.drain()
        writer.close()

    def _answer(self, port: int) -> bytes:
        check = next((check for check in self._checks.values() if check.port == port), None)
        if check is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        status, headers, body = health.answer(check, is_healthy=self.is_healthy)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {v}" for name, v in headers.items())]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode() + body


async def _read_head(reader: asyncio.StreamReader) -> None:
    for _ in range(_MOST_LINES):
        if (await reader.readuntil(b"\n")).strip() == b"":
            return
    raise ValueError("too many lines")


def _places(here: Here) -> list[str]:
    """Where to listen: where the node's ports are served; a network that isn't loopback's means everywhere."""
    given = here.settings.node_port_addresses or (here.settings.address, "127.0.0.1")
    places = [_place(ipaddress.ip_network(text, strict=False)) for text in given]
    everywhere = [place for place in places if place in _EVERYWHERE.values()]
    return list(dict.fromkeys(everywhere or places))


def _place(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    if network.is_loopback:
        return "127.0.0.1" if network.version == 4 else "::1"
    return str(network[0]) if network.num_addresses == 1 else _EVERYWHERE[network.version]


_EVERYWHERE = {4: "0.0.0.0", 6: "::"}
