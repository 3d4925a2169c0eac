"""What an update changed that it may not, for the refusal's text: old and new as JSON, one field a line."""

from collections.abc import Mapping
from typing import Any

from sampan.meta.status import show


def text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The fields that differ, each by its path; one that is missing is null."""
    return "\n".join(_lines(before, after, ""))


def _lines(before: Any, after: Any, path: str) -> list[str]:
    if before == after:
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        lead = f"{path}." if path else ""
        names = sorted(before.keys() | after.keys())
        return [line for name in names for line in _lines(before.get(name), after.get(name), f"{lead}{name}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for index, (old, new) in pairs for line in _lines(old, new, f"{path}[{index}]")]
    return [f"- {path}: {show(before)}", f"+ {path}: {show(after)}"]
