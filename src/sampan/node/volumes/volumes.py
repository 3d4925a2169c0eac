"""Volumes: makes a pod's volumes on this node, keeps their files current, and takes them away.

Under `root/<pod uid>/volumes/<volume name>`. Nothing here asks the API: configuration and tokens are
handed over (sources.py says which). Secrets and tokens are only ever in memory. The calls block: file
work is done in a thread, and cancelled callers' work is finished.
"""

import asyncio
import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sampan.kinds.parts import pod_claims
from sampan.kit.clock import Clock
from sampan.meta import quantity, timestamps
from sampan.node.runtime import overlay
from sampan.node.volumes import claimed, host_path, mounts, payload, subpath, writer
from sampan.node.volumes.failure import VolumeFailure
from sampan.node.volumes.sources import Sources

Object = Mapping[str, Any]


class Volumes:
    """The volumes of one node's pods below `root`, which belongs to root alone, and those that outlive pods in `local`."""

    def __init__(self, root: Path, local: Path, clock: Clock) -> None:
        self._root, self._local = root, local
        self._clock = clock
        self._serial = itertools.count()

    async def prepare(self, pod: Object, given: Sources) -> dict[str, str]:
        """Host path of each volume of the pod, by volume name.

        Called again with newer sources it updates the files in one step. VolumeFailure says what is missing.
        """
        return await asyncio.to_thread(self._prepare, pod, given)

    async def mount_subpath(self, pod_uid: str, volume_path: str, inner: str, *, slot: str) -> str:
        """A path of ours that shows `inner` of the volume; `slot` is unique in the pod (container and number)."""
        target = self._pod_folder(pod_uid) / "subpaths" / _safe(slot)
        await asyncio.to_thread(subpath.bind, Path(volume_path), inner, target)
        return str(target)

    async def teardown(self, pod_uid: str) -> None:
        """Unmount and delete all of the pod's volumes. Repeating is harmless."""
        await asyncio.to_thread(self._teardown, pod_uid)

    async def discard(self, name: str) -> None:
        """Deletes the folder of a persistent volume that is over. Repeating is harmless."""
        await asyncio.to_thread(claimed.discard, self._local, _safe(name))

    def pods(self) -> set[str]:
        """The uids of the pods that have something here, also after a restart."""
        return {path.name for path in self._root.iterdir()} if self._root.is_dir() else set()

    def _prepare(self, pod: Object, given: Sources) -> dict[str, str]:
        volumes = pod["spec"].get("volumes") or ()
        refusal = payload.unsupported(volumes)
        if refusal:
            raise VolumeFailure(refusal)
        return {volume["name"]: str(self._prepare_one(pod, volume, given)) for volume in volumes}

    def _prepare_one(self, pod: Object, volume: Object, given: Sources) -> Path:
        name = volume["name"]
        try:
            if "hostPath" in volume:
                return host_path.prepare(volume["hostPath"])
            if (claim := pod_claims.name_of(pod, volume)) is not None:
                return claimed.prepare(given.volumes[claim], self._local, pod)
            folder = self._pod_folder(pod["metadata"]["uid"]) / "volumes" / _safe(name)
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            if "image" in volume:
                _prepare_image(folder, given.images.get(name))
                return folder
            files = payload.of_volume(pod, volume, given)
            if files is None:
                _prepare_empty(folder, volume.get("emptyDir") or {}, group)
            else:
                _prepare_files(folder, in_memory="configMap" not in volume and "downwardAPI" not in volume)
                writer.write(folder, files, self._stamp(), group)
        except VolumeFailure as failure:
            raise VolumeFailure(f'MountVolume.SetUp failed for volume "{name}" : {failure}', failure.reason) from None
        except OSError as error:
            raise VolumeFailure(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        return folder

    def _teardown(self, pod_uid: str) -> None:
        folder = self._pod_folder(pod_uid)
        mounts.unmount_below(folder)
        if mounts.mounted_below(folder):
            raise OSError(f"still mounted below {folder}")
        if folder.exists():
            shutil.rmtree(folder)

    def _pod_folder(self, pod_uid: str) -> Path:
        return self._root / _safe(pod_uid)

    def _stamp(self) -> str:
        moment = timestamps.format(self._clock.now()).translate(str.maketrans("-T:", "___", "Z"))
        return f"{moment}.{os.getpid()}{next(self._serial):09d}"


def _prepare_empty(folder: Path, spec: Object, group: int | None) -> None:
    """A folder anyone may write to; made once, so that restarts of containers find what they left."""
    if folder.exists() and (spec.get("medium") != "Memory" or mounts.is_mounted(folder)):
        return
    medium = spec.get("medium", "")
    if medium not in ("", "Memory"):
        raise VolumeFailure(f'emptyDir medium "{medium}" is not supported')
    folder.mkdir(parents=True, exist_ok=True)
    if medium == "Memory":
        limit = spec.get("sizeLimit")
        mounts.mount_tmpfs(folder, quantity.to_int(limit) if limit else 0, mode=0o777)
    if group is not None:
        os.chown(folder, -1, group)
    folder.chmod(0o2777 if group is not None else 0o777)


def _prepare_image(folder: Path, layers: tuple[str, ...] | None) -> None:
    """An image's files, to be read; mounted once, whatever its name stands for later."""
    if mounts.is_mounted(folder):
        return
    if layers is None:
        raise VolumeFailure("the image is not there")
    scratch = folder.parent.parent / "empty" / folder.name
    for path in (folder, scratch):
        path.mkdir(parents=True, exist_ok=True)
    try:
        overlay.mount_to_read(layers, str(folder), str(scratch))
    except ValueError as error:
        raise VolumeFailure(str(error)) from error


def _prepare_files(folder: Path, *, in_memory: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if in_memory and not mounts.is_mounted(folder):
        mounts.mount_tmpfs(folder, runnable=False)


def _safe(name: str) -> str:
    """A name that is one path component: uids and volume names are, but they came from outside."""
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise VolumeFailure(f"not a usable name: {name!r}")
    return name
