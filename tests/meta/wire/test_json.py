"""JSON in and out: errors in Go's words, and no repeated key goes unseen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.meta.status import ApiError
from sampan.meta.wire import json

PREFIX = "couldn't get version/kind; json parse error: "


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"hello", "invalid character 'h' looking for beginning of value"),
        (b"", "unexpected end of JSON input"),
        (b'{"a":1', "unexpected end of JSON input"),
        (b'{"a":"b', "unexpected end of JSON input"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a":1}x', "invalid character 'x' after top-level value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        (b'{"a":"\xff"}', "invalid UTF-8 in string"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_bad_json_is_a_bad_request(body: bytes, text: str) -> None:
    """Worded as the reference server words it."""
    with pytest.raises(ApiError) as caught:
        json.decode(body)
    assert caught.value.code == 400
    assert caught.value.message == PREFIX + text


def test_lone_surrogates_are_refused() -> None:
    """They could not be written out again."""
    with pytest.raises(ApiError):
        json.decode(b'{"a":"\\ud800"}')


def test_duplicates_have_their_path() -> None:
    """Once each, with indices, and the last value wins."""
    tree, found = json.decode_strict(b'{"spec":{"replicas":1,"replicas":2,"replicas":3},"l":[{},{"a.b":1,"a.b":2}]}')
    assert tree == {"spec": {"replicas": 3}, "l": [{}, {"a.b": 2}]}
    assert found == ['duplicate field "spec.replicas"', 'duplicate field "l[1].a.b"']


def test_large_numbers_are_read_the_same_beside_duplicates() -> None:
    """Beyond 64 bits they are floats."""
    for number in (2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40):
        tree, found = json.decode_strict(b'{"a":%d,"a":%d}' % (number, number))
        assert found
        alone = json.decode(b'{"a":%d}' % number)
        assert (tree, type(tree["a"])) == (alone, type(alone["a"]))


def test_duplicates_cannot_hide() -> None:
    """Neither behind escapes nor behind colons inside text."""
    for body in (rb'{"a":"\u003a","a":1}', rb'{"\u0061":1,"a":1}', rb'{"a" :"x:y","b":":","a"  :"::"}'):
        assert json.decode_strict(body)[1] == ['duplicate field "a"']
    assert json.decode_strict(rb'{"a\u003a":":\u003A"}') == ({"a:": "::"}, [])


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(trees)
def test_round_trip(tree: object) -> None:
    """What was written is read, and has no repeated keys."""
    assert json.decode_strict(json.encode(tree)) == (tree, [])
