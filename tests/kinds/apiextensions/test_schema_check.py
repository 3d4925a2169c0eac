"""The quick check and the telling validation agree."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.kinds.apiextensions import schema_check, schema_validation

Node = dict[str, Any]

NUMBERS = st.integers(-3, 3)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.floats(-3, 3), st.sampled_from(["", "a", "ab", "1.2.3.4"]), st.just(2**40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def maybe(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Node]:
    """A keyword that is there or not."""
    return st.one_of(st.just({}), values.map(lambda value: {name: value}))


def merged(*parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.tuples(*parts).map(lambda nodes: {key: value for node in nodes for key, value in node.items()})


COMMON = maybe("nullable", st.booleans())
LEAVES = st.one_of(
    merged(
        st.just({"type": "string"}), COMMON, maybe("maxLength", st.integers(0, 3)), maybe("minLength", st.integers(0, 2)),
        maybe("pattern", st.sampled_from(["^a", "b$"])), maybe("format", st.sampled_from(["ipv4", "odd"])),
        maybe("enum", st.just(["a", "ab"])),
    ),
    merged(
        st.just({"type": "integer"}), COMMON, maybe("maximum", NUMBERS), maybe("minimum", NUMBERS),
        maybe("exclusiveMinimum", st.booleans()), maybe("format", st.just("int32")), maybe("multipleOf", st.just(2)),
    ),
    merged(st.just({"type": "number"}), COMMON, maybe("maximum", NUMBERS)),
    merged(st.just({"type": "boolean"}), COMMON),
    st.just({"x-kubernetes-int-or-string": True}),
    st.just({"x-kubernetes-preserve-unknown-fields": True}),
)  # fmt: skip


def nested(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Arrays, objects, maps and junctions of schemas."""
    properties = st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    return st.one_of(
        merged(st.just({"type": "array"}), inner.map(lambda node: {"items": node}), maybe("maxItems", st.integers(0, 2))),
        merged(
            st.just({"type": "object"}), properties.map(lambda p: {"properties": p}), COMMON,
            maybe("required", st.just(["a"])), maybe("maxProperties", st.integers(0, 2)),
            maybe("oneOf", st.just([{"required": ["a"]}, {"required": ["b"]}])),
        ),
        merged(st.just({"type": "object"}), inner.map(lambda node: {"additionalProperties": node})),
    )  # fmt: skip


@given(st.recursive(LEAVES, nested, max_leaves=6), VALUES)
def test_the_quick_check_agrees_with_the_telling_one(node: Node, value: Any) -> None:
    """What the quick check lets through has no cause, and what it stops has one."""
    assert schema_check.checker(node)(value) == (not schema_validation.validate(value, node, path="x"))


@given(st.recursive(LEAVES, nested, max_leaves=6), VALUES)
def test_an_unchanged_value_has_no_cause(node: Node, value: Any) -> None:
    """Whatever is wrong with a stored value, storing it again is not refused."""
    assert schema_validation.validate(value, node, value) == []
