"""proto3 messages by tables, beside Google's own codec."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sampan.meta.wire import protobuf_write
from sampan.node.rpc import messages

TABLE = """
Part
  1 name string
  2 size int64
Whole
  1 id string
  2 count int32
  3 labels map<string,string>
  4 parts Part*
  5 best Part
  6 numbers int64*
  7 names string*
  8 limit int64?
  9 by_number map<int64,Part>
  10 raw bytes
  11 is_so bool
  12 share double
  16 big uint64
"""
WHOLE = messages.parse(TABLE)["Whole"]
NONE = {
    "id": "",
    "count": 0,
    "labels": {},
    "parts": [],
    "best": None,
    "numbers": [],
    "names": [],
    "limit": None,
    "by_number": {},
    "raw": b"",
    "is_so": False,
    "share": 0.0,
    "big": 0,
}
SOME = {
    "id": "é",
    "count": -3,
    "labels": {"a": "b", "c": ""},
    "parts": [{"name": "x", "size": 0}, {"name": "", "size": 1 << 40}],
    "best": {"name": "", "size": 0},
    "numbers": [1, 0, -1],
    "names": ["", "n"],
    "limit": 0,
    "by_number": {5: {"name": "five", "size": 5}},
    "raw": b"\xff\x00",
    "is_so": True,
    "share": 0.5,
    "big": (1 << 64) - 1,
}


def test_nothing_is_all_zeros():
    """And zeros are nothing, but where absence means something."""
    assert WHOLE.read(b"") == NONE
    assert WHOLE.write(NONE) == b""
    assert WHOLE.read(WHOLE.write({"limit": 0})) == {**NONE, "limit": 0}


def test_what_is_written_is_read():
    """Every kind of field."""
    assert WHOLE.read(WHOLE.write(SOME)) == SOME


def test_bytes_are_googles():
    """Its codec reads what ours writes, and the other way round."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    part = file.message_type.add(name="Part")
    part.field.add(name="name", number=1, type=9, label=1)
    part.field.add(name="size", number=2, type=3, label=1)
    whole = file.message_type.add(name="Whole")
    for name, number, type, label in (("id", 1, 9, 1), ("count", 2, 5, 1), ("numbers", 6, 3, 3), ("names", 7, 9, 3)):
        whole.field.add(name=name, number=number, type=type, label=label)
    whole.field.add(name="parts", number=4, type=11, label=3, type_name=".t.Part")
    whole.field.add(name="best", number=5, type=11, label=1, type_name=".t.Part")
    entry = whole.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=9, label=1)
    whole.field.add(name="labels", number=3, type=11, label=3, type_name=".t.Whole.LabelsEntry")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Whole"))
    ours = {name: SOME[name] for name in ("id", "count", "numbers", "names", "parts", "best", "labels")}
    read = theirs.FromString(WHOLE.write(ours))
    assert (read.id, read.count, list(read.numbers), list(read.names)) == ("é", -3, [1, 0, -1], ["", "n"])
    assert [(each.name, each.size) for each in read.parts] == [("x", 0), ("", 1 << 40)]
    assert (dict(read.labels), read.HasField("best")) == ({"a": "b", "c": ""}, True)
    assert WHOLE.read(read.SerializeToString()) == {**NONE, **ours}


def test_unknown_fields_are_skipped():
    """Of each wire type; numbers come packed or one by one."""
    unknown = b"\xa0\x06\x01" + b"\xa2\x06\x02ab" + b"\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4)
    assert WHOLE.read(unknown + b"\x30\x01\x30\x02\x0a\x01x") == {**NONE, "id": "x", "numbers": [1, 2]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a\x05ab", "unexpected EOF"),
        (b"\x0a", "unexpected EOF"),
        (b"\x10" + b"\xff" * 11, "integer overflow"),
        (b"\x08\x01", "wrong wireType = 0 for field id"),
        (b"\x12\x01a", "wrong wireType = 2 for field count"),
        (b"\x0b", "illegal wireType 3"),
        (b"\x00\x01", "illegal tag 0"),
        (b"\x0a\x01\xff", "invalid UTF-8"),
        (b"\x61\x01", "unexpected EOF"),
    ],
)
def test_what_is_no_such_message(data, why):
    """Is refused."""
    with pytest.raises(messages.Fault, match=why):
        WHOLE.read(data)


def test_messages_within_messages_have_an_end():
    """However deep they are nested."""
    node = messages.parse("Node\n  1 next Node\n")["Node"]
    data = b""
    for _ in range(60):
        data = node.write({"next": node.read(data)})
    deep = b""
    for _ in range(200):
        protobuf_write.delimited(out := bytearray(), 1, deep)
        deep = bytes(out)
    assert node.read(data)["next"]["next"]
    with pytest.raises(messages.Fault, match="recursion"):
        node.read(deep)


def test_a_mistake_in_the_program():
    """A field or a type that there isn't."""
    with pytest.raises(KeyError, match="Whole has no idd"):
        WHOLE.write({"idd": "x"})
    with pytest.raises(ValueError, match="there is no strin"):
        messages.parse("Part\n  1 name strin\n")
