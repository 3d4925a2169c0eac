"""Drivers of dynamic resources that are on this node; without its driver, a node offers no devices.

Drivers publish their ResourceSlices themselves. When a driver goes and doesn't come back within half a minute, its
slices of this node are deleted, and all of them when the agent starts: none of the drivers is there then.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.node.plugins.registry import Plugin

log = logging.getLogger(__name__)

AWAY_SECONDS = 30.0
CALL_SECONDS = 45.0
AGAIN_SECONDS = 1.0
LONGEST_AWAY_SECONDS = 8.0
HEALTH_AGAIN_SECONDS = 5.0
HEALTH_SECONDS = 30.0
"""How long what a driver says of a device counts, unless it says how long."""
LONGEST_WAIT_SECONDS = 300.0
UNKNOWN = "Unknown"

Device = tuple[str, str, str]
"""Driver, pool and name."""


class DriverFailure(Exception):
    """A driver isn't there, or did not do what it was asked for; in a kubelet's words."""


@dataclass(eq=False, slots=True)
class _Driver:
    plugin: Plugin
    client: Any
    methods: Mapping[str, Any]
    is_connected: bool = False
    tasks: tuple[asyncio.Task[None], ...] = ()


class Drivers:
    """Of one node. `changed(driver)` is called when it has come, and when it says that devices are otherwise."""

    def __init__(self, api: tuple[Client, str], clock: Clock, tasks: Tasks, changed: Callable[[str], None]) -> None:
        """`api` is the way to it, and the node's name."""
        self._client, self._node = api
        self._clock, self._tasks, self._changed = clock, tasks, changed
        self._drivers: dict[str, list[_Driver]] = {}
        self._wipes: dict[str, asyncio.Task[None]] = {}
        self._health: dict[Device, tuple[str, float]] = {}

    def start(self) -> None:
        """Nobody is there yet, so nothing is to be had."""
        self._tasks.spawn(self._wipe(""), "resource slices", critical=False)

    def close(self) -> None:
        """Lets go of all drivers."""
        for driver in (driver for drivers in self._drivers.values() for driver in drivers):
            driver.client.close()

    def has(self, name: str) -> bool:
        """Whether a driver of that name is registered."""
        return bool(self._drivers.get(name))

    def health(self, device: Device) -> str:
        """As its driver has said, if that was not too long ago."""
        word, until = self._health.get(device, (UNKNOWN, 0.0))
        return word if self._clock.now() <= until else UNKNOWN

    async def validate(self, plugin: Plugin) -> None:
        """Whether it serves something that is spoken here."""
        _chosen(plugin)

    async def register(self, plugin: Plugin) -> None:
        """It is asked from now on; the newest of several of one name before the others."""
        from sampan.node.plugins import dra_api
        from sampan.node.rpc.client import Client as RpcClient

        drivers = self._drivers.setdefault(plugin.name, [])
        if any(driver.plugin.endpoint == plugin.endpoint for driver in drivers):
            raise ValueError(f"endpoint {plugin.endpoint} already registered for DRA driver plugin {plugin.name}")
        driver = _Driver(plugin, RpcClient(plugin.endpoint), dra_api.SERVICES[_chosen(plugin)])
        drivers.append(driver)
        tasks = [self._tasks.spawn(self._attend(driver), f"driver {plugin.name}", critical=False)]
        if dra_api.HEALTH_SERVICE in plugin.versions:
            tasks.append(self._tasks.spawn(self._watch(driver), f"health by {plugin.name}", critical=False))
        driver.tasks = tuple(tasks)
        self._changed(plugin.name)

    async def deregister(self, plugin: Plugin) -> None:
        """It is asked no more."""
        drivers = self._drivers.get(plugin.name, [])
        for driver in [driver for driver in drivers if driver.plugin.endpoint == plugin.endpoint]:
            drivers.remove(driver)
            for task in driver.tasks:
                task.cancel()
            driver.client.close()
        if not drivers:
            self._drivers.pop(plugin.name, None)
        self._judge(plugin.name)

    async def call(self, name: str, method: str, claims: list[dict[str, str]]) -> dict[str, Any]:
        """Has the driver prepare or unprepare claims; its answer for each of them, by uid. Raises DriverFailure."""
        from sampan.node.rpc.service import RpcError

        drivers = self._drivers.get(name)
        if not drivers:
            raise DriverFailure(f"DRA driver {name} is not registered")
        driver = next((driver for driver in reversed(drivers) if driver.is_connected), drivers[-1])
        try:
            answer = await driver.client.call(driver.methods[method], {"claims": claims}, timeout_seconds=CALL_SECONDS)
        except RpcError as error:
            raise DriverFailure(f"{method}: {error}") from None
        found: dict[str, Any] = answer["claims"]
        names = {claim["uid"]: claim["name"] for claim in claims}
        for uid, each in found.items():
            if uid not in names:
                raise DriverFailure(f"{method} returned result for unknown claim UID {uid}")
            if each["error"]:
                raise DriverFailure(f"{method} failed for ResourceClaim {names[uid]}: {each['error']}")
        if len(found) < len(claims):
            raise DriverFailure(f"{method} skipped {len(claims) - len(found)} ResourceClaims")
        return found

    async def _attend(self, driver: _Driver) -> None:
        """Stays connected, to know whether it is there."""
        from sampan.node.rpc.service import RpcError

        seconds = AGAIN_SECONDS
        while True:
            try:
                await driver.client.connect()
                driver.is_connected, seconds = True, AGAIN_SECONDS
                self._judge(driver.plugin.name)
                await driver.client.wait_lost()
            except RpcError as error:
                log.info("DRA driver %s: %s", driver.plugin.name, error)
            driver.is_connected = False
            self._judge(driver.plugin.name)
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, LONGEST_AWAY_SECONDS)

    async def _watch(self, driver: _Driver) -> None:
        """How its devices are."""
        from sampan.node.plugins import dra_api
        from sampan.node.rpc.service import RpcError

        name = driver.plugin.name
        while True:
            try:
                async for answer in driver.client.stream(dra_api.HEALTH["NodeWatchResources"]):
                    for each in answer["devices"]:
                        where = each["device"] or {"pool_name": "", "device_name": ""}
                        word = dra_api.HEALTH_WORDS.get(each["health"], UNKNOWN)
                        lasts = each["health_check_timeout_seconds"]
                        until = self._clock.now() + (lasts if lasts > 0 else HEALTH_SECONDS)
                        self._health[name, where["pool_name"], where["device_name"]] = word, until
                    self._changed(name)
            except RpcError as error:
                log.info("health of devices of %s: %s", name, error)
            self._health = {device: health for device, health in self._health.items() if device[0] != name}
            self._changed(name)
            await self._clock.sleep(HEALTH_AGAIN_SECONDS)

    def _judge(self, name: str) -> None:
        """Has the driver's slices deleted in a while, unless it is there."""
        if any(driver.is_connected for driver in self._drivers.get(name, ())):
            if (wipe := self._wipes.pop(name, None)) is not None:
                wipe.cancel()
        elif name not in self._wipes:
            self._wipes[name] = self._tasks.spawn(self._wipe_later(name), f"slices of {name}", critical=False)

    async def _wipe_later(self, name: str) -> None:
        await self._clock.sleep(AWAY_SECONDS)
        await self._wipe(name)
        self._wipes.pop(name, None)

    async def _wipe(self, name: str) -> None:
        from sampan.kinds.resource.resource_slice import RESOURCESLICE

        chosen = f"spec.nodeName={self._node}" + (f",spec.driver={name}" if name else "")
        seconds = AGAIN_SECONDS
        while True:
            try:
                await self._client.delete_collection(RESOURCESLICE, "", fields=chosen)
                return
            except (ApiError, TransportError) as error:
                log.info("deleting ResourceSlices of %s: %s; trying again", chosen, error)
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, LONGEST_WAIT_SECONDS)


def _chosen(plugin: Plugin) -> str:
    """The best service that the driver has. Raises ValueError."""
    from sampan.node.plugins.dra_api import SERVICES

    for service in SERVICES:
        if service in plugin.versions:
            return service
    text = f"invalid supported gRPC versions of DRA driver plugin {plugin.name} at endpoint {plugin.endpoint}"
    raise ValueError(f"{text}: none of {', '.join(SERVICES)} is in {list(plugin.versions)}")
