"""The plugins of a real node: their registry, devices and claims, and what the agent asks of them.

Nothing is loaded, and nobody is asked, before a driver shows itself.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sampan.client.api import Client
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.node import devices
from sampan.node.given import Given
from sampan.node.plugins.book import Unavailable
from sampan.node.plugins.claims import Claims
from sampan.node.plugins.device_plugins import DevicePlugins
from sampan.node.plugins.drivers import DriverFailure, Drivers
from sampan.node.plugins.places import Places
from sampan.node.plugins.pod_resources import SOCKET, PodResources
from sampan.node.plugins.registry import Registry
from sampan.node.rpc.door import Door

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0

Object = dict[str, Any]


class Told(Protocol):
    """The agent, as plugins know it."""

    def pods(self) -> Iterable[Object]:
        """Those of the node."""
        ...

    def look_at(self, uid: str) -> None:
        """A pod's devices are otherwise."""
        ...

    def offer(self) -> None:
        """The node has other devices."""
        ...

    def try_again(self) -> None:
        """A driver is there that wasn't."""
        ...


class Plugins:
    """Of one node. `client` and `node` are for the slices of drivers."""

    def __init__(self, root: Path, api: tuple[Client, str], clock: Clock, tasks: Tasks) -> None:
        """`root` is the node's own directory; `api` the way to it, and the node's name."""
        self._clock, self._tasks = clock, tasks
        self.places = Places(root)
        self.registry = Registry(self.places, clock, tasks)
        self.devices = DevicePlugins(self.places, clock, tasks, self._devices_changed)
        self.drivers = Drivers(api, clock, tasks, self._driver_changed)
        self.claims = Claims(root, self.drivers)
        self._told: Told | None = None
        resources = PodResources(self.devices.book, self.claims, self._pods)
        self._door = Door(self.places.pod_resources / SOCKET, resources.answers)
        self.registry.handle("DevicePlugin", self.devices)
        self.registry.handle("DRAPlugin", self.drivers)

    def open(self, told: Told) -> None:
        """Remembers. `told` hears of changes."""
        self._told = told
        self.places.make()
        self.claims.start()
        self.devices.start()
        self._door.open(self._tasks)

    def start(self) -> None:
        """Finds drivers."""
        self.drivers.start()
        self.registry.start()

    async def close(self) -> None:
        """Lets go of all of them; what pods have stays theirs."""
        self.registry.close()
        self.drivers.close()
        await self.devices.close()
        await self._door.close()

    def amounts(self) -> tuple[dict[str, str], dict[str, str]]:
        """What of devices the node has, and what can be used."""
        return self.devices.book.amounts()

    async def admit(self, pod: Object) -> tuple[str, str] | None:
        """Has the pod's containers get their devices; reason and message when they can't."""
        try:
            await self.devices.allocate(pod)
        except Unavailable as error:
            return "UnexpectedAdmissionError", f"Allocate failed due to {error}, which is unexpected"
        return None

    async def prepare(self, pod: Object, claims: Mapping[str, Object]) -> None:
        """The pod may use its claims, by name, and they are prepared. Raises VolumeFailure."""
        devices.check(pod, claims, self.drivers.has)
        try:
            await self.claims.prepare(pod, claims)
        except DriverFailure as error:
            raise devices.failure(str(error)) from None

    async def given(self, pod: Object, container: Object) -> Given:
        """What a container that starts now gets. Raises ConfigError."""
        found = await self.devices.given(pod, container)
        names = self.claims.cdi_devices(pod, container)
        if not names:
            return found
        both = tuple(dict.fromkeys((*found.cdi_devices, *names)))
        return Given(found.env, found.mounts, found.devices, found.annotations, both)

    def health(self, pod: Object) -> dict[str, list[Object]]:
        """How the devices of the pod's containers are, by the containers' names."""
        found = {}
        for container in pod["spec"]["containers"]:
            of_plugins = self.devices.book.health((objects.uid(pod), container["name"]))
            if both := of_plugins + self.claims.health(pod, container):
                found[container["name"]] = both
        return found

    def pods(self) -> set[str]:
        """The uids of those that have something of plugins."""
        return self.devices.book.pods() | self.claims.pods()

    async def release(self, pod_uid: str) -> None:
        """The pod needs nothing any more. Raises DriverFailure; to be repeated until it doesn't."""
        try:
            await self.claims.unprepare(pod_uid)
        except DriverFailure as error:
            raise DriverFailure(f"unprepare dynamic resources: {error}") from None
        self.devices.release(pod_uid)

    async def release_at_last(self, pod_uid: str) -> None:
        """The same of a pod that nobody looks at any more."""
        seconds = AGAIN_SECONDS
        while True:
            try:
                return await self.release(pod_uid)
            except DriverFailure as error:
                log.info("pod %s, which is gone: %s; trying again", pod_uid, error)
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, LONGEST_WAIT_SECONDS)

    def _pods(self) -> Iterable[Object]:
        return self._told.pods() if self._told is not None else ()

    def _devices_changed(self, uids: set[str]) -> None:
        if self._told is not None:
            self._told.offer()
            self._look_at(uids)

    def _driver_changed(self, name: str) -> None:
        if self._told is not None:
            self._told.try_again()
            self._look_at(self.claims.users(name))

    def _look_at(self, uids: set[str]) -> None:
        for uid in sorted(uids):
            if self._told is not None:
                self._told.look_at(uid)
