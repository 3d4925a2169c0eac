"""Asking a gRPC server how it is: the standard health service, for probes.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from typing import Any

from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

METHOD = "/grpc.health.v1.Health/Check"
SERVING = 1
_NAMES = {0: "UNKNOWN", SERVING: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class Bytes(CodecBase):
    """Messages as the bytes they are."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: Any) -> bytes:
        """As they are."""
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        """As they are."""
        return data


async def check(where: tuple[str, int], service: str, timeout_seconds: float) -> str:
    """Why the service is not healthy, in a kubelet's words; nothing when it is."""
    host, port = where
    address, limit = f"{host}:{port}", f"{timeout_seconds:g}s"
    channel, connected = Channel(host, port, codec=Bytes()), False
    try:
        async with asyncio.timeout(timeout_seconds):
            await channel.__connect__()
            connected = True
            async with channel.request(METHOD, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
                await stream.send_message(_request(service), end=True)
                answer = await stream.recv_message()
                await stream.recv_trailing_metadata()
    except GRPCError as error:
        if error.status is Status.UNIMPLEMENTED:
            return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {error.message}"
        code = "".join(word.capitalize() for word in error.status.name.split("_"))
        return f"error: health rpc probe failed: rpc error: code = {code} desc = {error.message}"
    except (OSError, StreamTerminatedError, ProtocolError) as error:
        if connected and isinstance(error, TimeoutError):
            return f"timeout: health rpc did not complete within {limit}"
        if connected:
            return f"error: health rpc probe failed: rpc error: code = Unavailable desc = {error}"
        return f'timeout: failed to connect service "{address}" within {limit}: context deadline exceeded'
    finally:
        channel.close()
    status = _status(answer or b"")
    return "" if status == SERVING else f'service unhealthy (responded with "{_NAMES.get(status, status)}")'


def _request(service: str) -> bytes:
    """HealthCheckRequest: the service's name is field 1."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _status(message: bytes) -> int:
    """HealthCheckResponse: the status is field 1, a small enum; absent it is UNKNOWN."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
