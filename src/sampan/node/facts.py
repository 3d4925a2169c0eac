"""What this machine is: processors, memory, disk, kernel, operating system."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sampan.meta import quantity

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}


@dataclass(frozen=True, slots=True)
class Facts:
    """As a Node's status shows them."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    architecture: str
    operating_system: str
    os_image: str
    kernel: str
    machine_id: str
    boot_id: str
    hostname: str
    huge_pages: tuple[tuple[str, int], ...] = ()
    """Bytes by the pages' size (`2Mi`)."""


def read(root: Path) -> Facts:
    """The facts, with the disk that holds `root`."""
    disk = os.statvfs(root if root.exists() else "/")
    return Facts(
        cpus=os.cpu_count() or 1,
        memory_bytes=_memory(),
        disk_bytes=disk.f_blocks * disk.f_frsize,
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        operating_system=platform.system().lower(),
        os_image=_os_image(),
        kernel=platform.release(),
        machine_id=_text("/etc/machine-id"),
        boot_id=boot_id(),
        hostname=platform.node(),
        huge_pages=_huge_pages(Path("/sys/kernel/mm/hugepages")),
    )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _huge_pages(folder: Path) -> tuple[tuple[str, int], ...]:
    found = []
    for place in sorted(folder.glob("hugepages-*kB")):
        size = int(place.name.removeprefix("hugepages-").removesuffix("kB")) << 10
        count = _text(str(place / "nr_hugepages"))
        found.append((str(quantity.of_int(size, binary=True)), size * int(count or 0)))
    return tuple(found)


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.platform()


def boot_id() -> str:
    """Which start of the machine this is."""
    return _text("/proc/sys/kernel/random/boot_id")


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
