"""Drivers: the storage drivers that run on this node, as the plugin registry finds them, and calls to them.

https://kubernetes-csi.github.io/docs/node-driver-registrar.html
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from sampan.node.rpc.client import Client

SECONDS = 120.0
INFO_SECONDS = 20.0
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+).*")

Tree = dict[str, Any]


class Told(Protocol):
    """Who tells the API which drivers are here."""

    async def registered(self, driver: str, info: Tree) -> None: ...
    async def deregistered(self, driver: str) -> None: ...


class NotRegistered(Exception):
    """There is no such driver here (now)."""

    def __init__(self, driver: str) -> None:
        super().__init__(f"driver name {driver} not found in the list of registered CSI drivers")


class Plugin(Protocol):
    """As the plugin registry knows a driver."""

    @property
    def name(self) -> str: ...
    @property
    def endpoint(self) -> Path: ...
    @property
    def versions(self) -> tuple[str, ...]: ...
    @property
    def in_pod(self) -> bool: ...


class Driver:
    """One driver, behind its socket. `see` is how it names a path of the host."""

    def __init__(self, plugin: Plugin, client: "Client", see: Callable[[str], str]) -> None:
        self.name, self.endpoint, self.see = plugin.name, plugin.endpoint, see
        self.version = max(_versions(plugin))
        self._client = client
        self._abilities: frozenset[int] | None = None

    async def abilities(self) -> frozenset[int]:
        """What its node service can do, by number (wire.STAGE ...). Raises RpcError."""
        if self._abilities is None:
            answer = await self.call("NodeGetCapabilities")
            listed = (each["rpc"] for each in answer["capabilities"])
            self._abilities = frozenset(rpc["type"] for rpc in listed if rpc is not None)
        return self._abilities

    async def call(self, method: str, request: Mapping[str, Any] | None = None, seconds: float = SECONDS) -> Tree:
        """One call of the node service. Raises RpcError."""
        from sampan.node.csi import wire

        return await self._client.call(wire.NODE[method], request or {}, timeout_seconds=seconds)

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()


class Drivers:
    """Those that are registered, by name. The plugin registry's handler for CSIPlugin.

    `in_pod` gives the path that a pod has for one of the node's directory.
    """

    def __init__(self, told: Told, in_pod: Callable[[str], str] = str) -> None:
        self._told, self._in_pod = told, in_pod
        self._known: dict[str, Driver] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.on_registered: Callable[[str], Awaitable[None]] | None = None
        """Called with the name of each driver that is new here."""

    def get(self, name: str) -> Driver:
        """The driver. Raises NotRegistered."""
        if name not in self._known:
            raise NotRegistered(name)
        return self._known[name]

    def names(self) -> list[str]:
        """All that are here."""
        return sorted(self._known)

    async def validate(self, plugin: Plugin) -> None:
        """Raises ValueError for a driver that can't be spoken with, or whose name another one has."""
        if not _versions(plugin):
            listed = ", ".join(plugin.versions) or "none"
            raise ValueError(f"no supported version found for CSI driver {plugin.name}: 1.x is wanted, it has {listed}")
        self._refuse_rival(plugin)

    def _refuse_rival(self, plugin: Plugin) -> None:
        """Who was here first stays, unless the other one is newer; that one is asked again, and comes when the first goes."""
        known = self._known.get(plugin.name)
        if known is None or known.endpoint == plugin.endpoint:
            return
        if known.version >= max(_versions(plugin)):
            version = ".".join(map(str, known.version))
            raise ValueError(
                f"validation failed for CSI Driver {plugin.name} at endpoint {plugin.endpoint}: another driver with "
                f'the same name is already registered with a higher supported version: "{version}"'
            )

    async def register(self, plugin: Plugin) -> None:
        """The driver is used from now on, and the API knows of it. Raises RpcError, ApiError, TransportError, ValueError."""
        async with self._turns.setdefault(plugin.name, asyncio.Lock()):
            self._refuse_rival(plugin)
            await self._register(plugin)
        if self.on_registered is not None:
            await self.on_registered(plugin.name)

    async def _register(self, plugin: Plugin) -> None:
        from sampan.node.rpc.client import Client

        driver = Driver(plugin, Client(plugin.endpoint), self._in_pod if plugin.in_pod else str)
        try:
            info = await driver.call("NodeGetInfo", seconds=INFO_SECONDS)
            await self._told.registered(plugin.name, info)
        except BaseException:
            driver.close()
            raise
        before = self._known.get(plugin.name)
        self._known[plugin.name] = driver
        if before is not None:
            before.close()

    async def deregister(self, plugin: Plugin) -> None:
        """The driver is gone; another one of its name, elsewhere, stays."""
        driver = self._known.get(plugin.name)
        if driver is None or driver.endpoint != plugin.endpoint:
            return
        del self._known[plugin.name]
        driver.close()
        await self._told.deregistered(plugin.name)

    def close(self) -> None:
        """Ends all connections."""
        for driver in self._known.values():
            driver.close()
        self._known.clear()


def _versions(plugin: Plugin) -> list[tuple[int, ...]]:
    """Those that can be spoken."""
    found = (_VERSION.fullmatch(version) for version in plugin.versions)
    numbers = [tuple(map(int, each.groups())) for each in found if each]
    return [each for each in numbers if each[0] == 1]
