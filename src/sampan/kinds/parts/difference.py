"""What an update changed that it may not, for the refusal's text: old and new, one field a line."""

from collections.abc import Mapping
from typing import Any


def text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The fields that differ."""
    lines = []
    for field in sorted(before.keys() | after.keys()):
        if before.get(field) != after.get(field):
            lines += [f"- {field}: {before.get(field)}", f"+ {field}: {after.get(field)}"]
    return "\n".join(lines)
