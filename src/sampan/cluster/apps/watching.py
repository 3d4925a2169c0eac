"""Which files of a folder changed: looked at again and again, as far as an image is made of them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sampan.node.images.building import ignore

MAX_FILES = 50_000
Stamp = tuple[int, int, int]


class TooManyFiles(Exception):
    """A folder holds more than can be looked at every moment; the text says what to do."""


def stamps(folder: Path, rules: ignore.Rules) -> dict[str, Stamp]:
    """When each file of the folder was changed last, its size and mode; not of those that are left out. TooManyFiles."""
    found: dict[str, Stamp] = {}
    for path in _below(str(folder), "", rules):
        found |= of_files([path])
        if len(found) > MAX_FILES:
            raise TooManyFiles(
                f"{folder} holds more than {MAX_FILES} files; name those to leave out in .containerignore"
            )
    return found


def of_files(paths: Iterable[str | Path]) -> dict[str, Stamp]:
    """The same of single files, as far as they are there."""
    found: dict[str, Stamp] = {}
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        found[str(path)] = (status.st_mtime_ns, status.st_size, status.st_mode)
    return found


def changed(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> list[str]:
    """The files that are new, other, or gone; sorted."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def _below(root: str, folder: str, rules: ignore.Rules) -> Iterator[str]:
    try:
        entries = list(os.scandir(os.path.join(root, folder)))
    except OSError:
        return
    for entry in entries:
        path = os.path.join(folder, entry.name)
        is_out = path == ".git" or rules.leaves_out(path)
        if entry.is_dir(follow_symlinks=False):
            if not is_out or (rules.exceptions and path != ".git"):
                yield from _below(root, path, rules)
        elif not is_out:
            yield entry.path
