"""Hashes: the short names of pod templates and revisions, stable over runs and machines.

The text uses only letters and digits that spell no words, as upstream's do; the value is ours, since
upstream's is made from Go's own printing of its structures and clients treat it as opaque.
"""

import hashlib
import json
from typing import Any

_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: Any, collision_count: int | None = None) -> str:
    """The pod-template-hash of a pod template; another one for each collision count."""
    salt = "" if collision_count is None else str(collision_count)
    return safe_encode(str(_fnv32a(_canonical(template) + salt.encode())))


def revision_hash(data: Any, collision_count: int | None = None) -> str:
    """The controller-revision-hash of what a ControllerRevision holds."""
    return template_hash(data, collision_count)


def safe_encode(text: str) -> str:
    """Each character replaced by one of those that spell no words."""
    return "".join(_SAFE[ord(c) % len(_SAFE)] for c in text)


def _canonical(tree: Any) -> bytes:
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def _fnv32a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
