"""JSON Patch: a list of operations, each on one path (RFC 6902).

Nothing given is changed. A patch that cannot be applied is refused with 422, one that is not a patch with 400, as upstream
does; there an operation without a value means null. Copies are bounded, so that a small patch cannot make a huge object.

https://www.rfc-editor.org/rfc/rfc6902
"""

import re
from typing import Any

from sampan.meta import objects
from sampan.meta.status import ApiError, bad_request, failure, show
from sampan.meta.wire import json

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024

_NEEDS = {
    "add": (),
    "replace": (),
    "test": (),
    "remove": (),
    "move": ("from",),
    "copy": ("from",),
}


class Refused(ApiError):
    """422 in upstream's words, which do not tell what went wrong; `why` does, for those to whom upstream tells it."""

    def __init__(self, why: str = "") -> None:
        text = "the server rejected our request due to an error in our request"
        super().__init__(failure(422, "Invalid", text, {}).status)
        self.why = why or text


class _Absent(Exception):
    """There is no such `what`: path, key or index."""

    def __init__(self, what: str, step: str) -> None:
        super().__init__(what)
        self.what, self.step = what, step


def apply(old: Any, patch: Any) -> Any:
    """A new tree: `old` after all operations, in order. Raises ApiError."""
    _check(patch)
    work = {"": objects.copy(old)}
    copied = 0
    for operation in patch:
        try:
            copied += _run(work, operation)
        except _Absent as absent:
            raise Refused(_why(operation, absent)) from absent
        if copied > MAX_COPIED_BYTES:
            raise refused()
    _size(work[""])
    return work[""]


def refused(why: str = "") -> ApiError:
    """The patch cannot be applied."""
    return Refused(why)


def _why(operation: dict[str, Any], absent: _Absent) -> str:
    """What kept an operation from being carried out."""
    if absent.what == "destination":
        where = f"doc is missing destination path: {operation['path']}: missing value"
        return f"{operation['op']} operation does not apply: {where}"
    name, path = operation["op"], operation["from" if operation["op"] in ("move", "copy") else "path"]
    if absent.what == "path" or name == "replace":
        what = "is missing path" if name == "test" else f"doc is missing {'key' if absent.what != 'path' else 'path'}"
        if name in ("move", "copy"):
            what = "doc is missing from path"
        shown = f'"{path}"' if name in ("add", "remove") else path
        return f"{name} operation does not apply: {what}: {shown}: missing value"
    if absent.what == "key":
        verb = "Unable to remove" if name == "remove" else "unable to get"
        told = f"{verb} nonexistent key: {absent.step}: missing value"
    elif absent.what == "index":
        told = f"Unable to access invalid index: {absent.step}: invalid index referenced"
    else:
        told = f"value was not a proper array index: '{absent.step}': strconv.Atoi: parsing {show(absent.step)}: "
        told += "invalid syntax"
    return f"error in {name} for path: '{path}': {told}"


def _check(patch: Any) -> None:
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("a JSON patch must be a list of operations")
    if len(patch) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        raise failure(413, "RequestEntityTooLarge", f"Request entity too large: {text}")


def _run(work: dict[str, Any], operation: dict[str, Any]) -> int:
    """Carries out one operation in place; returns the bytes it copied."""
    name, path = operation.get("op"), operation.get("path")
    if isinstance(name, str) and name not in _NEEDS:
        raise refused(f"Unexpected kind: {name}")
    if not isinstance(name, str) or not isinstance(path, str) or any(key not in operation for key in _NEEDS[name]):
        raise refused()
    match name:
        case "add":
            _add(work, path, objects.copy(operation.get("value")))
        case "replace":
            _replace(work, path, objects.copy(operation.get("value")))
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
    except _Absent:
        found = None
    if not objects.same(found, value):
        raise refused(f"testing value {path} failed: test failed")


def _move(work: dict[str, Any], source: Any, path: str) -> None:
    if not isinstance(source, str) or path.startswith(f"{source}/"):
        raise refused()
    _put(work, path, _remove(work, source) if source != path else _get(work, source))


def _copy(work: dict[str, Any], source: Any, path: str) -> int:
    if not isinstance(source, str):
        raise refused()
    value = _get(work, source)
    size = _size(value)
    if size <= MAX_COPIED_BYTES:
        _put(work, path, objects.copy(value))
    return size


def _size(value: Any) -> int:
    """The bytes of a value as JSON. Raises ApiError 400 when it is too deep to be written."""
    return len(json.within_depth(value))


def _put(work: dict[str, Any], path: str, value: Any) -> None:
    try:
        _add(work, path, value)
    except _Absent as absent:
        raise _Absent("destination", absent.step) from absent


def _get(work: dict[str, Any], path: str) -> Any:
    holder, key = _existing(work, path)
    return holder[key]


def _existing(work: dict[str, Any], path: str) -> tuple[Any, Any]:
    """The container and key of a value that is there."""
    holder, key = _locate(work, path)
    if isinstance(holder, list):
        return holder, _index(key, len(holder))
    if key not in holder:
        raise _Absent("key", key)
    return holder, key


def _locate(work: dict[str, Any], path: str) -> tuple[Any, str]:
    """The container that holds, or would hold, the value at the path, and the last step."""
    if path and not path.startswith("/"):
        raise refused()
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
    holder: Any = work
    for step in steps[:-1]:
        if isinstance(holder, list):
            holder = _element(holder, step)
        elif step in holder:
            holder = holder[step]
        else:
            raise _Absent("path", step)
        if not isinstance(holder, dict | list):
            raise _Absent("path", step)
    return holder, steps[-1]


def _element(holder: list[Any], step: str) -> Any:
    try:
        return holder[_index(step, len(holder))]
    except _Absent as absent:
        raise _Absent("path", step) from absent


def _index(step: str, length: int) -> int:
    """A list position below `length`; negative ones count from the end."""
    if re.fullmatch("-?[0-9]{1,9}", step, re.ASCII) is None:
        raise _Absent("number", step)
    index = int(step) + (length if step.startswith("-") else 0)
    if not 0 <= index < length:
        raise _Absent("index", step)
    return index
