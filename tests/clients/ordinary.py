"""An ordinary user of a machine of its own: no root, no sudo, and what Debian gives such a user by default."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sampan
from tests.clients.conftest import BIN, CLIENTS

UID = 2718
NAME = "ordinary"
FILES = {
    "passwd": f"{NAME}:x:{UID}:{UID}::/home/{NAME}:/bin/bash\n",
    "group": f"{NAME}:x:{UID}:\n",
    "subuid": f"{NAME}:1310720:65536\n",
    "subgid": f"{NAME}:1310720:65536\n",
}


@dataclass(frozen=True)
class User:
    """Commands run as this user, in mounts of their own, where everything that a test needs can be read."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            "HOME": str(self.home),
            "USER": NAME,
            "KUBECONFIG": str(self.home / "kubeconfig"),
            "PATH": f"{BIN}:{CLIENTS}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = [f"{key}={value}" for key, value in environment.items()]
        step_down = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env", "-i", *words, *command]
        script = f"{self._mounts()}\ncd {self.home}\nexec {shlex.join(step_down)}"
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-ec", script],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.run("kubectl", *arguments, stdin=stdin).stdout

    def processes(self) -> list[str]:
        """Of this user, and of the ids that were granted."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                owner = os.stat(f"/proc/{name}").st_uid
                command = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if command and (owner == UID or 1310720 <= owner < 1310720 + 65536):
                found.append(f"{name}: {command}")
        return found

    def _mounts(self) -> str:
        """What others may not look into is shown all the same; /etc knows the user, and /dev/net/tun is open, as usual."""
        etc = self.folder / "etc"
        hidden = {Path(sys.base_prefix), Path(sys.prefix), Path(sampan.__file__).parent.parent}
        lines = ["mount --make-rprivate /"]
        for number, path in enumerate(sorted(path for path in hidden if path.parts[:2] == ("/", "root"))):
            lines += [f"mkdir -p {self.folder}/shown/{number}", f"mount --bind {path} {self.folder}/shown/{number}"]
        lines.append("mount -t tmpfs -o mode=755 root /root")
        for number, path in enumerate(sorted(path for path in hidden if path.parts[:2] == ("/", "root"))):
            lines += [f"mkdir -p {path}", f"mount --bind {self.folder}/shown/{number} {path}"]
        lines += [
            f"mount -t overlay -o lowerdir={etc}:/etc etc /etc",
            "mkdir -p /dev/net && mount -t tmpfs net /dev/net && mknod -m 666 /dev/net/tun c 10 200",
        ]
        return "\n".join(lines)


@contextmanager
def user() -> Iterator[User]:
    """With an empty home; afterwards nothing of it runs or is left."""
    made = User(Path(tempfile.mkdtemp(prefix="sampan-ordinary-", dir="/var/tmp")))
    made.folder.chmod(0o755)
    made.home.mkdir()
    os.chown(made.home, UID, UID)
    (made.folder / "etc").mkdir()
    for name, text in FILES.items():
        known = Path("/etc", name)
        (made.folder / "etc" / name).write_text((known.read_text() if known.exists() else "") + text)
    try:
        yield made
    finally:
        shutil.rmtree(made.folder, ignore_errors=True)
