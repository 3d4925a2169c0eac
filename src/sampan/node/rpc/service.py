"""gRPC services as tables of their methods, what travels as plain dicts, and errors as Go's programs word them.

https://grpc.io/docs/guides/status-codes/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError

from sampan.node.rpc.messages import Message

_CODES = {status: "".join(word.capitalize() for word in status.name.split("_")) for status in Status}
_CODES[Status.OK], _CODES[Status.CANCELLED] = "OK", "Canceled"
_STATUSES = {code: status for status, code in _CODES.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method; `is_stream`: it answers with any number of messages."""

    path: str
    request: Message
    answer: Message
    is_stream: bool = False

    @property
    def cardinality(self) -> Any:
        """As grpclib names it."""
        return Cardinality.UNARY_STREAM if self.is_stream else Cardinality.UNARY_UNARY


def methods(service: str, messages: Mapping[str, Message], table: str) -> dict[str, Method]:
    """The methods of a service by name. A line of the table has a method's name, its request and its answer.

    An answer with a * is a stream of them.
    """
    found = {}
    for line in table.splitlines():
        if line.strip():
            name, request, answer = line.split()
            is_stream, answer = answer.endswith("*"), answer.removesuffix("*")
            found[name] = Method(f"/{service}/{name}", messages[request], messages[answer], is_stream)
    return found


class RpcError(Exception):
    """A call that failed. `code` as Go names it: NotFound, Unavailable, DeadlineExceeded, Unimplemented ..."""

    def __init__(self, code: str, message: str) -> None:
        """Both as the other side says them."""
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"rpc error: code = {self.code} desc = {self.message}"


def from_status(error: GRPCError) -> RpcError:
    """What the other side answered."""
    return RpcError(_CODES[error.status], error.message or "")


def to_status(error: RpcError) -> GRPCError:
    """What the other side is answered."""
    return GRPCError(_STATUSES.get(error.code, Status.UNKNOWN), error.message)


class Codec(CodecBase):
    """Messages by their tables."""

    __content_subtype__ = "proto"

    def encode(self, message: Mapping[str, Any], message_type: Message) -> bytes:
        """The bytes of a dict."""
        return message_type.write(message)

    def decode(self, data: bytes, message_type: Message) -> dict[str, Any]:
        """The dict of the bytes. Raises Fault."""
        return message_type.read(data)
