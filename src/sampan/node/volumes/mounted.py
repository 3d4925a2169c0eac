"""Mounted volumes: those that the mount program mounts: exports of NFS servers, and disks under local volumes.

The program may wait for a server, so it runs beside the event loop and is given up after two minutes.

https://kubernetes.io/docs/concepts/storage/volumes/#nfs
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sampan.node import outsiders
from sampan.node.volumes import mounts
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]

SECONDS = 120.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def nfs(source: Object, options: Sequence[str], folder: Path, *, read_only: bool = False) -> Path:
    """The export is mounted at the folder. Raises VolumeFailure with the program's words."""
    chosen = [*(["ro"] if source.get("readOnly") or read_only else []), *options]
    await _mount("nfs", f"{source['server']}:{source['path']}", folder, chosen)
    return folder


async def disk(device: Path, fs_type: str, options: Sequence[str], folder: Path) -> Path:
    """The disk's file system is mounted at the folder, and made first on an empty disk. Raises VolumeFailure."""
    if mounts.is_mounted(folder):
        return folder
    kind = fs_type or "ext4"
    code, found = await _run("blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", str(device))
    if code not in (0, 2):
        raise VolumeFailure(f"could not determine if disk {device} is formatted: exit status {code}: {found}")
    if code == 2:  # nothing is on it
        arguments = ["-F", "-m0"] if kind.startswith("ext") else ["-f"]
        code, said = await _run(f"mkfs.{kind}", *arguments, str(device))
        if code:
            raise VolumeFailure(
                f"format of disk {str(device)!r} failed: type:({kind!r}) errcode:({code}) output:({said})"
            )
    elif "TYPE=" not in found or "PTTYPE=" in found:
        raise VolumeFailure(f"failed to mount unformatted volume as {kind}: disk {device} holds partitions")
    await _mount(kind, str(device), folder, ["defaults", *options])
    return folder


async def _mount(kind: str, source: str, folder: Path, options: Sequence[str]) -> None:
    if mounts.is_mounted(folder):
        return
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    arguments = ["-t", kind, *(["-o", ",".join(options)] if options else []), source, str(folder)]
    code, said = await _run("mount", *arguments)
    if code:
        text = f"mount failed: exit status {code}\nMounting command: mount\nMounting arguments: {' '.join(arguments)}"
        raise VolumeFailure(f"{text}\nOutput: {said}\n")


async def _run(program: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what it said. Raises VolumeFailure if the program can't be started, or doesn't come to an end."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if found is None:
        raise VolumeFailure(f'exec: "{program}": executable file not found in $PATH')
    try:
        answer = await outsiders.ask((found, *arguments), SECONDS)
    except OSError as error:  # there is no room for one more process just now
        raise VolumeFailure(f"fork/exec {found}: {(error.strerror or str(error)).lower()}") from error
    except outsiders.NoAnswer as error:
        raise VolumeFailure(f"{program} {' '.join(arguments)}: {error}") from None
    return answer.code, (answer.output + answer.errors).decode(errors="replace").strip()
