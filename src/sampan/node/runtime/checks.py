"""What must be so on this machine before a container can be as it is asked for.

See https://www.kernel.org/doc/Documentation/filesystems/sharedsubtree.txt, and mount_setattr(2) for mounts that are
read-only with all that is below them.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import orjson

from sampan.node.runtime import apparmor, idmap, spec
from sampan.node.runtime.protocol import APPARMOR_DEFAULT, Features, Mount

_MOUNTS = Path("/proc/self/mountinfo")
_RECURSIVE_SINCE = (5, 12)
_MAPPED_SINCE = (6, 3)
"""tmpfs can be mapped since then, and Secrets are there; layers below overlayfs since 5.19."""
_WORDS = {"rshared": "shared", "rslave": "shared or slave"}
_TAGS = {"rshared": ("shared:",), "rslave": ("shared:", "master:")}


def features(described: bytes) -> Features:
    """Of this kernel with a runtime that describes itself (`runc features`) like this."""
    try:
        tree = orjson.loads(described)
        options = tree.get("mountOptions") or ()
        namespaces = (tree.get("linux") or {}).get("namespaces") or ()
    except (ValueError, AttributeError):
        options = namespaces = ()  # a runtime from before that command
    users = "user" in namespaces and _kernel() >= _MAPPED_SINCE and idmap.is_possible()
    return Features("rro" in options and _kernel() >= _RECURSIVE_SINCE, apparmor.is_enabled(), users)


def seccomp_profile(path: str) -> spec.Tree:
    """The profile in a file. Raises SpecError."""
    try:
        tree = json.loads(Path(path).read_bytes())
    except OSError as error:
        why = f"open {path}: {(error.strerror or str(error)).lower()}"
        raise spec.SpecError(f'cannot load seccomp profile "{path}": {why}') from error
    except ValueError as error:
        raise spec.SpecError(f'decoding seccomp profile failed "{path}": {error}') from error
    if not isinstance(tree, dict) or not isinstance(tree.get("defaultAction"), str):
        raise spec.SpecError(f'decoding seccomp profile failed "{path}": it has no defaultAction')
    return tree


def apparmor_profile(name: str) -> None:
    """A profile of the node's own that a container names must have been loaded. Raises SpecError."""
    if name not in ("", "unconfined", APPARMOR_DEFAULT) and not apparmor.is_loaded(name):
        raise spec.SpecError(f"apparmor profile not found {name}")


def propagation(mounts: Iterable[Mount]) -> None:
    """Mounts can only pass between host and container below a mount that shares them. Raises SpecError."""
    wanted = [mount for mount in mounts if mount.propagation != "private"]
    table = [line.split() for line in _MOUNTS.read_text().splitlines()] if wanted else []
    for mount in wanted:
        point, tags = _mount_point(os.path.realpath(mount.source), table)
        if not any(tag.startswith(_TAGS[mount.propagation]) for tag in tags):
            text = f"is mounted on {point} but it is not a {_WORDS[mount.propagation]} mount"
            raise spec.SpecError(f"path {mount.source} {text}")


def _mount_point(path: str, table: Iterable[list[str]]) -> tuple[str, list[str]]:
    """The mount that the path is on: the last one of the longest, and its optional fields."""
    found: tuple[str, list[str]] = ("/", [])
    for fields in table:
        point = _unescaped(fields[4])
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(found[0]):
            found = point, fields[6 : fields.index("-")]
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
