"""The first directories of the cgroups that this node's pods are in: they outlive the pods, and go with the node."""

import os
from pathlib import Path

from sampan.node.runtime import host


class CgroupRoots:
    """Their names, also after a restart: they are in a file."""

    def __init__(self, file: str) -> None:
        """The file need not be there yet."""
        self._file = Path(file)
        try:
            self._names = set(self._file.read_text().split("\n")) - {""}
        except FileNotFoundError:
            self._names = set()

    def remember(self, cgroup: str) -> None:
        """Before a pod's cgroup (a relative path) is made."""
        name = cgroup.strip("/").partition("/")[0]
        if name and name not in self._names:
            self._names.add(name)
            os.makedirs(self._file.parent, mode=0o700, exist_ok=True)
            self._file.write_text("\n".join(sorted(self._names)))

    def remove(self) -> None:
        """All that are empty: what another node uses stays."""
        for name in self._names:
            host.remove_cgroup(name)
