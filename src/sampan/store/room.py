"""Room on the disk: a small file that is given up when the disk is full, so that deletions find room.

While room is short nothing new is created; what is there can be read, changed and deleted. It is over as soon
as the file can be made again and as much besides is free.

https://man7.org/linux/man-pages/man3/posix_fallocate.3.html
"""

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 8 * 1024 * 1024


class Room:
    """PATH.reserve"""

    def __init__(self, path: Path) -> None:
        self._place = path.with_name(f"{path.name}.reserve")
        self.is_short = False

    def give_up(self) -> bool:
        """The disk is full: whether there is a little more room now."""
        self.is_short = True
        try:
            self._place.unlink()
        except OSError:
            return False
        return True

    def keep(self) -> None:
        """Makes the file if it is not there and can be; room is short no more when it was."""
        if not self.is_short and self._place.exists():
            return
        if self._make():
            self.is_short = False
        else:
            with contextlib.suppress(OSError):
                self._place.unlink()

    def _make(self) -> bool:
        try:
            file = os.open(self._place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, RESERVE_BYTES)
                state = os.fstatvfs(file)
            finally:
                os.close(file)
        except OSError:
            return False
        return state.f_bavail * state.f_frsize >= RESERVE_BYTES
