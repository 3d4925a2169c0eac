"""The folder that is built: its Containerfile, and what its ignore file leaves out."""

import os
from dataclasses import dataclass
from pathlib import Path

from sampan.node.images.building import containerfile, ignore
from sampan.node.images.building.containerfile import Containerfile, ContainerfileError
from sampan.node.images.model import ImageError

NAMES = ("Containerfile", "Dockerfile")
IGNORE_NAMES = (".containerignore", ".dockerignore")


@dataclass(frozen=True, slots=True)
class Context:
    """A folder with its file and its rules."""

    folder: Path
    file: Path
    containerfile: Containerfile
    rules: ignore.Rules


def find(folder: Path) -> Path | None:
    """The Containerfile or Dockerfile in the folder."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def load(folder: Path, file: Path | None = None) -> Context:
    """Reads both files. ImageError says what is wrong with which."""
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder")
    path = file or find(folder)
    if path is None:
        raise ImageError(f"there is no Containerfile or Dockerfile in {folder}; name it with -f FILE")
    try:
        return Context(folder, path, containerfile.parse(_read(path)), rules(folder, path))
    except ContainerfileError as error:
        raise ImageError(f"{path}: {error}") from error


def rules(folder: Path, file: Path) -> ignore.Rules:
    """Of the ignore file that counts: the Containerfile's own, else the folder's. ImageError."""
    for path in (file.with_name(file.name + ".dockerignore"), *(folder / name for name in IGNORE_NAMES)):
        if path.is_file():
            try:
                return ignore.parse(_read(path))
            except ignore.PatternError as error:
                raise ImageError(f"{path}: {error}") from error
    return ignore.Rules()


def _read(path: Path) -> str:
    try:
        if os.path.getsize(path) > containerfile.MAX_BYTES:
            raise ImageError(f"{path} is larger than {containerfile.MAX_BYTES} bytes")
        return path.read_text()
    except UnicodeDecodeError as error:
        raise ImageError(f"{path} is not text: {error}") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
