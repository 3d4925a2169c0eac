"""JSON Patch: a list of operations, each on one path (RFC 6902).

Nothing given is changed. A patch that cannot be applied is refused with 422, one that is not a patch
with 400, as upstream does. Copies are bounded, so that a small patch cannot make a huge object.

https://www.rfc-editor.org/rfc/rfc6902
"""

import json
import re
from typing import Any

from sampan.meta import objects
from sampan.meta.status import ApiError, bad_request, failure

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024

_NEEDS = {
    "add": ("value",),
    "replace": ("value",),
    "test": (),
    "remove": (),
    "move": ("from",),
    "copy": ("from",),
}


def apply(old: Any, patch: Any) -> Any:
    """A new tree: `old` after all operations, in order."""
    _check(patch)
    work = {"": objects.copy(old)}
    copied = 0
    for operation in patch:
        copied += _run(work, operation)
        if copied > MAX_COPIED_BYTES:
            raise refused()
    return work[""]


def refused() -> ApiError:
    """422 in upstream's words, which do not tell what went wrong."""
    return failure(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _check(patch: Any) -> None:
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("a JSON patch must be a list of operations")
    if len(patch) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        raise failure(413, "RequestEntityTooLarge", f"Request entity too large: {text}")


def _run(work: dict[str, Any], operation: dict[str, Any]) -> int:
    """Carries out one operation in place; returns the bytes it copied."""
    name, path = operation.get("op"), operation.get("path")
    if name not in _NEEDS or not isinstance(path, str) or any(key not in operation for key in _NEEDS[name]):
        raise refused()
    match name:
        case "add":
            _add(work, path, objects.copy(operation["value"]))
        case "replace":
            _replace(work, path, objects.copy(operation["value"]))
        case "remove":
            _remove(work, path)
        case "test":
            _test(work, path, operation.get("value"))
        case "move":
            _move(work, operation["from"], path)
        case _:
            return _copy(work, operation["from"], path)
    return 0


def _add(work: dict[str, Any], path: str, value: Any) -> None:
    holder, key = _locate(work, path)
    if isinstance(holder, dict):
        holder[key] = value
    elif key == "-":
        holder.append(value)
    else:
        holder.insert(_index(key, len(holder) + 1), value)


def _replace(work: dict[str, Any], path: str, value: Any) -> None:
    holder, key = _existing(work, path)
    holder[key] = value


def _remove(work: dict[str, Any], path: str) -> Any:
    holder, key = _existing(work, path)
    if holder is work:
        raise refused()
    return holder.pop(key)


def _test(work: dict[str, Any], path: str, value: Any) -> None:
    try:
        holder, key = _existing(work, path)
        found = holder[key]
    except ApiError:
        found = None
    if not _same(found, value):
        raise refused()


def _move(work: dict[str, Any], source: Any, path: str) -> None:
    if not isinstance(source, str) or path.startswith(f"{source}/"):
        raise refused()
    _add(work, path, _remove(work, source) if source != path else _get(work, source))


def _copy(work: dict[str, Any], source: Any, path: str) -> int:
    if not isinstance(source, str):
        raise refused()
    value = _get(work, source)
    size = len(json.dumps(value, separators=(",", ":")))
    if size <= MAX_COPIED_BYTES:
        _add(work, path, objects.copy(value))
    return size


def _get(work: dict[str, Any], path: str) -> Any:
    holder, key = _existing(work, path)
    return holder[key]


def _existing(work: dict[str, Any], path: str) -> tuple[Any, Any]:
    """The container and key of a value that is there."""
    holder, key = _locate(work, path)
    if isinstance(holder, list):
        return holder, _index(key, len(holder))
    if key not in holder:
        raise refused()
    return holder, key


def _locate(work: dict[str, Any], path: str) -> tuple[Any, str]:
    """The container that holds, or would hold, the value at the path, and the last step."""
    if path and not path.startswith("/"):
        raise refused()
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
    holder: Any = work
    for step in steps[:-1]:
        if isinstance(holder, list):
            holder = holder[_index(step, len(holder))]
        elif step in holder:
            holder = holder[step]
        else:
            raise refused()
        if not isinstance(holder, dict | list):
            raise refused()
    return holder, steps[-1]


def _index(step: str, length: int) -> int:
    """A list position below `length`; negative ones count from the end."""
    if re.fullmatch("-?[0-9]{1,9}", step, re.ASCII) is None:
        raise refused()
    index = int(step) + (length if step.startswith("-") else 0)
    if not 0 <= index < length:
        raise refused()
    return index


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
