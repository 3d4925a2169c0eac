"""Node ports of a sandboxed node: slirp4netns listens at them on the host's loopback, and leads them to the node.

https://github.com/rootless-containers/slirp4netns/blob/master/slirp4netns.1.md#api-socket
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.meta import objects
from sampan.node.network import lan_ports

log = logging.getLogger(__name__)

ADDRESS = "10.0.2.100"
"""The node's own, as slirp4netns sees it."""
HOST = "127.0.0.1"

Object = Mapping[str, Any]
Port = tuple[str, int]

_PROTOCOLS = ("tcp", "udp")
_SECONDS = 5.0


class SandboxPorts:
    """A follower of Services; `socket` is where slirp4netns takes orders."""

    kinds = (SERVICE,)

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._by_service: dict[tuple[str, str], frozenset[Port]] = {}
        self._led: dict[Port, int] | None = None

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Remembers what ports the Service has now."""
        found = lan_ports.ports(new) if new is not None else frozenset()
        key = objects.key(new or old or {})
        if found:
            self._by_service[key] = found
        else:
            self._by_service.pop(key, None)

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """Has the ports led that are wanted, and no others. A port that somebody else has on the host is left out. OSError."""
        wanted = {port for ports in self._by_service.values() for port in ports if port[0] in _PROTOCOLS}
        if self._led is None:
            self._led = await self._those_led()  # by an agent before
        for port in sorted(self._led.keys() - wanted):
            await self._ask("remove_hostfwd", {"id": self._led[port]})
            del self._led[port]
        for protocol, number in sorted(wanted - self._led.keys()):
            order = {
                "proto": protocol,
                "host_addr": HOST,
                "host_port": number,
                "guest_addr": ADDRESS,
                "guest_port": number,
            }
            answer = await self._ask("add_hostfwd", order)
            if "return" in answer:
                self._led[protocol, number] = int(answer["return"]["id"])
            else:
                log.warning("node port %d/%s is not led here from the host: %s", number, protocol, answer.get("error"))

    async def _those_led(self) -> dict[Port, int]:
        entries = (await self._ask("list_hostfwd", {})).get("return", {}).get("entries", [])
        return {(entry["proto"], entry["host_port"]): entry["id"] for entry in entries if entry["host_addr"] == HOST}

    async def _ask(self, what: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One order a connection."""
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                writer.write(json.dumps({"execute": what, "arguments": arguments}).encode())
                writer.write_eof()
                found: dict[str, Any] = json.loads(await reader.read())
                return found
            finally:
                writer.close()
