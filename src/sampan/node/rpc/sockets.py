"""Unix sockets whose paths are longer than the kernel takes: reached by way of their directory."""

import contextlib
import os
from collections.abc import Iterator

LONGEST = 100
"""What fits into a socket's address, with a little to spare."""


@contextlib.contextmanager
def short(path: str | os.PathLike[str]) -> Iterator[str]:
    """The path, or another one to the same place that is short enough, for as long as this lasts."""
    text = os.fspath(path)
    if len(os.fsencode(text)) <= LONGEST:
        yield text
        return
    folder, name = os.path.split(text)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
