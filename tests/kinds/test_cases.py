"""Kinds by documents: given an object (and the stored one), when it is written, then this is what comes of it."""

import pathlib
from typing import Any

import pytest
import yaml

from sampan.kinds import builtin
from sampan.kinds.kind import Kind
from sampan.meta import objects, schema

CASES = pathlib.Path(__file__).parents[1] / "cases" / "kinds"
NOW = 1767225720.0  # 2026-01-01T00:02:00Z


def _documents() -> list[Any]:
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load_all(path.read_text()):
            found.append(pytest.param(case, id=f"{path.stem}: {case['promise']}"))
    return found


def _kind(case: dict[str, Any]) -> Kind:
    """The case's, where the feature gates are open that it names."""
    place = (case.get("group", ""), case["resource"])
    served = builtin.kinds(frozenset(case.get("gates", ())))
    return next(kind for kind in served if (kind.group, kind.plural) == place and not kind.storage_version)


@pytest.mark.parametrize("case", _documents())
def test_case_holds(case: dict[str, Any]) -> None:
    """Every document's promise holds."""
    kind = _kind(case)
    new, old = objects.copy(case["given"]), objects.copy(case.get("stored"))
    new.setdefault("metadata", {"name": "x"})
    if case.get("when", "written") == "written":
        kind.hooks.default(new)
        if old is not None:
            kind.hooks.default(old)
        kind.hooks.prepare(new, old, "")
    then = case["then"]
    if "causes" in then:
        assert [c.text for c in kind.hooks.validate(new, old, "")] == then["causes"]
    if "warnings" in then:
        assert list(kind.hooks.warn(new, old)) == then["warnings"]
    for path, value in then.get("has", {}).items():
        assert objects.get_path(new, path) == value, path
    for name, cell in then.get("cells", {}).items():
        (column,) = (c for c in kind.columns if c.name == name)
        shown = objects.get_path(new, column.value) if isinstance(column.value, str) else column.value(new, NOW)
        assert shown == cell, name


@pytest.mark.parametrize("case", _documents())
def test_status_has_defaults_of_its_own(case: dict[str, Any]) -> None:
    """Where all else has its defaults, those of status are all that is left: a write to /status asks for no more."""
    kind = _kind(case)
    whole = {"metadata": {"name": "x"}, **objects.copy(case.get("stored") or case["given"])}
    kind.hooks.default(whole)
    for said in ({}, {"status": objects.copy(case["given"].get("status") or {})}):
        bare = {name: value for name, value in whole.items() if name != "status"} | said
        fully, partly = objects.copy(bare), {**objects.copy(bare)}
        kind.hooks.default(fully)
        kind.hooks.default_status(partly)
        assert partly == fully


def test_every_kind_has_its_schema() -> None:
    """Each declared kind's schema is among the definitions."""
    for kind in (*builtin.KINDS, *builtin.BODIES):
        assert "metadata" in schema.definition(kind.schema).fields


def test_default_roles_are_valid() -> None:
    """The default roles and bindings pass their own kinds' rules."""
    from sampan.kinds.rbac import bootstrap

    for declared, obj in bootstrap.objects():
        kind = builtin.by_resource(declared.group, declared.plural)
        assert kind is not None
        assert not list(kind.hooks.validate(obj, None, "")), obj["metadata"]["name"]
