"""Sharing: whether mounts reach from the host into containers and back, which the kernel does for shared mounts only.

Where the host's own mounts are private, the node's own folder is made a mount that is shared.

https://www.kernel.org/doc/Documentation/filesystems/sharedsubtree.txt
"""

import os
from collections.abc import Iterable
from pathlib import Path

from sampan.node.runtime.protocol import Mount, RuntimeFailure
from sampan.node.volumes import mounts

_WANTED = {"rshared": ("a shared mount", ("shared:",)), "rslave": ("a shared or slave mount", ("shared:", "master:"))}


def share(folder: Path) -> None:
    """What is mounted in the folder reaches the containers that wish it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_one(mounts.table(), os.path.realpath(folder), ("shared:",))[1]:
        mounts.bind(folder, folder)
        mounts.make_shared(folder)


def check(wanted: Iterable[Mount]) -> None:
    """Raises RuntimeFailure for a mount whose propagation can't be had, as containerd words it."""
    table: list[tuple[str, str]] | None = None
    for mount in wanted:
        if mount.propagation not in _WANTED:
            continue
        table = mounts.table() if table is None else table
        what, marks = _WANTED[mount.propagation]
        point, is_so = _is_one(table, os.path.realpath(mount.source), marks)
        if not is_so:
            text = f'path "{mount.source}" is mounted on "{point}" but it is not {what}'
            raise RuntimeFailure("CreateContainerError", f"failed to generate container spec: {text}")


def _is_one(table: Iterable[tuple[str, str]], path: str, marks: tuple[str, ...]) -> tuple[str, bool]:
    """The mount that the path is in, and whether it carries one of the marks."""
    best, fields = "", ""
    for point, found in table:
        if (path == point or path.startswith(f"{point.rstrip('/')}/")) and len(point) >= len(best):
            best, fields = point, found
    return best, any(mark in fields for mark in marks)
