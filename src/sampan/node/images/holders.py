"""Which containers are made of which layers: a mark in the store for each, so that nobody deletes them meanwhile.

The kernel does not tell: a container's root file system is mounted where only the container sees it. A mark whose
container's folder is gone counts no more.

Who makes a mark and who deletes layers exclude each other by a lock of their own, held shortly: the store's is held as
long as an image is unpacked.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_FOLDER = "used"
_UNFINISHED = "."


def place(layers: Sequence[str], holder: str) -> str:
    """Where the mark is; empty for an image without layers."""
    return os.path.join(os.path.dirname(os.path.dirname(layers[0])), _FOLDER, holder) if layers else ""


def hold(mark: str, layers: Sequence[str], folder: str) -> None:
    """From now on the layers are used by the container of this folder. OSError, also when one of them is gone."""
    if not mark:
        return
    marks, name = os.path.split(mark)
    with _locked(marks, fcntl.LOCK_SH):
        for layer in layers:
            if not os.path.isdir(layer):
                raise FileNotFoundError(errno.ENOENT, "a layer of the image was removed", layer)
        unfinished = os.path.join(marks, _UNFINISHED + name)
        Path(unfinished).write_text("\n".join([folder, *map(os.path.basename, layers)]))
        os.replace(unfinished, mark)


def let_go(mark: str) -> None:
    """No longer. Repeating is harmless."""
    if mark:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mark)


def held(store: Path) -> set[str]:
    """The names of the layers of a store that are in use; forgets marks that count no more. `settled` is held."""
    found: set[str] = set()
    marks = store / _FOLDER
    for mark in marks.iterdir() if marks.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            folder, *layers = mark.read_text().split("\n")
            if folder and not mark.name.startswith(_UNFINISHED) and _is_there(folder):
                found.update(layers)
            else:
                mark.unlink()
    return found


def settled(store: Path) -> contextlib.AbstractContextManager[None]:
    """No mark is made meanwhile: to be held from asking who uses layers until those of nobody are out of their place."""
    return _locked(str(store / _FOLDER), fcntl.LOCK_EX)


@contextlib.contextmanager
def _locked(marks: str, how: int) -> Iterator[None]:
    os.makedirs(marks, mode=0o700, exist_ok=True)
    descriptor = os.open(marks, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _is_there(folder: str) -> bool:
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # who can't look doesn't know
    return True
