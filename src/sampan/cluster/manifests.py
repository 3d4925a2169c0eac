"""Manifests: objects written down, as trees, YAML texts, files or folders."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sampan.meta.status import bad_request
from sampan.meta.wire import yaml

Object = dict[str, Any]

SUFFIXES = (".yaml", ".yml", ".json")
_DOCUMENTS = re.compile(r"^---.*$", re.MULTILINE)


def objects_of(manifest: Object | str | os.PathLike[str] | Sequence[Any]) -> Iterable[Object]:
    """The objects of a manifest: itself, a List's items, those of a YAML text, a file or a folder's files, or of several.

    Raises ApiError, OSError, and TypeError for anything else.
    """
    if not manifest:
        return
    if isinstance(manifest, Mapping):
        items = manifest.get("items")
        if isinstance(items, list) and str(manifest.get("kind", "")).endswith("List"):
            yield from items
        else:
            yield manifest
        return
    if isinstance(manifest, list | tuple):
        for each in manifest:
            yield from objects_of(each)
        return
    if not isinstance(manifest, str | os.PathLike):
        raise TypeError(f"a manifest is an object, a YAML text, a path or a list of them, not {manifest!r:.60}")
    if isinstance(manifest, str) and ("\n" in manifest or manifest.startswith("{")):
        texts = [manifest]
    else:
        path = Path(manifest)
        files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]
        texts = [file.read_text() for file in files]
    for text in texts:
        for document in filter(str.strip, _DOCUMENTS.split(text)):
            tree = yaml.decode(document.encode()) or {}
            if not isinstance(tree, dict):
                raise bad_request(f"a document is an object, not {tree!r:.60}")
            yield from objects_of(tree)
