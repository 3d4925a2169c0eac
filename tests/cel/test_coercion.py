"""Values follow their schema: numbers are doubles, formats have types, names are escaped, lists compare by their type."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from sampan.cel.program import EvaluationError
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.meta import schema
from tests.cel.expressions import of_schema, over

STRING = {"type": "string"}
INTEGER = {"type": "integer"}


def spec(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


CASES: list[tuple[dict[str, Any], str, Any, Any]] = [
    (spec(n={"type": "number"}), "self.n + 0.5", {"n": 1}, 1.5),
    (spec(n={"type": "number"}), "type(self.n) == double", {"n": 1}, True),
    (spec(i=INTEGER), "self.i / 2", {"i": 7}, 3),
    (spec(p={"x-kubernetes-int-or-string": True}), "type(self.p) == int ? self.p < 5 : false", {"p": 3}, True),
    (spec(p={"x-kubernetes-int-or-string": True}), "type(self.p) == string && self.p == '50%'", {"p": "50%"}, True),
    (spec(t={"type": "string", "format": "date-time"}), "self.t.getFullYear()", {"t": "2026-01-02T00:00:00Z"}, 2026),
    (spec(t={"type": "string", "format": "date"}), "self.t.getDate()", {"t": "2026-01-02"}, 2),
    (spec(d={"type": "string", "format": "duration"}), "self.d == duration('90m')", {"d": "1h30m"}, True),
    (spec(d={"type": "string", "format": "duration"}), "self.d.getHours()", {"d": "2 days"}, 48),
    (spec(y={"type": "string", "format": "byte"}), "self.y == b'hi' && size(self.y) == 2", {"y": "aGk="}, True),
    (spec(u={"type": "string", "format": "uuid"}), "self.u.size()", {"u": "abc"}, 3),
    (spec(**{"a-b": STRING}), "self.a__dash__b", {"a-b": "x"}, "x"),
    (
        spec(**{"a.b/c": STRING}),
        "self.a__dot__b__slash__c + string(has(self.a__dot__b__slash__c))",
        {"a.b/c": "x"},
        "xtrue",
    ),
    (spec(namespace=STRING), "self.__namespace__", {"namespace": "x"}, "x"),
    (spec(a__b=STRING), "self.a__underscores__b", {"a__b": "x"}, "x"),
    (spec(m={"type": "object", "additionalProperties": {"type": "number"}}), "self.m['a'] + 0.5", {"m": {"a": 1}}, 1.5),
    (
        spec(m={"type": "object", "additionalProperties": {"type": "number"}}),
        "self.m.all(k, self.m[k] > 0.5)",
        {"m": {"a-b": 1}},
        True,
    ),
    (spec(l={"type": "array", "items": {"type": "number"}}), "self.l.map(x, x / 2.0)", {"l": [1, 3]}, [0.5, 1.5]),
    (spec(o=STRING), "has(self.o)", {}, False),
    (spec(o={"type": "string", "nullable": True}), "has(self.o) && dyn(self.o) == null", {"o": None}, True),
    (spec(q=spec(z={"type": "number"})), "dyn(self).q.z == 1.0", {"q": {"z": 1}}, True),
    (spec(a={"type": "number"}), "self == self && dyn(self).a == 1", {"a": 1}, True),
]


@pytest.mark.parametrize(("node", "source", "value", "wanted"), CASES)
def test_values(node: dict[str, Any], source: str, value: Any, wanted: object) -> None:
    """A property's value has the type that its schema says."""
    assert over(node, source, value) == wanted


def lists(kind: str, items: dict[str, Any] = STRING, **more: Any) -> dict[str, Any]:
    array = {"type": "array", "items": items, "x-kubernetes-list-type": kind} | more
    return spec(a=array, b=array)


ITEM = spec(k=STRING, v=INTEGER)
KEYS = {"x-kubernetes-list-map-keys": ["k"]}
SAME_MAP = {"a": [{"k": "x", "v": 1}, {"k": "y", "v": 2}], "b": [{"k": "y", "v": 2}, {"k": "x", "v": 1}]}


def test_sets_ignore_order() -> None:
    """Sets are equal in any order and add to a union; atomic lists are not."""
    value = {"a": ["x", "y"], "b": ["y", "x"]}
    assert over(lists("set"), "self.a == self.b", value) is True
    assert over(lists("set"), "self.a + self.b", value) == ["x", "y"]
    assert over(lists("set"), "self.a + ['z']", value) == ["x", "y", "z"]
    assert over(lists("atomic"), "self.a == self.b", value) is False
    assert over(lists("atomic"), "(self.a + self.b).size()", value) == 4


def test_sets_tell_true_from_one() -> None:
    """What is not equal to CEL are two items of a set, though Python takes true for 1; the order in objects is nothing."""
    items = {**spec(n=INTEGER), "x-kubernetes-map-type": "atomic", "x-kubernetes-preserve-unknown-fields": True}
    differing = {"a": [{"k": 1, "l": [True]}], "b": [{"k": True, "l": [True]}]}
    assert over(lists("set", items), "self.a == dyn(self.b)", differing) is False
    assert over(lists("set", items), "(self.a + dyn(self.b)).size()", differing) == 2
    turned = {"a": [{"k": 1, "l": [True]}], "b": [{"l": [True], "k": 1}]}
    assert over(lists("set", items), "self.a == dyn(self.b)", turned) is True
    assert over(lists("set", items), "(self.a + dyn(self.b)).size()", turned) == 1


def test_maps_compare_by_key() -> None:
    """List maps are equal by their keys; adding keeps places and replaces what has the same key."""
    assert over(lists("map", ITEM, **KEYS), "self.a == dyn(self.b)", SAME_MAP) is True
    changed = {"a": [{"k": "x", "v": 1}], "b": [{"k": "z", "v": 3}, {"k": "x", "v": 9}]}
    assert over(lists("map", ITEM, **KEYS), "self.a == dyn(self.b)", changed) is False
    assert over(lists("map", ITEM, **KEYS), "self.a + dyn(self.b)", changed) == [{"k": "x", "v": 9}, {"k": "z", "v": 3}]


def test_bad_format_fails() -> None:
    """A string that is not of its format fails when it is read."""
    with pytest.raises(EvaluationError, match="Invalid duration x: "):
        over(spec(d={"type": "string", "format": "duration"}), "self.d == duration('1s')", {"d": "x"})


def test_resource_root() -> None:
    """The root of a resource has apiVersion, kind, metadata.name and metadata.generateName, and no more metadata."""
    node = spec(spec=spec(x=INTEGER))
    value = {"kind": "Widget", "apiVersion": "v1", "metadata": {"name": "w", "labels": {}}, "spec": {"x": 1}}
    assert over(node, "self.kind + self.apiVersion + self.metadata.name", value, root=True) == "Widgetv1w"
    assert over(node, "has(self.metadata.generateName)", value, root=True) is False
    with pytest.raises(CompileError, match="undefined field 'labels'"):
        over(node, "self.metadata.labels", value, root=True)
    with pytest.raises(CompileError, match="undefined field 'kind'"):
        over(node, "self.kind", value)


def test_embedded_resource() -> None:
    """An embedded resource is a root of its own."""
    node = spec(
        e={"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    )
    assert over(node, "self.e.metadata.name", {"e": {"metadata": {"name": "x"}, "more": 1}}) == "x"


def test_unknown_fields_are_out_of_reach() -> None:
    """Fields that only x-kubernetes-preserve-unknown-fields keeps have no type."""
    node = spec(
        u={"x-kubernetes-preserve-unknown-fields": True},
        o={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    )
    with pytest.raises(CompileError, match="undefined field 'u'"):
        over(node, "self.u == 1", {"u": 1})
    with pytest.raises(CompileError, match="undefined field 'x'"):
        over(node, "self.o.x == 1", {"o": {"x": 1}})
    assert over(node, "self.o == self.o", {"o": {"x": 1}}) is True


def test_recursive_schema_is_bounded() -> None:
    """A schema deeper than any real one ends, and so do definitions that contain themselves."""
    node: dict[str, Any] = STRING
    for _ in range(500):
        node = spec(a=node)
    assert of_schema(node).field("a") is not None
    found = schema.definition("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition")
    assert types.of_schema(found, "CustomResourceDefinition") is not None


def test_built_in_kind() -> None:
    """A built-in kind's type comes from its definition, with all of its metadata."""
    held = types.of_schema(DEPLOYMENT.type, "Deployment", root=True)
    assert held is not None
    program = Environment({"object": held}).compile("object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'")
    assert program.evaluate({"object": {"spec": {"replicas": 2}, "metadata": {"labels": {"a": "b"}}}}) is True
    with pytest.raises(CompileError, match="undefined field 'replica'"):
        Environment({"object": held}).compile("object.spec.replica > 1")


def test_request_type() -> None:
    """`request` of admission has its fields and no others."""
    environment = Environment({"request": types.admission_request(), "namespaceObject": types.namespace_object()})
    source = "request.userInfo.groups.exists(g, g == 'x') && request.kind.group == '' && request.dryRun == false"
    request = {"userInfo": {"groups": ["x"]}, "kind": {"group": ""}, "dryRun": False}
    assert environment.compile(source).evaluate({"request": request}) is True
    labels = {"metadata": {"name": "n", "labels": {"a": "b"}}}
    assert environment.compile("namespaceObject.metadata.labels['a']").evaluate({"namespaceObject": labels}) == "b"
    with pytest.raises(CompileError, match="undefined field 'object'"):
        environment.compile("request.object")


@given(st.from_regex(r"[A-Za-z_./-][A-Za-z0-9_./-]{0,12}", fullmatch=True))
def test_escaping_is_reversible(name: str) -> None:
    """Every property name that can be written comes back."""
    escaped = types.escape(name)
    assert escaped is not None
    assert types.unescape(escaped) == name


def test_escaping() -> None:
    """The documented escapes."""
    assert types.escape("x-prop") == "x__dash__prop"
    assert types.escape("redact__d") == "redact__underscores__d"
    assert types.escape("in") == "__in__"
    assert types.escape("a b") is None
    assert types.escape("1a") is None


def test_optional_variable() -> None:
    """A variable of an optional type is there or not: oldSelf with optionalOldSelf."""
    node = of_schema(spec(n={"type": "number"}))
    program = Environment({"oldSelf": types.optional_of(node)}).compile("oldSelf.?n.orValue(2.5)")
    assert program.evaluate({"oldSelf": {"n": 1}}) == 1.0
    assert program.evaluate({"oldSelf": None}) == 2.5
    assert Environment({"oldSelf": types.optional_of(node)}).compile("oldSelf.hasValue()").evaluate({"oldSelf": {}})


@pytest.mark.parametrize(
    "source", ["self.s.size() > 1", "self.s.startsWith('a')", "self.i + 1 > 0", "self.l.all(x, x > 0)"]
)
@pytest.mark.parametrize("value", [None, {}, [], 1.5, True, "x", {"a": [None]}])
def test_trees_of_another_shape(source: str, value: Any) -> None:
    """A tree that is not what its schema says fails as an evaluation, if it does; it never breaks the evaluator."""
    node = spec(s=STRING, i=INTEGER, l={"type": "array", "items": INTEGER})
    for tree in (value, {"s": value, "i": value, "l": value}):
        try:
            assert over(node, source, tree) in {True, False}
        except EvaluationError as wrong:
            assert str(wrong)  # noqa: PT017
