"""Volumes: makes a pod's volumes on this node, keeps their files current, and takes them away.

Under `root/<pod uid>/volumes/<volume name>`. Nothing here asks the API: configuration and tokens are
handed over (sources.py says which). Secrets and tokens are only ever in memory. The calls block: file
work is done in a thread, and cancelled callers' work is finished.
"""

import asyncio
import itertools
import os
import shutil
import threading
from collections.abc import Awaitable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.kinds.parts import pod_claims
from sampan.kit import threads
from sampan.kit.clock import Clock
from sampan.meta import timestamps
from sampan.node.plugins.places import Places
from sampan.node.runtime import overlay
from sampan.node.volumes import aside, claimed, empty_dir, host_path, loops, mounted, mounts, payload, subpath, writer
from sampan.node.volumes.failure import VolumeFailure
from sampan.node.volumes.sources import Sources

if TYPE_CHECKING:
    from sampan.node.csi.volumes import CsiVolumes

Object = Mapping[str, Any]


_DEVICES = "devices"
_DEVICES_LOCK = threading.Lock()
"""A device and the notes of who has it change together."""


class Volumes:
    """The volumes of one node's pods below `root`, which belongs to root alone, and those that outlive pods in `local`."""

    def __init__(self, root: Path, local: Path, clock: Clock, csi: "CsiVolumes | None" = None) -> None:
        self._root, self._local, self._places = root, local, Places(root.parent)
        self._clock, self._csi = clock, csi
        self._busy: dict[str, asyncio.Lock] = {}
        self._serial = itertools.count()

    async def prepare(self, pod: Object, given: Sources) -> dict[str, str]:
        """Host path of each volume of the pod, by volume name.

        Called again with newer sources it updates the files in one step. VolumeFailure says what is missing.
        """
        async with self._busy.setdefault(pod["metadata"]["uid"], asyncio.Lock()):
            done = await self._csi.prepare(pod, given.csi) if self._csi is not None and given.csi else {}
            done |= await self._mounted(pod, given)
            if _is_elsewhere(pod):
                return await aside.run(lambda errand: self._prepare(pod, given, done, errand))
            return await threads.to_its_end(self._prepare, pod, given, done, aside.Errand())

    async def mount_subpath(self, pod_uid: str, volume_path: str, inner: str, *, slot: str) -> str:
        """A path of ours that shows `inner` of the volume; `slot` is unique in the pod (container and number)."""
        target = self._pod_folder(pod_uid) / "subpaths" / _safe(slot)
        await aside.run(lambda errand: subpath.bind(Path(volume_path), inner, target, errand))
        return str(target)

    async def teardown(self, pod_uid: str) -> None:
        """Unmount and delete all of the pod's volumes. Repeating is harmless.

        A server that is dead may hold the thread that unmounts what is its, so nobody else waits for that one.
        """
        async with self._busy.setdefault(pod_uid, asyncio.Lock()):
            if self._csi is not None:
                await self._csi.teardown(pod_uid)
            await aside.run(lambda errand: self._teardown(pod_uid))
        self._busy.pop(pod_uid, None)

    async def discard(self, name: str) -> None:
        """Deletes the folder of a persistent volume that is over. Repeating is harmless."""
        await asyncio.to_thread(claimed.discard, self._local, _safe(name))

    def pods(self) -> set[str]:
        """The uids of the pods that have something here, also after a restart."""
        found = {path.name for path in self._root.iterdir()} if self._root.is_dir() else set()
        return found | self._csi.pods() if self._csi is not None else found

    async def _mounted(self, pod: Object, given: Sources) -> dict[str, str]:
        """Those that a program mounts. Raises VolumeFailure."""
        found = {}
        for volume in pod["spec"].get("volumes") or ():
            folder = self._pod_folder(pod["metadata"]["uid"]) / "volumes" / _safe(volume["name"])
            bound = given.volumes.get(pod_claims.name_of(pod, volume) or "")
            if "nfs" in volume:
                await _said(mounted.nfs(volume["nfs"], (), folder), volume["name"])
            elif bound is not None and await self._is_disk(bound):
                await _said(claimed.mounting(bound, folder), bound["metadata"]["name"])
                await aside.run(partial(claimed.give_disk, folder, bound, pod))
            else:
                continue
            found[volume["name"]] = str(folder)
        return found

    async def _is_disk(self, bound: Object) -> bool:
        """Whether a program mounts it. A folder of ours is none."""
        if claimed.is_folder_of(bound, self._local):
            return False
        return await aside.run(lambda errand: _looked_at(bound, errand))

    def _prepare(self, pod: Object, given: Sources, done: Mapping[str, str], errand: aside.Errand) -> dict[str, str]:
        volumes = pod["spec"].get("volumes") or ()
        refusal = payload.unsupported(volumes)
        if refusal:
            raise VolumeFailure(refusal)
        left = [volume for volume in volumes if volume["name"] not in done]
        return {**done, **{volume["name"]: str(self._prepare_one(pod, volume, given, errand)) for volume in left}}

    def _prepare_one(self, pod: Object, volume: Object, given: Sources, errand: aside.Errand) -> Path:
        name = volume["name"]
        try:
            if "hostPath" in volume:
                source = volume["hostPath"]
                with errand.outside():
                    return host_path.prepare({**source, "path": str(self._places.on_host(source["path"]))})
            if "csi" in volume:
                raise VolumeFailure("volumes of storage drivers are not supported here")
            if (claim := pod_claims.name_of(pod, volume)) is not None:
                bound = given.volumes[claim]
                if claimed.is_device_of(bound, self._local):
                    return self._prepare_device(pod, bound)
                with errand.outside():
                    return claimed.prepare(bound, self._local, pod, errand)
            folder = self._pod_folder(pod["metadata"]["uid"]) / "volumes" / _safe(name)
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            if "image" in volume:
                _prepare_image(folder, given.images.get(name))
                return folder
            files = payload.of_volume(pod, volume, given)
            if files is None:
                empty_dir.prepare(folder, volume.get("emptyDir") or {}, pod, given.allocatable)
            else:
                _prepare_files(folder, in_memory="configMap" not in volume and "downwardAPI" not in volume)
                writer.write(folder, files, self._stamp(), group)
        except VolumeFailure as failure:
            raise VolumeFailure(f'MountVolume.SetUp failed for volume "{name}" : {failure}', failure.reason) from None
        except OSError as error:
            raise VolumeFailure(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        return folder

    def _prepare_device(self, pod: Object, bound: Object) -> Path:
        """A device over a file of ours; which pods have it is noted beside their volumes."""
        name = bound["metadata"]["name"]
        note = self._pod_folder(pod["metadata"]["uid"]) / _DEVICES / _safe(name)
        with _DEVICES_LOCK:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
            self._local.mkdir(parents=True, exist_ok=True)
            return loops.attach(self._local / name, claimed.size(bound))

    def _release_devices(self, pod_uid: str) -> None:
        with _DEVICES_LOCK:
            for note in (self._pod_folder(pod_uid) / _DEVICES).glob("*"):
                if all(other == note for other in self._root.glob(f"*/{_DEVICES}/{note.name}")):
                    loops.detach(self._local / note.name)
                note.unlink()

    def _teardown(self, pod_uid: str) -> None:
        folder = self._pod_folder(pod_uid)
        self._release_devices(pod_uid)
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


def _looked_at(bound: Object, errand: aside.Errand) -> bool:
    with errand.outside():
        return claimed.is_mounted_by_program(bound)


def _is_elsewhere(pod: Object) -> bool:
    """Whether the pod has a volume in a file system that is not ours."""
    volumes = pod["spec"].get("volumes") or ()
    return any("hostPath" in volume or pod_claims.name_of(pod, volume) is not None for volume in volumes)


async def _said(work: Awaitable[Any], name: str) -> None:
    """Its failure, as an event says it."""
    try:
        await work
    except (VolumeFailure, OSError) as error:
        raise VolumeFailure(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error


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
