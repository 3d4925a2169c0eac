"""Who plugs into this node: finds the sockets of drivers and hands them to whoever handles their type.

A driver puts a socket into `plugins_registry`; it is asked who it is, and told whether it was taken. When its socket is
gone, or is another one, so is the driver. Drivers that were there before the agent are found when it starts.

https://kubernetes.io/docs/reference/node/kubelet-files/#plugin-registration-sockets
"""

import asyncio
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node.plugins.inotify import Inotify
from sampan.node.plugins.places import Places

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 30.0
LOOK_SECONDS = 10.0

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A driver as it presents itself. `endpoint` is the socket of its service on this machine.

    `in_pod`: it names its paths as a pod sees them that has mounted the node's directory at /var/lib/kubelet.
    """

    type: str
    name: str
    endpoint: Path
    versions: tuple[str, ...]
    in_pod: bool = False


class Handler(Protocol):
    """Who handles one type of plugins. What `validate` or `register` raise is why it is refused."""

    async def validate(self, plugin: Plugin) -> None: ...
    async def register(self, plugin: Plugin) -> None: ...
    async def deregister(self, plugin: Plugin) -> None: ...


class Registry:
    """The plugins of one node."""

    def __init__(self, places: Places, clock: Clock, tasks: Tasks) -> None:
        """Looks for nothing before `start`."""
        self._places, self._clock, self._tasks = places, clock, tasks
        self._handlers: dict[str, Handler] = {}
        self._tried: dict[Path, Identity] = {}
        self._taken: dict[Path, Plugin] = {}
        self._changed = asyncio.Event()
        self._inotify: Inotify | None = None

    def handle(self, type: str, handler: Handler) -> None:
        """Has all plugins of the type handled: DevicePlugin, DRAPlugin, CSIPlugin."""
        self._handlers[type] = handler

    def start(self) -> None:
        """Finds what is there and what comes."""
        try:
            self._inotify = Inotify(self._places.registry, self._changed.set)
        except OSError as error:
            log.warning("plugins are looked for every %g s: %s", LOOK_SECONDS, error)
            self._tasks.spawn(self._look_now_and_then(), "looking for plugins")
        self._changed.set()
        self._tasks.spawn(self._follow(), "plugins")

    def close(self) -> None:
        """Watches no more."""
        if self._inotify is not None:
            self._inotify.close()

    async def _look_now_and_then(self) -> None:
        """Where the kernel tells nobody more what changes."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            found = _sockets(self._places.registry)
            for path in [path for path, identity in self._tried.items() if found.get(path) != identity]:
                del self._tried[path]
                await self._let_go(path)
            for path, identity in found.items():
                if path not in self._tried:
                    self._tried[path] = identity
                    self._tasks.spawn(self._introduce(path, identity), f"plugin {path.name}", critical=False)

    async def _let_go(self, path: Path) -> None:
        plugin = self._taken.pop(path, None)
        if plugin is not None:
            log.info("%s %s is gone", plugin.type, plugin.name)
            await self._forget(plugin)

    async def _forget(self, plugin: Plugin) -> None:
        try:
            await self._handlers[plugin.type].deregister(plugin)
        except Exception as error:  # noqa: BLE001 (one plugin is in no other's way)
            log.warning("%s %s: %r", plugin.type, plugin.name, error)

    async def _introduce(self, path: Path, identity: Identity) -> None:
        """Asks and tells until it is taken, or its socket is another one."""
        from sampan.node.rpc.client import Client

        seconds = FIRST_WAIT_SECONDS
        while self._tried.get(path) == identity:
            client = Client(path)
            try:
                if await self._take(client, path, identity):
                    return
            finally:
                client.close()
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, LONGEST_WAIT_SECONDS)

    async def _take(self, client: Any, path: Path, identity: Identity) -> bool:
        from sampan.node.plugins.registration_api import REGISTRATION
        from sampan.node.rpc.service import RpcError

        try:
            info = await client.call(REGISTRATION["GetInfo"], timeout_seconds=CALL_SECONDS)
        except RpcError as error:
            log.info("%s: %s", path, error)
            return False
        plugin = self._plugin(info, path)
        why = await self._refusal(plugin, path)
        if not why and self._tried.get(path) != identity:
            await self._forget(plugin)
            return True
        if not why:
            self._taken[path] = plugin
        try:
            answer = {"plugin_registered": not why, "error": why}
            await client.call(REGISTRATION["NotifyRegistrationStatus"], answer, timeout_seconds=CALL_SECONDS)
        except RpcError as error:
            log.info("%s: %s", path, error)
        return not why

    def _plugin(self, info: dict[str, Any], path: Path) -> Plugin:
        said = info["endpoint"]
        endpoint = self._places.on_host(said) if said else path
        in_pod = str(endpoint) != said and bool(said)
        return Plugin(info["type"], info["name"], endpoint, tuple(info["supported_versions"]), in_pod)

    async def _refusal(self, plugin: Plugin, path: Path) -> str:
        """Why the plugin isn't taken; nothing when it is."""
        handler = self._handlers.get(plugin.type)
        if handler is None:
            return f"no handler registered for plugin type: {plugin.type} at socket {path}"
        try:
            await handler.validate(plugin)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a plugin, it is told)
            return f"plugin validation failed with err: {error}"
        try:
            await handler.register(plugin)
        except Exception as error:  # noqa: BLE001 (the same)
            return f"plugin registration failed with err: {error}"
        log.info("%s %s at %s is registered", plugin.type, plugin.name, plugin.endpoint)
        return ""


def _sockets(root: Path) -> dict[Path, Identity]:
    """The sockets below the directory, but for hidden ones."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            if not name.startswith(".") and stat.S_ISSOCK(status.st_mode):
                found[path] = (status.st_ino, status.st_ctime_ns)
    return found
