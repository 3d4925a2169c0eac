"""hostPath: a path of the host, checked or made as its type says.

https://kubernetes.io/docs/concepts/storage/volumes/#hostpath
"""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sampan.node.volumes.failure import VolumeFailure

_CHECKS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "Directory": ("directory", stat.S_ISDIR),
    "DirectoryOrCreate": ("directory", stat.S_ISDIR),
    "File": ("file", stat.S_ISREG),
    "FileOrCreate": ("file", stat.S_ISREG),
    "Socket": ("socket file", stat.S_ISSOCK),
    "CharDevice": ("character device", stat.S_ISCHR),
    "BlockDevice": ("block device", stat.S_ISBLK),
}


def prepare(spec: Mapping[str, Any]) -> Path:
    """The host path, once it is what its type wants. Without a type a missing one is made a directory.

    VolumeFailure with the kubelet's words when it is not.
    """
    path, wanted = Path(spec["path"]), spec.get("type") or ""
    if not path.is_absolute() or ".." in path.parts:
        raise VolumeFailure(f"hostPath path must be absolute and without '..': {path}")
    if wanted in ("", "DirectoryOrCreate") and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    if wanted == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if not wanted:
        return path
    if wanted not in _CHECKS:
        raise VolumeFailure(f"hostPath type check failed: {wanted} is an invalid volume type")
    what, fits = _CHECKS[wanted]
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = 0
    if not fits(mode):
        raise VolumeFailure(f"hostPath type check failed: {path} is not a {what}")
    return path
