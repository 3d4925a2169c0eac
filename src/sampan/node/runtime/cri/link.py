"""The way to a container runtime that speaks CRI: its socket, what it is, and why it can't be used."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.node.rpc.client import NOTHING, Client
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import apparmor
from sampan.node.runtime.cri import api
from sampan.node.runtime.protocol import Features, RuntimeGone, RuntimeUnusable

Tree = dict[str, Any]

CALL_SECONDS = 120.0
_OLDEST_CONTAINERD = (1, 6)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the runtime said of itself."""

    name: str
    version: str
    is_network_ready: bool
    settings: Mapping[str, Any]
    """Its CRI plugin's configuration, as containerd tells it."""
    cni: Mapping[str, Any]
    handlers: Mapping[str, Features]
    """What a RuntimeClass may name; "" is the usual one."""
    strict_groups: bool = False
    cdi: bool = False

    @property
    def cni_folders(self) -> tuple[str, str]:
        """Where it looks for network configurations, and for their programs. Raises RuntimeUnusable."""
        cni = self.settings.get("cni") or {}
        if not (cni.get("confDir") and cni.get("binDir")):
            raise RuntimeUnusable(f"{self.name} {self.version} does not say where its CNI plugins are: use containerd")
        return cni["confDir"], cni["binDir"]

    @property
    def sandbox_image(self) -> str:
        """What a pod's first process is made of."""
        return str(self.settings.get("sandboxImage") or "")


class Link:
    """Calls to the runtime behind a socket. `close` it in the end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._client = Client(path)
        self.is_closed = False

    async def call(self, method: str, request: Mapping[str, Any] = NOTHING, seconds: float = CALL_SECONDS) -> Tree:
        """The answer. Raises RpcError."""
        if self.is_closed:
            raise RpcError("Canceled", "the connection was closed")
        return await self._client.call(api.METHODS[method], request, timeout_seconds=seconds)

    def close(self) -> None:
        """Ends the connection; nothing opens it again.

        Who waits for an answer just then is told that there is none, even if he is cancelled in the same moment: whoever
        asks for ever looks at `is_closed`.
        """
        self.is_closed = True
        self._client.close()

    async def facts(self) -> Facts:
        """What it is. Raises RuntimeUnusable when it can't be used."""
        where = f"unix://{self.path}"
        try:
            version = await self.call("Version", {"version": "0.1.0"}, 10.0)
            status = await self.call("Status", {"verbose": True}, 10.0)
        except RpcError as error:
            raise _unusable(where, self.path, error) from error
        found = _facts(version, status)
        _check(found, where)
        return found


def _facts(version: Tree, status: Tree) -> Facts:
    conditions = {each["type"]: each["status"] for each in status["status"]["conditions"]}
    settings = _json(status["info"].get("config"))
    return Facts(
        version["runtime_name"],
        version["runtime_version"],
        bool(conditions.get("NetworkReady")),
        settings,
        _json(status["info"].get("cniconfig")),
        _handlers(status["runtime_handlers"], settings),
        strict_groups=bool((status["features"] or {}).get("supplemental_groups_policy")),
        cdi=bool(settings.get("enableCDI")),
    )


def _handlers(told: Sequence[Tree], settings: Tree) -> dict[str, Features]:
    """Runtimes since containerd 2.0 say what each can do; before, they can do neither."""
    names = ["", *((settings.get("containerd") or {}).get("runtimes") or {})]
    can = {each["name"]: (each["features"] or {}) for each in told}
    has_apparmor = apparmor.is_enabled()
    return {name: Features(bool(can.get(name, {}).get("recursive_read_only_mounts")), has_apparmor) for name in names}


def _json(text: str | None) -> Tree:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _unusable(where: str, path: str, error: RpcError) -> RuntimeUnusable:
    if not os.path.exists(path):
        return RuntimeGone(f"there is no socket at {where}: is containerd running? (systemctl start containerd)")
    if error.code == "Unimplemented":
        return RuntimeUnusable(
            f'the runtime at {where} does not offer CRI v1 ({error.message}): take "cri" out of disabled_plugins in '
            "/etc/containerd/config.toml, or install containerd 1.6 or newer, and restart it"
        )
    found = RuntimeUnusable if _is_heard(path) else RuntimeGone
    return found(f"the runtime at {where} does not answer: {error}")


def _is_heard(path: str) -> bool:
    """Whether somebody listens at a socket, though he may not answer."""
    with socket.socket(socket.AF_UNIX) as way:
        way.setblocking(False)
        try:
            way.connect(path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def _check(facts: Facts, where: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.version)[:2])
    if facts.name == "containerd" and numbers < _OLDEST_CONTAINERD:
        raise RuntimeUnusable(f"containerd {facts.version} at {where} is older than 1.6: install a newer one")
    runtimes = (facts.settings.get("containerd") or {}).get("runtimes") or {}
    runc = (runtimes.get("runc") or {}).get("options") or {}
    if facts.settings.get("systemdCgroup") or runc.get("SystemdCgroup"):
        raise RuntimeUnusable(
            f"the runtime at {where} leaves cgroups to systemd: set SystemdCgroup = false in "
            "/etc/containerd/config.toml and restart it"
        )


def check(endpoint: str) -> Facts:
    """What the runtime at `unix:///...` is, for who has no event loop. Raises RuntimeUnusable."""

    async def look() -> Facts:
        link = Link(endpoint.removeprefix("unix://"))
        try:
            return await link.facts()
        finally:
            link.close()

    return asyncio.run(look())
