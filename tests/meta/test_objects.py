"""Objects as JSON trees: what is the same, and what is not though Python takes it for the same."""

import pytest

from sampan.meta import objects

DEEP = {"a": [1, {"b": 0}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), ([1], [True]), (DEEP, {"a": [1, {"b": False}]}), ({"a": 1}, {"b": 1}), ([], {})],
)
def test_other_values(one: object, other: object) -> None:
    """true is not 1, false not 0, however deep."""
    assert not objects.same(one, other)
    assert not objects.same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (DEEP, {"a": [1.0, {"b": 0}]}),
        ({"a": 1, "b": True}, {"b": True, "a": 1}),
        ({"a": 1 << 70}, {"a": 1 << 70}),
        (None, None),
    ],
)
def test_the_same_value(one: object, other: object) -> None:
    """Numbers by value, objects in any order of their names."""
    assert objects.same(one, other)
    assert objects.same(other, one)
