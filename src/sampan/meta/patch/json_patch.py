"""JSON Patch: a list of operations, each on one path (RFC 6902), as the library reads them that upstream uses.

Nothing given is changed. A patch that cannot be applied is refused with 422, one that is not a patch with 400. An operation
without a value means null. What an object does not have is null where it is tested or copied, and is there once replaced. The
whole document can only be tested and replaced. Copies are bounded, so that a small patch cannot make a huge object.

https://www.rfc-editor.org/rfc/rfc6902
"""

import re
from collections.abc import Callable
from typing import Any

from sampan.meta import objects
from sampan.meta.status import ApiError, bad_request, failure, show
from sampan.meta.wire import json

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024

_OPERATIONS = ("add", "replace", "test", "remove", "move", "copy")
_MOST_DIGITS = 18


class Refused(ApiError):
    """422 in upstream's words, which do not tell what went wrong; `why` does, for those to whom upstream tells it."""

    def __init__(self, why: str = "") -> None:
        text = "the server rejected our request due to an error in our request"
        super().__init__(failure(422, "Invalid", text, {}).status)
        self.why = why or text


class _Fault(Exception):
    """What kept an operation from being carried out."""


def apply(old: Any, patch: Any) -> Any:
    """A new tree: `old` after all operations, in order. Raises ApiError."""
    _check(patch)
    tree = objects.copy(old)
    copied = 0
    for operation in patch:
        try:
            tree, size = _run(tree, operation, MAX_COPIED_BYTES - copied)
        except _Fault as fault:
            raise Refused(str(fault)) from fault
        copied += size
    _size(tree)
    return tree


def _check(patch: Any) -> None:
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("a JSON patch must be a list of operations")
    if len(patch) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        raise failure(413, "RequestEntityTooLarge", f"Request entity too large: {text}")


def _run(tree: Any, operation: dict[str, Any], room: int) -> tuple[Any, int]:
    """The tree after one operation, which may have been done in place; and the bytes that it copied."""
    name = operation.get("op")
    if name not in _OPERATIONS:
        raise _Fault(f"Unexpected kind: {name if isinstance(name, str) else 'unknown'}")
    if name in ("move", "copy"):
        return tree, _transfer(tree, operation, room)
    path, value = _said(operation, "path"), operation.get("value")
    if not path and name in ("replace", "test"):
        return _whole(tree, name, value), 0
    is_quoted = name in ("add", "remove")
    missing = "is missing path" if name == "test" else "doc is missing path"
    holder, key = _holder(tree, path, f"{name} operation does not apply: {missing}", is_quoted=is_quoted)
    lead = f"error in {name} for path: '{path}'"
    match name:
        case "add":
            _led(lead, _add, holder, key, objects.copy(value))
        case "remove":
            _led(lead, _remove, holder, key)
        case "replace":
            _replace(holder, key, path, objects.copy(value))
        case _:
            _test(path, _led(lead, _get, holder, key), value)
    return tree, 0


def _said(operation: dict[str, Any], what: str) -> str:
    """A path that an operation needs."""
    found = operation.get(what)
    if not isinstance(found, str):
        raise _Fault(f"{operation['op']} operation failed to decode {what}: missing value")
    return found


def _whole(tree: Any, name: str, value: Any) -> Any:
    """The document tested, or replaced by another."""
    if name == "test":
        _test("", tree, value)
        return tree
    if not isinstance(value, dict | list):
        raise _Fault("replace operation value must be object or array")
    return objects.copy(value)


def _transfer(tree: Any, operation: dict[str, Any], room: int) -> int:
    """Carries out a move or copy; returns the bytes that were copied."""
    name, source, path = operation["op"], _said(operation, "from"), _said(operation, "path")
    lead = f"{name} operation does not apply: doc is missing"
    holder, key = _holder(tree, source, f"{lead} from path")
    size = 0
    if name == "move":
        value = _led(f"error in move for path: '{key}'", _remove, holder, key)
        holder, key = _holder(tree, path, f"{lead} destination path")
        _led(f"error in move for path: '{path}'", _add, holder, key, value)
    else:
        value = _led(f"error in copy for from: '{source}'", _get, holder, key)
        holder, key = _holder(tree, path, f"{lead} destination path")
        size = _size(value)
        if size > room:
            raise _Fault(f"Unable to complete the copy, which exceeds the limit of {MAX_COPIED_BYTES} bytes")
        _led("error while adding value during copy", _add, holder, key, objects.copy(value))
    return size


def _size(value: Any) -> int:
    """The bytes of a value as JSON. Raises ApiError 400 when it is too deep to be written."""
    return len(json.within_depth(value))


def _holder(tree: Any, path: str, why: str, *, is_quoted: bool = False) -> tuple[Any, str]:
    """The object or list that holds, or would hold, what is at the path, and the last step of it."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    holder = tree if steps else None
    for step in steps[:-1]:
        try:
            holder = _get(holder, step)
        except _Fault:
            holder = None
        if not isinstance(holder, dict | list):
            break
    if not isinstance(holder, dict | list):
        shown = f'"{path}"' if is_quoted else path
        raise _Fault(f"{why}: {shown}: missing value")
    return holder, steps[-1]


def _led(lead: str, do: Callable[..., Any], *given: Any) -> Any:
    """What `do` returns; a fault tells first what was being done."""
    try:
        return do(*given)
    except _Fault as fault:
        raise _Fault(f"{lead}: {fault}") from None


# What may be done with one object or list.


def _get(holder: Any, key: str) -> Any:
    return holder[_index(key, len(holder))] if isinstance(holder, list) else holder.get(key)


def _add(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    elif key == "-":
        holder.append(value)
    else:
        holder.insert(_index(key, len(holder) + 1, f"value was not a proper array index: '{key}': "), value)


def _replace(holder: Any, key: str, path: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
        return
    try:
        holder[_index(key, len(holder))] = value
    except _Fault:
        raise _Fault(f"replace operation does not apply: doc is missing key: {path}: missing value") from None


def _remove(holder: Any, key: str) -> Any:
    if isinstance(holder, list):
        return holder.pop(_index(key, len(holder)))
    if key not in holder:
        raise _Fault(f"Unable to remove nonexistent key: {key}: missing value")
    return holder.pop(key)


def _test(path: str, found: Any, value: Any) -> None:
    if not objects.same(found, value):
        raise _Fault(f"testing value {path} failed: test failed")


def _index(step: str, length: int, lead: str = "") -> int:
    """A list position below `length`; negative ones count from the end."""
    if re.fullmatch("[+-]?[0-9]+", step, re.ASCII) is None:
        raise _Fault(f"{lead}strconv.Atoi: parsing {show(step)}: invalid syntax")
    if len(step) > _MOST_DIGITS:
        raise _Fault(f"{lead}strconv.Atoi: parsing {show(step)}: value out of range")
    index = int(step) + (length if step.startswith("-") and int(step) else 0)
    if not 0 <= index < length:
        raise _Fault(f"Unable to access invalid index: {int(step)}: invalid index referenced")
    return index
