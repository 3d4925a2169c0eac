"""Ownership: whose an object is that is there already: the same application's, from the same source, or another's. Pure.

As docker compose knows a project by its name and files: the application's name and what it was deployed from, but not the
path to it, which differs from machine to machine. Only where the name is no more than the folder's is the folder looked at.
"""

from collections.abc import Mapping
from typing import Any

from sampan.cluster.apps.objects import FOLDER, INSTANCE, MANAGED_BY, SOURCE, Object

OWN = "own"
UNMARKED = "unmarked"
"""The application's, from before sources were marked, or from a tool that does not."""
MOVED = "moved"
"""From a file of that name in a folder of that name, but another folder: moved, or somebody else's."""
OTHER_SOURCE = "other source"
FOREIGN = "foreign"
"""Of another application, or not made by deploying."""


def relation(found: Object, want: Mapping[str, Any]) -> str:
    """How what is there relates to who asks, whose labels and annotations are in the metadata `want`."""
    labels, wanted = found["metadata"].get("labels") or {}, want.get("labels") or {}
    if any(labels.get(name) != wanted.get(name) for name in (INSTANCE, MANAGED_BY)):
        return FOREIGN
    marks, asked = found["metadata"].get("annotations") or {}, want.get("annotations") or {}
    if SOURCE not in asked:
        return OWN
    if SOURCE not in marks:
        return UNMARKED
    if marks[SOURCE] != asked[SOURCE]:
        return OTHER_SOURCE
    return MOVED if FOLDER in asked and marks.get(FOLDER) != asked[FOLDER] else OWN


def owner(found: Object, how: str) -> str:
    """Whose it is, in words."""
    labels = found["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != "sampan" or not labels.get(INSTANCE):
        return "not made by sampan deploy"
    name = f"that of the application {labels[INSTANCE]}"
    if how == MOVED:
        return f"{name}, deployed from another folder"
    return f"{name}, deployed from {found['metadata']['annotations'][SOURCE]}" if how == OTHER_SOURCE else name
