"""YAML request bodies to object trees, read as Kubernetes reads them.

The scalars are those of Go's yaml.v2, not of plain YAML 1.1: yes, no, on and off are booleans, dates and
1:30 stay text, 0777 is octal, keys become text. Anchors may not grow a document without bound or contain
themselves. Keys come out sorted, as they do upstream after the detour through JSON.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from sampan.meta import status
from sampan.meta.wire import json

MAX_DEPTH = 250
MAX_ALIASED = 100_000
MAX_DIGITS = 70

_WIDTH = 1 << 20
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """A dumper without anchors, also for dict and list subclasses."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an anchor, however often an object occurs."""
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    """Quoted when plain text would be read as something else."""
    try:
        style = None if isinstance(_resolve(text), str) else '"'
    except status.ApiError:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(dict, yaml.SafeDumper.represent_dict)
_Dumper.add_multi_representer(list, yaml.SafeDumper.represent_list)


def decode(data: bytes) -> Any:
    """The tree of the first document. ApiError 400 when it is no YAML."""
    return decode_strict(data)[0]


def decode_strict(data: bytes) -> tuple[Any, list[str]]:
    """The tree, and one text that names all repeated keys with their lines, as upstream words it (or none).

    A body that is JSON, as kubectl sends it, takes the quick way.
    """
    if data[:1] == b"{":
        try:
            tree, duplicates = json.decode_strict(data)
        except status.ApiError:
            pass
        else:
            if not duplicates:
                return tree, []
    builder = _Builder()
    try:
        tree = builder.document(data)
        json.within_depth(tree)
        return tree, builder.duplicates()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _refusal(f"{line}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _refusal("control characters are not allowed") from None


def encode(tree: Any) -> bytes:
    """A tree as YAML, keys sorted, as the reference server answers `Accept: application/yaml`."""
    text: bytes = yaml.dump(tree, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, width=_WIDTH, sort_keys=True)
    return text


def _refusal(text: str) -> status.ApiError:
    return status.bad_request(f"error converting YAML to JSON: yaml: {text}")


class _Frame:
    """A list or mapping being read. `key` waits for its value."""

    __slots__ = ("anchor", "key", "line", "merged", "value")

    def __init__(self, value: Any, anchor: str | None, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.line = line
        self.key: str | None = None
        self.merged: list[Any] = []


class _Builder:
    """Builds one document from the parser's events, with an explicit stack: depth costs no recursion."""

    def __init__(self) -> None:
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Any] = {}
        self._aliased = 0
        self._repeated: list[str] = []
        self._root: Any = None

    def duplicates(self) -> list[str]:
        return ["yaml: unmarshal errors:\n  " + "\n  ".join(self._repeated)] if self._repeated else []

    def document(self, data: bytes) -> Any:
        for event in yaml.parse(data, Loader=_Loader):
            handle = _EVENTS.get(type(event))
            if handle is not None:
                handle(self, event)
            elif isinstance(event, yaml.DocumentEndEvent):
                break
        return self._root

    def scalar(self, event: Any) -> None:
        line = event.start_mark.line
        value = _scalar(event)
        if event.anchor:
            self._anchors[event.anchor] = value
        self._add(value, line, plain_merge=value == "<<" and event.implicit[0])

    def alias(self, event: Any) -> None:
        if any(frame.anchor == event.anchor for frame in self._stack):
            raise _refusal(f"anchor '{event.anchor}' value contains itself")
        if event.anchor not in self._anchors:
            raise _refusal(f"unknown anchor '{event.anchor}' referenced")
        self._add(self._copy(self._anchors[event.anchor]), event.start_mark.line)

    def start(self, event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _refusal("exceeded max depth")
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Frame(value, event.anchor, event.start_mark.line))

    def end(self, event: Any) -> None:
        frame = self._stack.pop()
        value = frame.value
        for merged in frame.merged:
            value = {**merged, **value}
        if isinstance(value, dict):
            value = dict(sorted(value.items()))
        if frame.anchor:
            self._anchors[frame.anchor] = value
        self._add(value, frame.line)

    def _add(self, value: Any, line: int, *, plain_merge: bool = False) -> None:
        if not self._stack:
            self._root = value
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is None:
            frame.key = _MERGE if plain_merge else _key(value)
            if frame.key in frame.value:
                self._repeated.append(f'line {line + 1}: key "{frame.key}" already set in map')
        elif frame.key is _MERGE:
            frame.key = None
            frame.merged += _mergeable(value)
        else:
            frame.value[frame.key] = value
            frame.key = None

    def _copy(self, value: Any) -> Any:
        """An alias's value, counted; objects are never shared, so that trees stay trees."""
        self._aliased += 1
        if self._aliased > MAX_ALIASED:
            raise _refusal("document contains excessive aliasing")
        if isinstance(value, dict):
            return {key: self._copy(item) for key, item in value.items()}
        return [self._copy(item) for item in value] if isinstance(value, list) else value


_EVENTS: dict[type, Callable[[_Builder, Any], None]] = {
    yaml.ScalarEvent: _Builder.scalar,
    yaml.AliasEvent: _Builder.alias,
    yaml.MappingStartEvent: _Builder.start,
    yaml.SequenceStartEvent: _Builder.start,
    yaml.MappingEndEvent: _Builder.end,
    yaml.SequenceEndEvent: _Builder.end,
}

_MERGE = "<<\0merge"


def _mergeable(value: Any) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in values):
        raise _refusal("map merge requires map or sequence of maps as the value")
    return values


def _key(value: Any) -> str:
    """A mapping's key as JSON has it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise _refusal("invalid map key")


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.tag is None:
        return _resolve(text) if event.implicit[0] else text
    tag = event.tag.removeprefix("tag:yaml.org,2002:")
    if tag == "binary":
        return _binary(text)
    if tag in ("str", "!"):
        return text
    value = _resolve(text)
    if tag == "float" and isinstance(value, int):
        return float(value)
    return value


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode(errors="replace")
    except binascii.Error:
        raise _refusal("!!binary value contains invalid base64 data") from None


_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= {form: True for word in ("y", "yes", "true", "on") for form in (word, word.capitalize(), word.upper())}
_WORDS |= {form: False for word in ("n", "no", "false", "off") for form in (word, word.capitalize(), word.upper())}
_INT = re.compile(r"[-+]?(0b[01]+|0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_JSON = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")


_SHORT = 18  # digits that certainly fit in 64 bits


def _resolve(text: str) -> Any:
    """A plain scalar's value."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if text[0] != "0" and len(text) <= _SHORT and text.isascii() and text.isdigit():
        return int(text)  # nearly all numbers, quickly
    bare = text.replace("_", "")
    if _INT.match(bare):
        return _integer(bare)
    if _FLOAT.match(bare):
        value = float(bare)
        if math.isinf(value):
            raise _refusal(f"json: unsupported value: {text}")
        return value
    if _NOT_JSON.match(text):
        raise _refusal(f"json: unsupported value: {text}")
    return text


def _integer(bare: str) -> int | float:
    digits = bare.lstrip("+-").lower()
    base = {"0b": 2, "0x": 16, "0o": 8}.get(digits[:2], 8 if digits.startswith("0") else 10)
    if len(digits) > MAX_DIGITS:
        raise _refusal(f"cannot decode `{bare[:32]}...` as a number")
    value = int(digits, base)
    value = -value if bare.startswith("-") else value
    return value if -(2**63) <= value < 2**64 else float(value)
