"""JSON merge patch: an object laid over another; null removes (RFC 7396).

https://www.rfc-editor.org/rfc/rfc7396
"""

from typing import Any

from sampan.meta.status import bad_request


def apply(old: Any, patch: Any) -> Any:
    """A tree that shares what it can with `old` and `patch`, which are left alone. 400 when the patch is no object."""
    if not isinstance(patch, dict):
        raise bad_request("Invalid JSON Patch")
    return merge(old, patch)


def merge(old: Any, patch: Any) -> Any:
    """RFC 7396's MergePatch, over any JSON values."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = merge(new.get(key), value)
    return new
