"""Device plugins: follows what they list, has them allocate for containers, and remembers who has what.

A plugin registers at `device-plugins/kubelet.sock`, or by a socket in the registry. While it is away its devices are
not well; after five minutes there are none of them.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
"""

import asyncio
import contextlib
import logging
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node import podspec
from sampan.node.env import ConfigError
from sampan.node.given import NOTHING, Given
from sampan.node.plugins import book, checkpoint, given
from sampan.node.plugins.book import Book, Had, Owner, Unavailable
from sampan.node.plugins.places import Places
from sampan.node.plugins.registry import Plugin
from sampan.node.rpc.door import Door

log = logging.getLogger(__name__)

VERSION = "v1beta1"
SOCKET = "kubelet.sock"
CHECKPOINT = "kubelet_internal_checkpoint"
AWAY_SECONDS = 300.0
CALL_SECONDS = 30.0

Object = dict[str, Any]


@dataclass(eq=False, slots=True)
class _Endpoint:
    """A plugin's service. `options` are None until it was asked for them."""

    name: str
    path: Path
    client: Any
    options: Mapping[str, Any] | None
    task: asyncio.Task[None] | None = None


class DevicePlugins:
    """Of one node. `changed(uids)` is called when the node has other devices; `uids` are of pods whose devices changed."""

    def __init__(self, places: Places, clock: Clock, tasks: Tasks, changed: Callable[[set[str]], None]) -> None:
        """Nothing is there before `start`."""
        self.book = Book()
        self._places, self._clock, self._tasks, self._changed = places, clock, tasks, changed
        self._endpoints: dict[str, _Endpoint] = {}
        self._allocating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._checkpoint = places.device_plugins / CHECKPOINT
        self._door = Door(places.device_plugins / SOCKET, self._answers)

    def start(self) -> None:
        """Remembers, and lets plugins register; those of an earlier agent see by their sockets' end that they have to."""
        if saved := checkpoint.load(self._checkpoint):
            self.book.restore(saved)
            for name in list(self.book.resources):
                self._tasks.spawn(self._forget_later(name, None), f"devices of {name}", critical=False)
        for path in self._places.device_plugins.iterdir():
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink(missing_ok=True)
        self._door.open(self._tasks)

    async def close(self) -> None:
        """Lets go of all plugins."""
        await self._door.close()
        for endpoint in self._endpoints.values():
            endpoint.client.close()

    async def validate(self, plugin: Plugin) -> None:
        """Whether a plugin from the registry can be one."""
        if VERSION not in plugin.versions:
            raise ValueError(f"manager does not support versions: {', '.join(plugin.versions)}")
        if not book.is_valid(plugin.name):
            raise ValueError(f'invalid name of device plugin socket: the ResourceName "{plugin.name}" is invalid')

    async def register(self, plugin: Plugin) -> None:
        """Takes one from the registry."""
        self._connect(plugin.name, plugin.endpoint, None)

    async def deregister(self, plugin: Plugin) -> None:
        """It goes with its socket."""
        endpoint = self._endpoints.get(plugin.name)
        if endpoint is not None and endpoint.path == plugin.endpoint:
            endpoint.client.close()

    def _answers(self) -> Mapping[Any, Any]:
        from sampan.node.plugins.device_api import REGISTRATION

        return {REGISTRATION["Register"]: self._register}

    async def _register(self, request: Object) -> Object:
        from sampan.node.rpc.service import RpcError

        version, name = request["version"], request["resource_name"]
        if version != VERSION:
            text = f'requested API version "{version}" is not supported by kubelet. Supported version is "{VERSION}"'
            raise RpcError("Unknown", text)
        if not book.is_valid(name):
            raise RpcError("Unknown", f'the ResourceName "{name}" is invalid')
        path = self._places.device_plugins / Path(request["endpoint"]).name
        self._connect(name, path, request["options"] or {})
        return {}

    def _connect(self, name: str, path: Path, options: Mapping[str, Any] | None) -> None:
        from sampan.node.rpc.client import Client

        log.info("device plugin for %s registers with %s", name, path.name)
        before = self._endpoints.pop(name, None)
        if before is not None:
            before.client.close()
            if before.task is not None:
                before.task.cancel()
        endpoint = self._endpoints[name] = _Endpoint(name, path, Client(path), options)
        endpoint.task = self._tasks.spawn(self._follow(endpoint), f"devices of {name}", critical=False)

    async def _follow(self, endpoint: _Endpoint) -> None:
        """What it lists, for as long as it does."""
        from sampan.node.plugins.device_api import PLUGIN
        from sampan.node.rpc.service import RpcError

        try:
            if endpoint.options is None:
                call = endpoint.client.call(PLUGIN["GetDevicePluginOptions"], timeout_seconds=CALL_SECONDS)
                endpoint.options = await call
            async for answer in endpoint.client.stream(PLUGIN["ListAndWatch"]):
                is_new = endpoint.name not in self.book.resources
                self.book.update(endpoint.name, answer["devices"])
                if is_new:
                    self._keep()
                self._tell(endpoint.name)
        except RpcError as error:
            log.warning("device plugin for %s: %s", endpoint.name, error)
        endpoint.client.close()
        self.book.lose(endpoint.name)
        self._tell(endpoint.name)
        await self._forget_later(endpoint.name, endpoint)

    async def _forget_later(self, name: str, endpoint: _Endpoint | None) -> None:
        await self._clock.sleep(AWAY_SECONDS)
        if self._endpoints.get(name) is endpoint:
            self._endpoints.pop(name, None)
            self.book.forget(name)
            self._keep()
            self._tell(name)

    def _tell(self, name: str) -> None:
        self._changed({uid for (uid, _), had in self.book.had.items() if name in had})

    async def allocate(self, pod: Object) -> None:
        """Each of the pod's containers has its devices. Raises Unavailable."""
        if not self.book.has_wishes(pod) or self._is_served(pod):
            return
        async with self._alone(pod):
            reusable: dict[str, set[str]] = {}
            try:
                inits = podspec.init_containers(pod)
                for container in (*inits, *podspec.app_containers(pod)):
                    await self._allocate_for(pod, container, reusable)
                    is_over = container in inits and not podspec.is_sidecar(container)
                    for name, had in self.book.had.get(_owner(pod, container), {}).items():
                        free = reusable.setdefault(name, set())
                        (free.update if is_over else free.difference_update)(had.devices)
            finally:
                self._save()

    @contextlib.asynccontextmanager
    async def _alone(self, pod: Object) -> AsyncIterator[None]:
        """Nobody else is given any of what the pod asks for; a plugin that hangs keeps nobody else waiting."""
        asked = {
            name
            for _, container in podspec.all_containers(pod)
            for name, needed in self.book.wanted(container).items()
            if needed
        }
        async with contextlib.AsyncExitStack() as stack:
            for name in sorted(asked):
                await stack.enter_async_context(self._allocating.setdefault(name, asyncio.Lock()))
            yield

    def _is_served(self, pod: Object) -> bool:
        """Whether all of its containers have their devices, as an earlier agent has seen to."""
        return all(
            not needed or len(self.book.devices(_owner(pod, container), name) or ()) == needed
            for _, container in podspec.all_containers(pod)
            for name, needed in self.book.wanted(container).items()
        )

    async def _allocate_for(self, pod: Object, container: Object, reusable: Mapping[str, set[str]]) -> None:
        owner = _owner(pod, container)
        for name, needed in self.book.wanted(container).items():
            if not needed:
                continue
            choices, first = self.book.available(owner, name, needed, reusable.get(name, ()))
            if choices:
                chosen = await self._chosen(name, choices, first, needed)
                self.book.give(owner, name, Had(chosen, await self._allocated(name, chosen)))

    async def _chosen(self, name: str, choices: list[str], first: list[str], needed: int) -> list[str]:
        """Which devices it is to be: those that the plugin prefers, if it is to be asked."""
        endpoint = self._endpoints.get(name)
        preferred: list[str] = []
        wants = endpoint is not None and (endpoint.options or {}).get("get_preferred_allocation_available")
        if len(first) < needed and wants:
            request = {"available_deviceIDs": choices, "must_include_deviceIDs": first, "allocation_size": needed}
            answer = await self._call(name, "GetPreferredAllocation", {"container_requests": [request]})
            for each in answer["container_responses"][:1]:
                preferred = [device for device in each["deviceIDs"] if device in choices]
        return list(dict.fromkeys([*first, *preferred, *choices]))[:needed]

    async def _allocated(self, name: str, chosen: list[str]) -> Object:
        """What the plugin says is to be done for a container that has these."""
        answer = await self._call(name, "Allocate", {"container_requests": [{"devices_ids": chosen}]})
        if not answer["container_responses"]:
            raise Unavailable("no containers return in allocation response")
        found: Object = answer["container_responses"][0]
        return found

    async def _call(self, name: str, method: str, request: Object) -> Object:
        from sampan.node.plugins.device_api import PLUGIN
        from sampan.node.rpc.service import RpcError

        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise Unavailable(f"unknown Device Plugin {name}")
        try:
            answer: Object = await endpoint.client.call(PLUGIN[method], request, timeout_seconds=CALL_SECONDS)
        except RpcError as error:
            raise Unavailable(str(error)) from None
        return answer

    async def given(self, pod: Object, container: Object) -> Given:
        """What a container that starts now gets for its devices. Raises ConfigError."""
        wanted = self.book.wanted(container)
        if not any(wanted.values()):
            return NOTHING
        owner = _owner(pod, container)
        try:
            if any(self.book.devices(owner, name) is None for name, needed in wanted.items() if needed):
                await self.allocate(pod)
            for name, needed in wanted.items():
                options = getattr(self._endpoints.get(name), "options", None) or {}
                if needed and options.get("pre_start_required"):
                    await self._call(name, "PreStartContainer", {"devices_ids": self.book.devices(owner, name)})
        except Unavailable as error:
            raise ConfigError(str(error)) from None
        responses = (had.response for _, had in sorted(self.book.had.get(owner, {}).items()))
        return given.of_responses(responses, self._places)

    def release(self, pod_uid: str) -> None:
        """The pod has no devices any more."""
        if self.book.release(pod_uid):
            self._keep()

    def _save(self) -> None:
        """Raises Unavailable."""
        try:
            checkpoint.save(self._checkpoint, self.book.saved())
        except OSError as error:
            raise Unavailable(f"failed to write checkpoint file {CHECKPOINT}: {error}") from None

    def _keep(self) -> None:
        """The same where nobody can be told of a failure; the next change is saved with all others."""
        try:
            self._save()
        except Unavailable as error:
            log.warning("%s", error)


def _owner(pod: Object, container: Object) -> Owner:
    return pod["metadata"]["uid"], container["name"]
