"""Small files that are whole at any time, also after a kill or a loss of power: certificates, keys, settings, checkpoints.

New content goes to a file beside, onto the disk, and then in one step into the old one's place. That step is on the
disk too when `write_whole` returns: whoever is told that something was written finds it after the next boot.

https://man7.org/linux/man-pages/man2/fsync.2.html
"""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Puts it in the place of what was there. Of several writers of one file only one may be at it at a time."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        put_in_place(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def put_in_place(fresh: Path, path: Path) -> None:
    """Gives a file, whose content is on the disk, another's name; both are in one folder."""
    os.replace(fresh, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What has been made, renamed and removed in it is on the disk from now on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
