"""What pods leave on a host, looked at after every test: nothing, once the API says that they are gone."""

import os
from pathlib import Path

_FOLDERS = ("containers/c", "containers/execs", "containers/exits", "logs", "network/netns", "pods", "volumes")


def of_pods(directory: Path, cluster: str) -> set[str]:
    """What is there of the pods of the cluster in this directory: folders, mounts, cgroups, processes."""
    found = {str(path) for node in directory.glob("node-*") for name in _FOLDERS for path in node.glob(f"{name}/*")}
    found |= {str(path) for path in Path("/sys/fs/cgroup").glob(f"*/sampan-{cluster}*/*/pod*")}
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found |= {place for line in lines if (place := line.split()[4]).startswith(f"{directory}/node-")}
    return found | _processes(f"{directory}/node-")


def _processes(mark: str) -> set[str]:
    """Those that look after a container: their command names its folder."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "conmon" in command and mark in command:
            found.add(f"{name}: {command}")
    return found
