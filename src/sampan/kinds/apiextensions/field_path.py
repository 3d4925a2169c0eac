"""Paths into a schema: `.spec.color`, `.spec.labels['a.b']`, as rules and selectable fields name a field.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-path
"""

import re
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class PathError(ValueError):
    """A path that leads nowhere, with upstream's words."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path leads: `path` as causes name it, and the schema there."""

    path: str
    node: Node


def find(text: str, node: Node, *, brackets: bool = True) -> Target:
    """The field that a path names. Raises PathError."""
    tokens = _TOKEN.findall(text)
    path, at = "", 0
    while at < len(tokens):
        token = tokens[at]
        if token == "[":
            if not brackets:
                raise PathError("array notation is not allowed")
            name = _quoted(_next(tokens, at + 1))
            path, node = _step(path, node, name)
            closing = _next(tokens, at + 2)
            if closing != "]":
                raise PathError(f"expected ] but got {closing}")
            at += 3
        elif token == ".":
            path, node = _step(path, node, _next(tokens, at + 1))
            at += 2
        else:
            raise PathError(f"expected [ or . but got: {token}")
    return Target(path, node)


def _next(tokens: list[str], at: int) -> str:
    if at >= len(tokens):
        raise PathError("unexpected end of JSON path")
    return tokens[at]


def _step(path: str, node: Node, name: str) -> tuple[str, Node]:
    properties, others = node.get("properties"), node.get("additionalProperties")
    if properties:
        if name not in properties:
            raise PathError("does not refer to a valid field")
        return (f"{path}.{name}" if path else name), properties[name]
    if isinstance(others, dict):
        return f"{path}[{name}]", others
    raise PathError("does not refer to a valid field")


def _quoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise PathError(f"expected single quoted string but got {token}")

    def plain(match: re.Match[str]) -> str:
        if match.group(1) not in _ESCAPES:
            raise PathError(f"invalid string literal: invalid escape char {match.group()}")
        return _ESCAPES[match.group(1)]

    return re.sub(r"\\(.)", plain, token[1:-1])
