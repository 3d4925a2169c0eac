"""Protobuf: every message comes back as it went, kubectl's own bytes are understood, nonsense is refused."""

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.kinds.builtin import BODIES, KINDS
from sampan.kinds.kind import Kind
from sampan.meta import fields, schema, timestamps
from sampan.meta.status import ApiError
from sampan.meta.wire import protobuf, protobuf_read, protobuf_table, protobuf_write
from sampan.meta.wire.protobuf_table import Field

# Bodies that kubectl 1.37 sent.
CREATE_DEPLOYMENT = bytes.fromhex(
    "6b3873000a150a07617070732f7631120a4465706c6f796d656e74129b010a1b0a017812001a0022002a003200380042005a080a03617070"
    "120178126e0802120a0a080a036170701201781a560a1a0a0012001a0022002a003200380042005a080a0361707012017812"
    "38121a0a01791201792a0042006a007200800100880100900100a201001a00320042004a0052005800600068008201008a01009a0100c20100"
    "22020a00280038001a0c0800100018002000280038001a002200"
)
CREATE_TOKEN = bytes.fromhex(
    "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374121a0a100a0012001a00"
    "22002a0032003800420012001a040a0012001a002200"
)
CAN_I = bytes.fromhex(
    "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a656374416363657373526576696577"
    "123f0a100a0012001a0022002a0032003800420012210a1f0a0764656661756c7412066372656174651a0022002a04706f647332003a001a08"
    "080012001a0020001a002200"
)


def test_kubectls_create_deployment() -> None:
    """Zero values that mean absent are absent; those that say something stay."""
    labels = {"app": "x"}
    assert protobuf.decode(CREATE_DEPLOYMENT) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "y", "image": "y", "resources": {}}]},
            },
            "strategy": {},
        },
        "status": {},
    }


def test_kubectls_reviews_and_tokens() -> None:
    """`create token` and `auth can-i` send protobuf and nothing else."""
    assert protobuf.decode(CREATE_TOKEN)["kind"] == "TokenRequest"
    review = protobuf.decode(CAN_I)
    assert review["apiVersion"] == "authorization.k8s.io/v1"
    assert review["spec"] == {"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}}
    assert review["status"] == {"allowed": False}


@pytest.mark.parametrize("body", [CREATE_DEPLOYMENT, CREATE_TOKEN, CAN_I])
def test_what_is_cut_short_is_refused(body: bytes) -> None:
    """At any byte: a whole message or a 400, never anything else."""
    for end in range(len(body)):
        try:
            protobuf.decode(body[:end])
        except ApiError as error:
            assert error.code == 400
    with pytest.raises(ApiError, match="unexpected EOF"):
        protobuf.decode(body[:-1])


@given(st.sampled_from([CREATE_DEPLOYMENT, CAN_I]), st.lists(st.tuples(st.integers(4, 180), st.binary(max_size=3))))
def test_damaged_bytes_never_crash(body: bytes, damage: list[tuple[int, bytes]]) -> None:
    """Any change gives an object or a 400."""
    for at, put in damage:
        body = body[:at] + put + body[at + len(put) :]
    try:
        assert isinstance(protobuf.decode(body), dict)
    except ApiError as error:
        assert error.code == 400


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b'{"a":1}', "expected prefix"),
        (b"k8s\x00", 'no kind "" is registered for version ""'),
        (b"k8s\x00\x0b", "illegal wireType 3"),
        (b"k8s\x00" + b"\xff" * 20, "integer overflow"),
        (b"k8s\x00\x0a\xff\xff\xff\xff\x07", "unexpected EOF"),
        (b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x08\x01", "wrong wireType = 0 for field Metadata"),
        (b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Foo", 'no kind "Foo" is registered for version "v1"'),
    ],
)
def test_nonsense_is_a_bad_request(body: bytes, text: str) -> None:
    """With a text that says what is wrong."""
    with pytest.raises(ApiError) as caught:
        protobuf.decode(body)
    assert caught.value.code == 400
    assert text in caught.value.message


def test_depth_is_bounded() -> None:
    """A schema within a schema within a schema ... ends with a 400."""
    crd = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    with pytest.raises(protobuf_read.Fault, match="maximum recursion depth"):
        protobuf_read.read(_nested(crd, 300), protobuf_table.message(crd))


def _nested(crd: str, levels: int) -> bytes:
    number = next(field.number for field in protobuf_table.message(crd).fields if field.name == "not")
    data = b""
    for _ in range(levels):
        out = bytearray()
        protobuf_write.delimited(out, number, data)
        data = bytes(out)
    return data


def test_watch_frames() -> None:
    """A length, then the event around the object's own envelope."""
    frame = protobuf.watch_frame("ADDED", b"k8s\x00xx")
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:] == b"\x0a\x05ADDED\x12\x08\x0a\x06k8s\x00xx"


def test_lists_and_status() -> None:
    """Answers other than objects have messages too."""
    pods = {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"},
            "items": [{"metadata": {"name": "a"}, "spec": {"hostNetwork": True}}]}  # fmt: skip
    assert protobuf.decode(protobuf.encode(pods)) == pods
    status = {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "m", "code": 404}
    assert protobuf.decode(protobuf.encode(status)) == status
    assert protobuf.message_for("example.com", "v1", "Widget") is None
    with pytest.raises(ApiError) as caught:
        protobuf.encode({"apiVersion": "example.com/v1", "kind": "Widget"})
    assert caught.value.code == 406


def test_telling_zeros_survive() -> None:
    """replicas: 0 and automountServiceAccountToken: false say something; hostNetwork: false does not."""
    for tree in (
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": False},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"storageClassName": ""}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"volumes": [{"name": "a", "emptyDir": {}}]}},
    ):
        assert protobuf.decode(protobuf.encode(tree)) == tree
    tree = {"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": False, "dnsPolicy": ""}}
    assert protobuf.decode(protobuf.encode(tree))["spec"] == {}


# Round trips of every message.

DEEP = 2


class Maker:
    """Makes trees that fit a message, from a seed: every field is there or not by chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self, name: str, depth: int = 0) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for field in protobuf_table.message(name).fields:
            if field.inline:
                made |= self.message(field.kind, depth)
            elif depth < DEEP and self._random.random() < 0.7:  # noqa: PLR2004
                made[field.name] = self._field(field, depth + 1)
        return made

    def _field(self, field: Field, depth: int) -> Any:
        if field.is_map:
            return {self._text(): self._value(field.kind, depth) for _ in range(self._random.randint(1, 2))}
        if field.repeated:
            return [self._value(field.kind, depth) for _ in range(self._random.randint(1, 2))]
        return self._value(field.kind, depth)

    def _value(self, kind: str, depth: int) -> Any:
        package, _, name = kind.rpartition(".")
        plain = self._plain(name)
        if plain is not None:
            return plain
        if name == "JSONSchemaPropsOrBool" and self._random.random() < 0.5:
            return self._random.random() < 0.5
        if name in ("JSONSchemaPropsOrBool", "JSONSchemaPropsOrArray"):
            return self.message(f"{package}.JSONSchemaProps", depth)
        return self.message(kind, depth)

    def _plain(self, name: str) -> Any:
        pick = self._random
        seconds = pick.randint(1, 4_000_000_000)
        makers: dict[str, Callable[[], Any]] = {
            "string": self._text,
            "bool": lambda: True,
            "int32": lambda: pick.choice([-(2**31), -1, 1, 2**31 - 1]),
            "int64": lambda: pick.choice([-(2**63), -1, 1, 2**63 - 1]),
            "double": lambda: pick.uniform(0.1, 1e300),
            "bytes": lambda: base64.b64encode(pick.randbytes(pick.randint(1, 9))).decode(),
            "Quantity": lambda: pick.choice(["1", "500m", "2Gi"]),
            "IntOrString": lambda: pick.choice([0, -5, 80, "", "25%", "http"]),
            "Time": lambda: timestamps.format(float(seconds)),
            "MicroTime": lambda: timestamps.format(float(seconds))[:-1] + f".{pick.randint(0, 999999):06d}Z",
            "ExtraValue": lambda: [self._text()],
            "Verbs": lambda: [self._text()],
            "JSONSchemaPropsOrStringArray": lambda: [self._text()],
        }
        makers |= dict.fromkeys(("FieldsV1", "RawExtension", "JSON"), lambda: {self._text(): [None, 1, {"a": "b"}]})
        maker = makers.get(name)
        return maker() if maker else None

    def _text(self) -> str:
        return "".join(self._random.choice('abc-./\u00e9\u6c34"') for _ in range(self._random.randint(1, 6)))


_NOT_OBJECTS = ("Time", "MicroTime", "Quantity", "IntOrString", "Duration", "Timestamp")


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_every_message_comes_back(seed: int) -> None:
    """What is written is read, for each message of the table."""
    maker = Maker(seed)
    for name in protobuf_table.rows():
        if name.rpartition(".")[2] not in _NOT_OBJECTS:
            message = protobuf_table.message(name)
            tree = maker.message(name)
            assert protobuf_read.read(protobuf_write.write(tree, message), message) == tree, name


@pytest.mark.parametrize("kind", [*KINDS, *BODIES], ids=lambda kind: f"{kind.name}.{kind.version}.{kind.group}")
def test_every_kind_comes_back(kind: Kind) -> None:
    """As an object, as a list, as a list of bytes that were kept, and in a watch."""
    message = protobuf.message_for(kind.group, kind.version, kind.name)
    assert message is not None
    head = {"apiVersion": kind.api_version, "kind": kind.name}
    items = [Maker(seed).message(message) for seed in range(3)]
    for item in items:
        encoded = protobuf.encode(head | item)
        assert protobuf.decode(encoded) == head | item
        assert protobuf.wrap(kind.api_version, kind.name, protobuf.body(head | item)) == encoded
        assert encoded in protobuf.watch_frame("MODIFIED", encoded)
    if not kind.not_stored:
        metadata = {"resourceVersion": "7", "continue": "x"}
        whole = {"apiVersion": kind.api_version, "kind": kind.list_kind, "metadata": metadata, "items": items}
        assert protobuf.decode(protobuf.encode(whole)) == whole
        kept = [protobuf.body(head | item) for item in items]
        assert protobuf.encode_list(kind.api_version, kind.list_kind, metadata, kept) == protobuf.encode(whole)


def test_a_list_of_nothing_and_of_what_has_no_message() -> None:
    """An empty list is one; a custom kind's is refused."""
    assert protobuf.decode(protobuf.encode_list("v1", "PodList", {"resourceVersion": "1"}, [])) == {
        "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}}  # fmt: skip
    with pytest.raises(ApiError) as caught:
        protobuf.encode_list("example.com/v1", "WidgetList", {}, [])
    assert caught.value.code == 406


def test_packed_numbers_and_fields_from_the_future() -> None:
    """Repeated numbers may come packed; what the table does not know is skipped, in each wire form."""
    ports = protobuf_table.message("k8s.io.api.core.v1.PodPortForwardOptions")
    assert protobuf_read.read(b"\x0a\x03\x50\x90\x03\x08\x01", ports) == {"ports": [80, 400, 1]}
    future = b"\xf8\x7d\x01\xf9\x7d12345678\xfa\x7d\x02ab\xfd\x7d1234"
    assert protobuf_read.read(future + b"\x08\x02", ports) == {"ports": [2]}
    for end in (2, 9, 15, 20):
        with pytest.raises(protobuf_read.Fault, match="unexpected EOF"):
            protobuf_read.read(future[:end], ports)


def test_map_entries_without_key_or_value() -> None:
    """Some encoders leave out a zero key or value."""
    data = protobuf_table.message("k8s.io.api.core.v1.ConfigMap")
    assert protobuf_read.read(b"\x12\x00\x12\x03\x0a\x01a\x12\x03\x12\x01b", data) == {"data": {"": "b", "a": ""}}


def test_the_table_agrees_with_the_schema() -> None:
    """Each API field has a number, under the name that JSON uses."""
    for name in protobuf_table.rows():
        known = "io.k8s." + name.removeprefix("k8s.io.").replace("_", "-")
        if known in schema.definitions() and schema.definition(known).kind == "object":
            expected = set(schema.definition(known).fields) - {"apiVersion", "kind"}
            assert _names(name) - {"apiVersion", "kind"} == expected, name


def _names(message: str) -> set[str]:
    found = set()
    for field in protobuf_table.message(message).fields:
        found |= _names(field.kind) if field.inline else {field.name}
    return found


def test_decoded_objects_fit_their_schema() -> None:
    """kubectl's objects pass the field check without a change."""
    tree = protobuf.decode(CREATE_DEPLOYMENT)
    assert fields.conform(tree, schema.definition("io.k8s.api.apps.v1.Deployment")) == (tree, [])
