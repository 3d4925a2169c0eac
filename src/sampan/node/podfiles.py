"""Where a pod's own files lie on the node, and what hosts and resolv.conf say.

https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.meta import objects

TERMINATION_BYTES = 4096
TERMINATION_LOG_BYTES = 2048

Pod = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Directories below the node's own, root-owned one."""

    root: Path

    def pod(self, uid: str) -> Path:
        """hosts, hostname, resolv.conf and termination files of one pod."""
        return self.root.joinpath("pods", uid)

    def logs(self, pod: Pod) -> Path:
        """The pod's logs: one directory a container."""
        return self.root.joinpath("logs", _folder(pod))

    def log(self, pod: Pod, name: str, attempt: int) -> Path:
        """The log file of one attempt."""
        return self.root.joinpath("logs", _folder(pod), name, f"{attempt}.log")

    def termination(self, uid: str, name: str, attempt: int) -> Path:
        """The file that a container leaves its last words in."""
        return self.root.joinpath("pods", uid, "containers", name, f"{attempt}.termination")

    def prepare(self, pod: Pod, hosts: str, resolv: str, hostname: str) -> None:
        """Writes the pod's hosts, resolv.conf and hostname, if they aren't there."""
        folder = self.pod(objects.uid(pod))
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        for name, text in (("hosts", hosts), ("resolv.conf", resolv), ("hostname", f"{hostname}\n")):
            path = folder / name
            if not path.exists():
                path.write_text(text)
                path.chmod(0o644)

    def prepare_container(self, pod: Pod, name: str, attempt: int) -> None:
        """Makes the log's directory and an empty termination file."""
        self.log(pod, name, attempt).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path = self.termination(objects.uid(pod), name, attempt)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        path.touch()
        path.chmod(0o666)

    def remove(self, pod: Pod) -> None:
        """Deletes all of the pod's files, logs included."""
        shutil.rmtree(self.pod(objects.uid(pod)), ignore_errors=True)
        shutil.rmtree(self.logs(pod), ignore_errors=True)

    def remove_by_uid(self, uid: str) -> None:
        """Deletes the files of a pod that only its uid is known of."""
        shutil.rmtree(self.pod(uid), ignore_errors=True)
        for folder in (self.root / "logs").glob(f"*_{uid}"):
            shutil.rmtree(folder, ignore_errors=True)

    def last_words(self, uid: str, name: str, attempt: int) -> str:
        """What the container wrote to its termination file, at most 4 KiB."""
        return read_regular(self.termination(uid, name, attempt), TERMINATION_BYTES).decode("utf-8", "replace")


def read_regular(path: Path, limit: int) -> bytes:
    """The first bytes of a regular file; nothing for links, pipes and devices, and when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _folder(pod: Pod) -> str:
    return f"{objects.namespace(pod)}_{objects.name(pod)}_{objects.uid(pod)}"
