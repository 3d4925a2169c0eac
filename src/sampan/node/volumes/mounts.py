"""Mounts: tmpfs and bind mounts by the mount system call, and what is mounted below a folder."""

import ctypes
import os
from pathlib import Path

_MS_SHARED = 1 << 20
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC = 2, 4, 8, 4096, 16384
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_INVALID, _MISSING = 22, 2

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(path: Path, size_bytes: int = 0, *, mode: int = 0o755, runnable: bool = True) -> None:
    """A file system in memory; `size_bytes` 0 leaves the kernel's default of half the memory."""
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
    flags = _MS_NOSUID | _MS_NODEV | (0 if runnable else _MS_NOEXEC)
    _check(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, options.encode()), f"mount tmpfs at {path}")


def mount_huge_pages(path: Path, page_bytes: int) -> None:
    """Memory in huge pages of this size."""
    options = f"pagesize={page_bytes // 1024}K"
    kind = b"hugetlbfs"
    _check(_libc.mount(b"nodev", os.fsencode(path), kind, 0, options.encode()), f"mount hugetlbfs at {path}")


def bind(source: Path, target: Path) -> None:
    """The source, and what is mounted below it, also at `target`."""
    flags = _MS_BIND | _MS_REC
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None), f"bind {source} at {target}")


def make_shared(path: Path) -> None:
    """What is mounted below it from now on reaches its copies, and comes back from them."""
    _check(_libc.mount(b"none", os.fsencode(path), None, _MS_REC | _MS_SHARED, None), f"share {path}")


def table() -> list[tuple[str, str]]:
    """All mount points, each with its marks (`shared:1 master:2`), in the order in which they were mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.partition(" - ")[0].split()
        found.append((_unescaped(fields[4]), " ".join(fields[6:])))
    return found


def mounted_below(folder: Path) -> list[Path]:
    """Mount points at or below the folder, innermost first; each as often as it is mounted over."""
    prefix = os.fspath(folder)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = _unescaped(line.split()[4])
        if point == prefix or point.startswith(f"{prefix}/"):
            found.append(Path(point))
    return list(reversed(found))


def unmount_below(folder: Path) -> None:
    """Unmount all that is mounted at or below the folder. Repeating is harmless."""
    for point in mounted_below(folder):
        if _libc.umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            number = ctypes.get_errno()
            if number not in (_INVALID, _MISSING):
                raise OSError(number, f"umount {point}: {os.strerror(number)}")


def is_mounted(path: Path) -> bool:
    return path in mounted_below(path)


def _unescaped(text: str) -> str:
    """mountinfo writes blanks and backslashes as octal numbers."""
    return os.fsdecode(text.encode("latin-1", "surrogateescape").decode("unicode_escape").encode("latin-1"))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
