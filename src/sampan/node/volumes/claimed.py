"""Claimed volumes: where the persistent volume behind a claim lies on this node: a path of the host, or a folder of ours.

https://kubernetes.io/docs/concepts/storage/volumes/#local
"""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sampan.node.volumes import host_path
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]


def prepare(volume: Object, ours: Path, pod: Object) -> Path:
    """The path, once it is as it should be. `ours` is where the folders are that we make. Raises VolumeFailure."""
    spec, name = volume["spec"], volume["metadata"]["name"]
    if spec.get("volumeMode") == "Block":
        raise VolumeFailure(f'volume "{name}": block volumes are not supported')
    if spec.get("hostPath"):
        return host_path.prepare(spec["hostPath"])
    if not spec.get("local"):
        other = next((kind for kind in spec if kind in _SOURCES), "unknown")
        raise VolumeFailure(f'volume "{name}": volumes of type {other} are not supported')
    path = Path(spec["local"]["path"])
    if path.parent == ours and not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o777)
    if not path.exists():
        text = f'MountVolume.NewMounter initialization failed for volume "{name}" : path "{path}" does not exist'
        raise VolumeFailure(text)
    if not path.is_dir():
        raise VolumeFailure(f'volume "{name}": {path} is not a directory')
    security = pod["spec"].get("securityContext") or {}
    if security.get("fsGroup") is not None:
        _give(path, int(security["fsGroup"]), everything=security.get("fsGroupChangePolicy") != "OnRootMismatch")
    return path


def discard(ours: Path, name: str) -> None:
    """Deletes the folder of a volume that is over. Repeating is harmless."""
    folder = ours / name
    if folder.is_dir():
        shutil.rmtree(folder)


def _give(folder: Path, group: int, *, everything: bool) -> None:
    """All in the folder belongs to the group, which may do there what the owner may."""
    found = folder.stat()
    if not everything and found.st_gid == group and found.st_mode & _OF_FOLDERS == _OF_FOLDERS:
        return
    for _, names, files, here in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*names, *files):
            mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
            os.chown(name, -1, group, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                os.chmod(name, _shared(mode), dir_fd=here)
    os.chown(folder, -1, group)
    folder.chmod(_shared(found.st_mode))


_OF_FOLDERS = stat.S_ISGID | stat.S_IRWXG


def _shared(mode: int) -> int:
    return stat.S_IMODE(mode) | (_OF_FOLDERS if stat.S_ISDIR(mode) else stat.S_IRGRP | stat.S_IWGRP)


_SOURCES = frozenset(
    (
        "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
        "gcePersistentDisk", "glusterfs", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd",
        "scaleIO", "storageos", "vsphereVolume",
    )
)  # fmt: skip
