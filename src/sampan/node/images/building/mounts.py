"""The work folder of a build: stages mounted in it, to be read or changed, and nothing left behind.

A build that was killed leaves its folder with its mounts; the next one takes them away.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from sampan.node.images import holders, rooted, workrooms
from sampan.node.images.building import running
from sampan.node.images.model import ImageError
from sampan.node.runtime import overlay


class Workshop:
    """A folder below the store's `builds`, for one build. Use it with `with`."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._count = 0
        self._lock = -1
        self._held: list[str] = []
        self._mark = ""
        self.folder = ""

    def __enter__(self) -> Self:
        with workrooms.locked(self._parent):
            for left in self._parent.glob("work-*"):
                _remove_if_left(left)
            self.folder, self._lock = workrooms.make(self._parent, "work-")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            _remove(self.folder)
            holders.let_go(self._mark)
        finally:
            os.close(self._lock)

    def hold(self, layers: Sequence[str]) -> None:
        """Nobody deletes these unpacked layers until the build has ended. ImageError if somebody just did."""
        held = [*dict.fromkeys([*self._held, *layers])]
        if held == self._held:
            return
        self._mark = holders.place(held, os.path.basename(self.folder))
        try:
            holders.hold(self._mark, held, self.folder)
        except OSError as error:
            raise ImageError(f"the layers can't be kept: {error}") from error
        if not all(map(os.path.isdir, held)):
            raise ImageError("a layer was removed while the image was built; build it again")
        self._held = held

    def new(self, name: str) -> str:
        """A folder of its own for something."""
        self._count += 1
        path = os.path.join(self.folder, f"{self._count}-{name}")
        os.mkdir(path, 0o755)
        return path

    @contextlib.contextmanager
    def to_read(self, layers: Sequence[str]) -> Iterator[str]:
        """The layers (lowest first) as one folder, for reading only."""
        folder = self.new("read")
        merged = os.path.join(folder, "merged")
        os.mkdir(merged)
        if not layers:
            yield merged
            return
        overlay.mount_to_read(tuple(layers), merged, folder)
        try:
            yield merged
        finally:
            overlay.unmount(merged)

    @contextlib.contextmanager
    def to_change(self, layers: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The layers as one folder that may be changed, and the folder that gets what changes."""
        folder = self.new("change")
        merged = overlay.mount(tuple(layers), folder, os.path.join(folder, "merged"))
        try:
            yield merged, os.path.join(folder, "upper")
        finally:
            overlay.unmount(merged)
            rooted.remove_tree(folder)


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            running.clear(str(folder))
            _remove(str(folder))
        except BlockingIOError:
            return  # its build goes on
        finally:
            os.close(fd)


def _remove(folder: str) -> None:
    for path in overlay.mounts_below(folder):
        overlay.unmount(path)
    rooted.remove_tree(folder)
