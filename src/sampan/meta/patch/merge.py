"""JSON merge patch: an object laid over another; null removes (RFC 7396).

https://www.rfc-editor.org/rfc/rfc7396
"""

from typing import Any

from sampan.meta import objects
from sampan.meta.status import bad_request


def apply(old: Any, patch: Any) -> Any:
    """A new tree; `old` and `patch` are left alone. 400 when the patch of an object is no object."""
    if not isinstance(patch, dict):
        raise bad_request("Invalid JSON Patch")
    return merge(old, patch)


def merge(old: Any, patch: Any) -> Any:
    """RFC 7396's MergePatch, over any JSON values."""
    if not isinstance(patch, dict):
        return objects.copy(patch)
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = merge(new.get(key), value)
    return {key: value if key in patch else objects.copy(value) for key, value in new.items()}
