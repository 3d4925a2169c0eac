"""etcd's messages on the wire: the few that a store needs, described here and built by the protobuf runtime.

https://etcd.io/docs/latest/learning/api/
"""

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# NAME: "TYPE FIELD=NUMBER; ...", `*` after the type for repeated ones. Only the fields that are used.
_MESSAGES = {
    "Header": "int64 cluster=1; int64 member=2; int64 revision=3",
    "KeyValue": "bytes key=1; int64 create_revision=2; int64 mod_revision=3; bytes value=5",
    "Event": "int32 type=1; KeyValue kv=2; KeyValue prev_kv=3",
    "RangeRequest": "bytes key=1; bytes range_end=2; int64 limit=3; int64 revision=4; bool count_only=9",
    "RangeResponse": "Header header=1; KeyValue* kvs=2; int64 count=4",
    "PutRequest": "bytes key=1; bytes value=2; int64 lease=3",
    "DeleteRequest": "bytes key=1",
    "Operation": "RangeRequest range=1; PutRequest put=2; DeleteRequest delete=3",
    "Outcome": "RangeResponse range=1",
    "Compare": "int32 result=1; int32 target=2; bytes key=3; int64 mod_revision=6",
    "TxnRequest": "Compare* compare=1; Operation* success=2; Operation* failure=3",
    "TxnResponse": "Header header=1; bool succeeded=2; Outcome* responses=3",
    "CompactRequest": "int64 revision=1",
    "CompactResponse": "Header header=1",
    "LeaseRequest": "int64 seconds=1",
    "LeaseResponse": "Header header=1; int64 id=2",
    "LoginRequest": "string name=1; string password=2",
    "LoginResponse": "Header header=1; string token=2",
    "StatusRequest": "int64 unused=1",
    "StatusResponse": (
        "Header header=1; string version=2; int64 size=3; int64 leader=4; string* errors=8; int64 used=9; "
        "bool is_learner=10; int64 quota=12"
    ),
    "Member": "int64 id=1",
    "MembersRequest": "int64 unused=1",
    "MembersResponse": "Header header=1; Member* members=2",
    "WatchCreate": "bytes key=1; bytes range_end=2; int64 start_revision=3; bool prev_kv=6",
    "WatchRequest": "WatchCreate create=1",
    "WatchResponse": (
        "Header header=1; bool created=3; bool canceled=4; int64 compact_revision=5; string cancel_reason=6; "
        "Event* events=11"
    ),
}
_PACKAGE = "sampan.etcd"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int64": _FIELD.TYPE_INT64, "int32": _FIELD.TYPE_INT32, "bool": _FIELD.TYPE_BOOL, "bytes": _FIELD.TYPE_BYTES,
    "string": _FIELD.TYPE_STRING,
}  # fmt: skip

DELETE = 1  # Event.type
EQUAL = 0  # Compare.result
MOD_REVISION = 2  # Compare.target


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sampan/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split("; "):
            _add(message, *field.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _add(message: Any, kind: str, field: str) -> None:
    name, _, number = field.partition("=")
    made = message.field.add(name=name, number=int(number), label=_FIELD.LABEL_OPTIONAL)
    if kind.endswith("*"):
        kind, made.label = kind[:-1], _FIELD.LABEL_REPEATED
    if kind in _SCALARS:
        made.type = _SCALARS[kind]
    else:
        made.type, made.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


_CLASSES = _classes()

KINDS: dict[str, tuple[str, str, str]] = {
    "range": ("/etcdserverpb.KV/Range", "RangeRequest", "RangeResponse"),
    "txn": ("/etcdserverpb.KV/Txn", "TxnRequest", "TxnResponse"),
    "compact": ("/etcdserverpb.KV/Compact", "CompactRequest", "CompactResponse"),
    "lease": ("/etcdserverpb.Lease/LeaseGrant", "LeaseRequest", "LeaseResponse"),
    "login": ("/etcdserverpb.Auth/Authenticate", "LoginRequest", "LoginResponse"),
    "status": ("/etcdserverpb.Maintenance/Status", "StatusRequest", "StatusResponse"),
    "members": ("/etcdserverpb.Cluster/MemberList", "MembersRequest", "MembersResponse"),
    "watch": ("/etcdserverpb.Watch/Watch", "WatchRequest", "WatchResponse"),
}


def make(name: str) -> Callable[..., Any]:
    """The class of a message."""
    made: Callable[..., Any] = _CLASSES[name]
    return made


def encode(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def decoder(name: str) -> Callable[[bytes], Any]:
    """Reads messages of that name."""
    read: Callable[[bytes], Any] = _CLASSES[name].FromString
    return read
