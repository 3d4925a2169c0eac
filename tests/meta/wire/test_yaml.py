"""YAML bodies mean what they mean to the reference server, and cannot hurt."""

import pytest

from sampan.meta.status import ApiError
from sampan.meta.wire import yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("No", False), ("ON", True), ("off", False), ("y", True), ("true", True), ('"yes"', "yes"),
        ("2020-01-01", "2020-01-01"), ("1:30", "1:30"), ("0777", 511), ("0x1F", 31), ("0b11", 3), ("0o17", 15),
        ("1_000", 1000), ("-5", -5), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("~", None), ("", None), ("null", None),
        ("!!str 5", "5"), ("!!float 5", 5.0), ("!!binary aGk=", "hi"), ("v1.2.3", "v1.2.3"), ("1.2.3", "1.2.3"),
        ("08", 8.0), ("'~'", "~"), ("+1", 1), ("18446744073709551615", 2**64 - 1),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    """As Go's yaml.v2 resolves them."""
    assert yaml.decode(f"a: {text}\n".encode()) == {"a": value}


def test_keys_become_text_and_are_sorted() -> None:
    """JSON has no other keys."""
    tree = yaml.decode(b"b: 1\n3: x\non: y\nnull: z\na: 1\n")
    assert list(tree.items()) == [("3", "x"), ("a", 1), ("b", 1), ("null", "z"), ("true", True)]


def test_anchors_and_merge_keys() -> None:
    """Own keys win over merged ones; aliases are copies."""
    tree = yaml.decode(b"base: &b {x: 1, z: [1]}\nmade:\n  <<: *b\n  x: 2\nagain: *b\n")
    assert tree["made"] == {"x": 2, "z": [1]}
    assert tree["again"] == tree["base"]
    assert tree["again"]["z"] is not tree["base"]["z"]


def test_duplicates_have_their_line() -> None:
    """All in one text, as upstream's YAML library gives them."""
    tree, found = yaml.decode_strict(b"spec:\n  a: 1\n  a: 2\nspec: {b: 1}\n")
    assert tree == {"spec": {"b": 1}}
    assert found == [
        'yaml: unmarshal errors:\n  line 3: key "a" already set in map\n  line 4: key "spec" already set in map'
    ]


def test_json_takes_the_same_door() -> None:
    """kubectl apply --server-side sends JSON as YAML."""
    assert yaml.decode_strict(b'{"a":"yes","b":[1]}') == ({"a": "yes", "b": [1]}, [])
    assert yaml.decode_strict(b'{"a":1,"a":2}')[1] == ['yaml: unmarshal errors:\n  line 1: key "a" already set in map']


BOMB = b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"&a [*a]", "anchor 'a' value contains itself"),
        (b"a: *x", "unknown anchor 'x' referenced"),
        (BOMB, "document contains excessive aliasing"),
        (b"[" * 100_000, "exceeded max depth"),
        (b"- " * 50_000, "exceeded max depth"),
        (b"a: [1", "did not find expected ',' or ']'"),
        (b"a: \x00", "control characters are not allowed"),
        (b"\xff\xfe\x00", "control characters are not allowed"),
        (b"a: .inf", "json: unsupported value: .inf"),
        (b"a: 1e999", "json: unsupported value: 1e999"),
        (b"a: " + b"9" * 10_000, "as a number"),
        (b"? [a]\n: b", "invalid map key"),
        (b"<<: 1", "map merge requires map or sequence of maps as the value"),
    ],
)
def test_bad_yaml_is_a_bad_request(body: bytes, text: str) -> None:
    """Never a traceback, never a hang."""
    with pytest.raises(ApiError) as caught:
        yaml.decode(body)
    assert caught.value.code == 400
    assert text in caught.value.message


def test_encoding_sorts_and_never_uses_anchors() -> None:
    """The YAML form of an answer reads back as the same tree."""
    shared = {"x": "yes", "n": "1"}
    tree = {"b": shared, "a": [shared, None, True, 5]}
    text = yaml.encode(tree)
    assert text.startswith(b"a:\n")
    assert b"&" not in text
    assert yaml.decode(text) == tree
