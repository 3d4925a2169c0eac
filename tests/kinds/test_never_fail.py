"""A kind's rules say what is wrong with any object of its schema, and never fail themselves: no 500 from there."""

import random
from typing import Any

import pytest

from sampan.kinds import builtin
from sampan.kinds.kind import Kind, Object
from sampan.meta import fields, objects, schema
from sampan.meta.status import ApiError

ROUNDS = 25
TEXTS = (
    "", "a", "a/b", "..", "/x", "-", "A B", "é", "x" * 300, "Always", "Localhost", "Never", "In", "Exists", "None",
    "All", "true", "zone", "example.com/a", "metadata.name", "iqn.2001-04.com.example:s", 'device.driver == "a"',
)  # fmt: skip
SCALARS: dict[str, tuple[Any, ...]] = {
    "string": TEXTS,
    "integer": (0, 1, -1, 5, 70000, 2**31),
    "number": (1.5, 0),
    "boolean": (True, False),
    "int-or-string": (0, 1, "x", "50%"),
    "quantity": ("1", "1Gi", "0", "1500m", "100m"),
    "time": ("2026-01-01T00:00:00Z",),
    "any": ({}, {"a": 1}, {"a": {"b": [1]}}),
}


@pytest.mark.parametrize("kind", builtin.KINDS, ids=lambda kind: f"{kind.api_version} {kind.name}")
def test_rules_never_fail(kind: Kind) -> None:
    """Created, updated, and written by each of its own parts."""
    chance = random.Random(kind.resource)  # noqa: S311 (no secret)
    for _ in range(ROUNDS):
        first, second = _object(kind, chance), _object(kind, chance)
        if first is None or second is None:
            continue
        _write(kind, objects.copy(second), None, "")
        stored = _write(kind, first, None, "")
        _write(kind, objects.copy(second), stored, "")
        for part in kind.subresources:
            if part.name == "status":
                state = objects.copy(second.get("status") or {})
                _write(kind, {**objects.copy(stored), "status": state}, stored, part.name)
            elif part.name in ("resize", "ephemeralcontainers"):
                _write(kind, objects.copy(second), stored, part.name)


def _write(kind: Kind, new: Object, old: Object | None, subresource: str) -> Object:
    kind.hooks.default(new)
    kind.hooks.prepare(new, old, subresource)
    list(kind.hooks.validate(new, old, subresource))
    list(kind.hooks.warn(new, old))
    return new


def _object(kind: Kind, chance: random.Random) -> Object | None:
    """An object that the decoder lets through; None when it would not."""
    made = _sample(kind.type, chance, ())
    made |= {"apiVersion": kind.api_version, "kind": kind.name}
    made["metadata"] = {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "b"}}
    if kind.namespaced:
        made["metadata"]["namespace"] = "default"
    try:
        return fields.prune(made, kind.type)
    except (ApiError, fields.Mismatch):
        return None


def _sample(kind: schema.Type, chance: random.Random, around: tuple[str, ...]) -> Any:
    if kind.kind == "object":
        if kind.name and around.count(kind.name) > 1:
            return {}
        share = chance.choice((0.15, 0.4, 0.8)) if len(around) < 6 else 0.15
        inside = (*around, kind.name)
        return {
            name: _sample(inner, chance, inside)
            for name, inner in kind.fields.items()
            if chance.random() < share or (not around and name in ("spec", "status"))
        }
    if kind.kind == "array":
        return [_sample(kind.items, chance, around) for _ in range(chance.choice((0, 1, 2)))]
    if kind.kind == "map":
        keys = chance.sample(TEXTS[1:], chance.choice((0, 1, 2)))
        return {key: _sample(kind.items, chance, around) for key in keys}
    if kind.kind == "string" and kind.format == "byte":
        return "YQ=="
    return chance.choice(SCALARS[kind.kind])
