"""Object{...} and JSONPatch{...}: what mutating policies make are plain JSON trees."""

import pytest

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from sampan.cel.program import EvaluationError

ENVIRONMENT = Environment({"object": types.DYN, "variables": types.object_of("variables", {})}, mutation=True)
OBJECT = {"metadata": {"name": "x"}, "spec": {"replicas": 2, "containers": [{"name": "a"}, {"name": "b"}]}}


def test_object() -> None:
    """Objects and their fields become maps; optional fields may be left out."""
    source = """
      Object{
        metadata: Object.metadata{labels: {"a-b": "c"}, ?annotations: optional.none()},
        spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.of(true)}
      }
    """
    program = ENVIRONMENT.compile(source, (types.APPLY,))
    assert program.evaluate({"object": OBJECT}) == {
        "metadata": {"labels": {"a-b": "c"}},
        "spec": {"replicas": 3, "paused": True},
    }


def test_list_of_objects() -> None:
    """Objects may be made in lists and macros."""
    source = """Object{spec: Object.spec{containers: object.spec.containers.map(c,
        Object.spec.containers{name: c.name, env: [Object.spec.containers.env{name: "X", value: "1"}]})}}"""
    made = ENVIRONMENT.compile(source).evaluate({"object": OBJECT})
    assert made["spec"]["containers"][1] == {"name": "b", "env": [{"name": "X", "value": "1"}]}


def test_misnamed_object() -> None:
    """A type's name must be the path of fields that leads to it."""
    program = ENVIRONMENT.compile("Object{spec: Object.metadata{name: 'x'}}")
    with pytest.raises(EvaluationError) as caught:
        program.evaluate({"object": OBJECT})
    assert str(caught.value) == (
        'type mismatch: unexpected type name "Object.metadata", expected "Object.spec", '
        "which matches field name path from root Object type"
    )


def test_fields_of_objects() -> None:
    """What was made can be read again."""
    assert ENVIRONMENT.compile("Object{spec: Object.spec{a: 1}}.spec.a == 1").evaluate({}) is True
    assert ENVIRONMENT.compile("has(Object{spec: Object.spec{a: 1}}.spec.b)").evaluate({}) is False


def test_json_patch() -> None:
    """Patches become operations; a value may be an object."""
    source = """
      has(object.metadata.labels) ? [] : [
        JSONPatch{op: "test", path: "/spec/replicas", value: object.spec.replicas},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a/b"), value: Object.metadata{x: 1}},
        JSONPatch{op: "move", from: "/a", path: "/b"}
      ]
    """
    program = ENVIRONMENT.compile(source, (types.list_of(types.JSON_PATCH),))
    assert program.evaluate({"object": OBJECT}) == [
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": {"x": 1}},
        {"op": "move", "from": "/a", "path": "/b"},
    ]


def test_wrong_patches() -> None:
    """A patch's fields have types, and there are no others."""
    with pytest.raises(CompileError, match="expected type of field 'op' is 'string' but provided type is 'int'"):
        ENVIRONMENT.compile("JSONPatch{op: 1}")
    with pytest.raises(CompileError, match="undefined field 'operation'"):
        ENVIRONMENT.compile("JSONPatch{operation: 'add'}")
    with pytest.raises(EvaluationError, match="unexpected type int for JSONPatchType 'op' field"):
        ENVIRONMENT.compile("JSONPatch{op: dyn(1)}").evaluate({})


def test_wrong_result() -> None:
    """An apply configuration must be an Object."""
    with pytest.raises(CompileError, match=r"^must evaluate to Object but got Object.spec$"):
        ENVIRONMENT.compile("Object.spec{a: 1}", (types.APPLY,))
    with pytest.raises(CompileError, match="undeclared reference to 'Other'"):
        ENVIRONMENT.compile("Other{a: 1}")
