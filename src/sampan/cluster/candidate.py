"""How a control plane is called where leaders are elected: its host, and an id that nobody else has.

A process that is started again in the same directory, on a host that went on, has its old name, so that it need not
wait for its own lease to expire. A copy of the directory has another one, and so has the host after a boot.
"""

import contextlib
import os
import socket
from pathlib import Path

from sampan.kit.ids import Ids

NOTED = "candidate"
BOOT = Path("/proc/sys/kernel/random/boot_id")


def name(directory: Path, ids: Ids) -> str:
    """HOST_ID, as upstream's components call themselves. Two processes must not have the same directory."""
    host, place, noted = socket.gethostname(), _place(directory), directory / NOTED
    with contextlib.suppress(OSError, ValueError):
        known, where = noted.read_text().splitlines()
        if place and where == place and known.startswith(f"{host}_"):
            return known
    made = f"{host}_{ids.uid()}"
    noted.write_text(f"{made}\n{place}\n")
    return made


def _place(directory: Path) -> str:
    """What no other directory has, on this boot of this host; "" where that can't be told."""
    try:
        found = os.stat(directory)
        return f"{BOOT.read_text().strip()} {found.st_dev} {found.st_ino}"
    except OSError:
        return ""
