"""Ownership: a volume's files are given to the pod's group (fsGroup).

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

import os
import stat
from pathlib import Path

from sampan.node.volumes import aside


def give(folder: Path, group: int, errand: aside.Errand, *, everything: bool) -> None:
    """All in the folder belongs to the group, which may do there what the owner may. Stops where nobody waits any more."""
    found = folder.stat()
    if not everything and found.st_gid == group and found.st_mode & _OF_FOLDERS == _OF_FOLDERS:
        return
    for _, names, files, here in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*names, *files):
            errand.go_on()
            mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
            os.chown(name, -1, group, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                os.chmod(name, _shared(mode), dir_fd=here)
    errand.go_on()
    os.chown(folder, -1, group)
    folder.chmod(_shared(found.st_mode))


_OF_FOLDERS = stat.S_ISGID | stat.S_IRWXG


def _shared(mode: int) -> int:
    return stat.S_IMODE(mode) | (_OF_FOLDERS if stat.S_ISDIR(mode) else stat.S_IRGRP | stat.S_IWGRP)
