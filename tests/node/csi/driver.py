"""A storage driver whose volumes are folders, or loop devices over files: identity and node service, and registration.

As a process: `python -m tests.node.csi.driver --name N --sockets DIR --registry DIR --base DIR --node ID`. A volume's folder
must be in the base before it is staged: that is what a controller would have made. It keeps no state but mounts.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from sampan.node.csi import wire
from sampan.node.plugins.registration_api import REGISTRATION
from sampan.node.rpc.server import Server
from sampan.node.rpc.service import RpcError

EVERYTHING = (wire.STAGE, wire.STATS, wire.EXPAND, wire.SINGLE_NODE_MULTI_WRITER)


class Driver:
    """With `mounts` it binds folders as drivers do, which needs root; else it makes folders and links."""

    def __init__(self, base, node="node-1", *, abilities=EVERYTHING, mounts=True, topology=None, limit=0):
        self.base, self.node, self.abilities, self.mounts = Path(base), node, abilities, mounts
        self.topology, self.limit = topology or {}, limit
        self.calls = []  # (method, request)
        self.failing = {}  # method -> RpcError
        self.hooks = {}  # method -> coroutine function, called once the work is done and before the answer

    def answers(self):
        names = [name for name in wire.NODE if hasattr(self, name)]
        found = {wire.NODE[name]: self._answer(name) for name in names}
        return {**found, wire.IDENTITY["GetPluginInfo"]: self._info}

    def made(self, method=None):
        """The calls' methods, or the requests of one."""
        if method is None:
            return [name for name, _ in self.calls if name not in ("NodeGetInfo", "NodeGetCapabilities")]
        return [request for name, request in self.calls if name == method]

    async def _info(self, request):
        return {"name": "dir.test", "vendor_version": "1.0.0"}

    def _answer(self, name):
        async def answer(request):
            self.calls.append((name, request))
            log = self.base / "calls.jsonl"
            with log.open("a") as file:
                file.write(json.dumps([name, request]) + "\n")
            if name in self.failing:
                raise self.failing[name]
            found = getattr(self, name)(request) or {}
            if name in self.hooks:
                await self.hooks[name]()
            return found

        return answer

    def NodeGetInfo(self, request):
        answer = {"node_id": self.node, "max_volumes_per_node": self.limit}
        return {**answer, "accessible_topology": {"segments": self.topology}} if self.topology else answer

    def NodeGetCapabilities(self, request):
        return {"capabilities": [{"rpc": {"type": number}} for number in self.abilities]}

    def NodeStageVolume(self, request):
        self._mount(self._folder(request["volume_id"]), Path(request["staging_target_path"]), "staged")

    def NodeUnstageVolume(self, request):
        self._unmount(Path(request["staging_target_path"]))
        Path(request["staging_target_path"]).mkdir(exist_ok=True)  # the path is the caller's

    def NodePublishVolume(self, request):
        target = Path(request["target_path"])
        if not target.parent.is_dir():
            raise RpcError("Internal", f"{target.parent} is not there")
        inline = request["volume_context"].get("csi.storage.k8s.io/ephemeral") == "true"
        source = self.base / request["volume_id"] if inline else self._folder(request["volume_id"])
        source.mkdir(exist_ok=True)
        if inline:
            (source / "hello").write_text(request["volume_context"].get("text", ""))
        (source / "context.json").write_text(json.dumps(request["volume_context"]))
        if request["volume_capability"]["block"] is not None:
            self._map(source / "disk", target)
        else:
            self._mount(source, target, "published", read_only=request["readonly"])

    def NodeUnpublishVolume(self, request):
        target = Path(request["target_path"])
        self._unmount(target)
        if target.is_file() or target.is_block_device():
            target.unlink()

    def NodeExpandVolume(self, request):
        size = request["capacity_range"]["required_bytes"]
        (self._folder(request["volume_id"]) / "size").write_text(str(size))
        return {"capacity_bytes": size}

    def NodeGetVolumeStats(self, request):
        found = os.statvfs(request["volume_path"])
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        return {"usage": [{"available": free, "total": total, "used": total - free, "unit": wire.BYTES}]}

    def _folder(self, volume):
        folder = self.base / volume
        if not folder.is_dir():
            raise RpcError("NotFound", f"volume {volume} does not exist")
        return folder

    def _mount(self, source, target, mark, *, read_only=False):
        target.mkdir(exist_ok=True)
        if not self.mounts:
            (target / mark).touch()
        elif not target.is_mount():
            subprocess.run(["mount", "--bind", source, target], check=True)
            if read_only:
                subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)

    def _map(self, disk, target):
        """A loop device over the volume's file, bound to the target."""
        if target.is_block_device():
            return
        device = subprocess.run(
            ["losetup", "--show", "-f", disk], capture_output=True, text=True, check=True
        ).stdout.strip()
        target.touch()
        subprocess.run(["mount", "--bind", device, target], check=True)

    def _unmount(self, target):
        device = None
        if self.mounts and target.is_block_device():
            number = os.minor(target.stat().st_rdev)
            device = f"/dev/loop{number}"
        while self.mounts and subprocess.run(["umount", target], capture_output=True, check=False).returncode == 0:
            pass
        if device:
            subprocess.run(["losetup", "-d", device], check=True)
        if target.is_dir():
            shutil.rmtree(target) if not self.mounts else target.rmdir()


async def serve(name, sockets, registry, driver):
    """Until SIGTERM."""
    endpoint = sockets / "csi.sock"

    async def who(request):
        return {"type": "CSIPlugin", "name": name, "endpoint": str(endpoint), "supported_versions": ["1.0.0"]}

    async def noted(request):
        return {}

    csi = Server(driver.answers())
    registration = Server({REGISTRATION["GetInfo"]: who, REGISTRATION["NotifyRegistrationStatus"]: noted})
    await csi.listen(endpoint)
    await registration.listen(registry / f"{name}-reg.sock")
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    print("ready", flush=True)
    await over.wait()
    await registration.close()
    await csi.close()


def main():
    parser = argparse.ArgumentParser()
    for option in ("name", "sockets", "registry", "base", "node"):
        parser.add_argument(f"--{option}", required=True)
    chosen = parser.parse_args()
    driver = Driver(Path(chosen.base), chosen.node, topology={"topology.dir.test/node": chosen.node}, limit=7)
    asyncio.run(serve(chosen.name, Path(chosen.sockets), Path(chosen.registry), driver))


if __name__ == "__main__":
    main()
