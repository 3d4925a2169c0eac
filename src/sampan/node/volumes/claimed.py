"""Claimed volumes: where the persistent volume behind a claim lies on this node: a path of the host, or a folder of ours.

https://kubernetes.io/docs/concepts/storage/volumes/#local
"""

import shutil
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from sampan.meta import quantity
from sampan.node.volumes import aside, host_path, loops, mounted, ownership
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]


def prepare(volume: Object, ours: Path, pod: Object, errand: aside.Errand) -> Path:
    """The path, once it is as it should be. `ours` is where the folders are that we make. Raises VolumeFailure. Blocks."""
    spec, name = volume["spec"], volume["metadata"]["name"]
    if spec.get("volumeMode") == "Block":
        return _device(volume)
    if spec.get("hostPath"):
        return host_path.prepare(spec["hostPath"])
    if not spec.get("local"):
        other = next((kind for kind in spec if kind in _SOURCES), "unknown")
        raise VolumeFailure(f'volume "{name}": volumes of type {other} are not supported')
    path = Path(spec["local"]["path"])
    with aside.alone(path):
        if path.parent == ours and not path.exists():
            errand.go_on()
            path.mkdir(parents=True)
            path.chmod(0o777)
        if not path.exists():
            text = f'MountVolume.NewMounter initialization failed for volume "{name}" : path "{path}" does not exist'
            raise VolumeFailure(text)
        if not path.is_dir():
            raise VolumeFailure(f'volume "{name}": {path} is not a directory')
        _give(path, volume, pod, errand)
    return path


def is_mounted_by_program(volume: Object) -> bool:
    """Whether it is an export of a server, or a disk with a file system."""
    spec = volume["spec"]
    is_local = spec.get("volumeMode") != "Block" and spec.get("local")
    return bool(spec.get("nfs") or (is_local and Path(spec["local"]["path"]).is_block_device()))


def mounting(volume: Object, folder: Path) -> Awaitable[Path]:
    """How such a volume is mounted at the folder."""
    spec = volume["spec"]
    options = spec.get("mountOptions") or ()
    if spec.get("nfs"):
        return mounted.nfs(spec["nfs"], options, folder)
    return mounted.disk(Path(spec["local"]["path"]), spec["local"].get("fsType") or "", options, folder)


def give_disk(folder: Path, volume: Object, pod: Object, errand: aside.Errand) -> None:
    """What was mounted at the folder, to the pod's group, if it can be given. Blocks."""
    local = volume["spec"].get("local")
    if local:
        with errand.outside(), aside.alone(Path(local["path"])):
            _give(folder, volume, pod, errand)


def _give(folder: Path, volume: Object, pod: Object, errand: aside.Errand) -> None:
    """To the pod's group, if it has one."""
    security = pod["spec"].get("securityContext") or {}
    if security.get("fsGroup") is None:
        return
    everything = security.get("fsGroupChangePolicy") != "OnRootMismatch"
    ownership.give(folder, int(security["fsGroup"]), errand, everything=everything)


def _device(volume: Object) -> Path:
    """The block device behind the volume. Raises VolumeFailure."""
    spec, name = volume["spec"], volume["metadata"]["name"]
    if not spec.get("local"):
        kind = next((kind for kind in spec if kind in _SOURCES or kind == "hostPath"), "unknown")
        raise VolumeFailure(f'volume "{name}": volumes of type {kind} can not be block devices')
    path = Path(spec["local"]["path"])
    if not path.is_block_device():
        raise VolumeFailure(f'MapVolume.SetUpDevice failed for volume "{name}" : {path} is not a block device')
    return path


def is_folder_of(volume: Object, ours: Path) -> bool:
    """Whether the volume is a folder that we make."""
    spec = volume["spec"]
    return spec.get("volumeMode") != "Block" and Path((spec.get("local") or {}).get("path") or "/").parent == ours


def is_device_of(volume: Object, ours: Path) -> bool:
    """Whether the volume is a device over a file that we make."""
    spec = volume["spec"]
    return spec.get("volumeMode") == "Block" and Path((spec.get("local") or {}).get("path") or "/").parent == ours


def size(volume: Object) -> int:
    """In bytes, by its object."""
    return quantity.to_int((volume["spec"].get("capacity") or {}).get("storage") or "0")


def discard(ours: Path, name: str) -> None:
    """Deletes the folder or the file of a volume that is over. Repeating is harmless. Blocks."""
    place = ours / name
    with aside.alone(place):
        if place.is_dir():
            shutil.rmtree(place)
        elif place.exists():
            loops.detach(place)
            place.unlink()


_SOURCES = frozenset(
    (
        "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
        "gcePersistentDisk", "glusterfs", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd",
        "scaleIO", "storageos", "vsphereVolume",
    )
)  # fmt: skip
