"""Drivers for tests: a device plugin and a driver of dynamic resources, each a gRPC server of its own.

As a program it is a real one, in a process of its own: `python drivers.py device|dra DIRECTORY OPTIONS-AS-JSON`; it
writes what it was asked to DIRECTORY/calls, a line each.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from sampan.node.plugins import device_api, dra_api, registration_api
from sampan.node.rpc.client import Client
from sampan.node.rpc.server import Server
from sampan.node.rpc.service import RpcError

Tree = dict[str, Any]


class DevicePlugin:
    """Offers devices of one resource; `devices` is health by id. `calls` has what it was asked."""

    def __init__(self, folder: Path, resource: str, devices: dict[str, str], **options: Any) -> None:
        self.folder, self.resource, self.devices = folder, resource, devices
        self.options, self.response = options.get("options", {}), options.get("response", {})
        self.preferred, self.failure = options.get("preferred", []), options.get("failure", "")
        self.numa = options.get("numa", {})
        self.calls: list[tuple[str, Any]] = []
        self._changed = asyncio.Event()
        self._server: Server | None = None

    @property
    def socket(self) -> Path:
        return self.folder / f"{self.resource.replace('/', '-')}.sock"

    async def start(self) -> None:
        answers = {
            "GetDevicePluginOptions": self._options,
            "ListAndWatch": self._list,
            "GetPreferredAllocation": self._prefer,
            "Allocate": self._allocate,
            "PreStartContainer": self._pre_start,
        }
        self._server = Server({device_api.PLUGIN[name]: answer for name, answer in answers.items()})
        await self._server.listen(self.socket)

    async def register(self, **changes: Any) -> None:
        client = Client(self.folder / "kubelet.sock")
        request = {"version": "v1beta1", "endpoint": self.socket.name, "resource_name": self.resource}
        try:
            await client.call(
                device_api.REGISTRATION["Register"],
                {**request, "options": self.options, **changes},
                timeout_seconds=10,
            )
        finally:
            client.close()

    async def change(self, devices: dict[str, str]) -> None:
        self.devices = devices
        self._changed.set()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def _options(self, request: Tree) -> Tree:
        return dict(self.options)

    async def _list(self, request: Tree) -> Any:
        while True:
            self._changed.clear()
            yield {
                "devices": [
                    {"ID": id, "health": health, "topology": {"nodes": [{"ID": self.numa[id]}]} if self.numa else None}
                    for id, health in self.devices.items()
                ]
            }
            await self._changed.wait()

    async def _prefer(self, request: Tree) -> Tree:
        self.calls.append(("prefer", request["container_requests"]))
        return {"container_responses": [{"deviceIDs": self.preferred}]}

    async def _allocate(self, request: Tree) -> Tree:
        wanted = [each["devices_ids"] for each in request["container_requests"]]
        self.calls.append(("allocate", wanted))
        if self.failure:
            raise RpcError("Internal", self.failure)
        responses = []
        for ids in wanted:
            envs = {"DEVICES": ",".join(ids)} | self.response.get("envs", {})
            responses.append({**self.response, "envs": envs})
        return {"container_responses": responses}

    async def _pre_start(self, request: Tree) -> Tree:
        self.calls.append(("pre-start", request["devices_ids"]))
        return {}


class Registrant:
    """A driver that registers by a socket in the registry."""

    def __init__(self, socket: Path, info: Tree) -> None:
        self.socket, self.info = socket, info
        self.told: list[Tree] = []
        self.was_told = asyncio.Event()
        self._server: Server | None = None

    async def start(self) -> None:
        methods = registration_api.REGISTRATION
        self._server = Server({methods["GetInfo"]: self._who, methods["NotifyRegistrationStatus"]: self._tell})
        await self._server.listen(self.socket)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def _who(self, request: Tree) -> Tree:
        return self.info

    async def _tell(self, request: Tree) -> Tree:
        self.told.append(request)
        self.was_told.set()
        return {}


class DraDriver:
    """Prepares claims: each device gets the CDI names that `cdi` has for its claim's uid, or all."""

    def __init__(self, folder: Path, name: str, version: str = "v1", **options: Any) -> None:
        self.folder, self.name, self.version = folder, name, version
        self.devices, self.failure = options.get("devices", []), options.get("failure", "")
        self.cdi, self.calls_file = options.get("cdi"), options.get("calls_file")
        self.health: list[Tree] | None = options.get("health")
        self.calls: list[tuple[str, list[str]]] = []
        self._health_changed = asyncio.Event()
        endpoint = folder / "plugins" / name / "dra.sock"
        services = [f"{version}.DRAPlugin"] + ([dra_api.HEALTH_SERVICE] if self.health is not None else [])
        said = options.get("endpoint") or str(endpoint)
        info = {"type": "DRAPlugin", "name": name, "endpoint": said, "supported_versions": services}
        self.registrant = Registrant(folder / "plugins_registry" / f"{name}-reg.sock", info)
        self.endpoint = endpoint
        self._server: Server | None = None

    async def start(self) -> None:
        methods = dra_api.SERVICES[f"{self.version}.DRAPlugin"]
        answers: Any = {
            methods["NodePrepareResources"]: self._prepare,
            methods["NodeUnprepareResources"]: self._unprepare,
            dra_api.HEALTH["NodeWatchResources"]: self._watch,
        }
        self._server = Server(answers)
        await self._server.listen(self.endpoint)
        await self.registrant.start()

    async def stop(self) -> None:
        await self.registrant.stop()
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def tell_health(self, health: list[Tree]) -> None:
        self.health = health
        self._health_changed.set()

    def _note(self, what: str, request: Tree) -> None:
        self.calls.append((what, [claim["name"] for claim in request["claims"]]))
        if self.calls_file:
            with Path(self.calls_file).open("a") as file:
                file.write(f"{what} {' '.join(claim['name'] for claim in request['claims'])}\n")

    async def _prepare(self, request: Tree) -> Tree:
        self._note("prepare", request)
        if self.cdi:
            Path(self.cdi[0]).parent.mkdir(parents=True, exist_ok=True)
            Path(self.cdi[0]).write_text(json.dumps(self.cdi[1]))
        answer: Tree = {"devices": self.devices}
        if self.failure:
            answer = {"error": self.failure}
        return {"claims": {claim["uid"]: answer for claim in request["claims"]}}

    async def _unprepare(self, request: Tree) -> Tree:
        self._note("unprepare", request)
        answer = {"error": self.failure} if self.failure else {}
        return {"claims": {claim["uid"]: answer for claim in request["claims"]}}

    async def _watch(self, request: Tree) -> Any:
        while True:
            self._health_changed.clear()
            yield {"devices": self.health or []}
            await self._health_changed.wait()


async def _serve_devices(folder: Path, options: Tree) -> None:
    """As device plugins do: whenever there is another node agent, or the socket is gone, everything anew."""
    plugin, known = DevicePlugin(folder, **options), 0
    while True:
        with contextlib.suppress(OSError, RpcError):
            agent = (folder / "kubelet.sock").stat().st_ino
            if agent != known or not plugin.socket.exists():
                await plugin.stop()
                await plugin.start()
                await plugin.register()
                known = agent
        await asyncio.sleep(0.05)


async def _serve(kind: str, folder: Path, options: Tree) -> None:
    if kind == "device":
        await _serve_devices(folder, options)
    await DraDriver(folder, **options).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])))
