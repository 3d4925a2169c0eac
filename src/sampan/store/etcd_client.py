"""Calls to one etcd over gRPC, with its failures in the store's own words.

https://etcd.io/docs/latest/dev-guide/api_reference_v3/
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from sampan.store import etcd_wire, keys
from sampan.store.etcd_address import Address
from sampan.store.protocol import FutureRevision, Record, StoreError

CALL_SECONDS = 30.0
EVERYTHING = b"\0"  # as key and as end of a range: all keys
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class Gone(Exception):
    """A revision that was compacted; `oldest` is the oldest readable one, 0 when it was not told."""

    def __init__(self, oldest: int = 0) -> None:
        super().__init__(f"revision compacted (oldest readable: {oldest or 'unknown'})")
        self.oldest = oldest


class Client:
    """One channel. It reconnects by itself; a call waits for that, within its time."""

    def __init__(self, address: Address) -> None:
        self._channel = _channel(address)
        self._calls = {
            name: self._channel.unary_unary(
                path, request_serializer=etcd_wire.encode, response_deserializer=etcd_wire.decoder(answer)
            )
            for name, (path, _, answer) in etcd_wire.KINDS.items()
            if name != "watch"
        }
        path, _, answer = etcd_wire.KINDS["watch"]
        self._watch = self._channel.stream_stream(
            path, request_serializer=etcd_wire.encode, response_deserializer=etcd_wire.decoder(answer)
        )

    async def call(self, name: str, request: Any) -> Any:
        """Raises Gone, FutureRevision, StoreError."""
        try:
            return await self._calls[name](request, timeout=CALL_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from error
        except (grpc.aio.UsageError, grpc.RpcError) as error:
            raise StoreError("the store is closed") from error

    async def range(self, start: bytes, end: bytes = b"", **fields: Any) -> Any:
        """The keys from `start` to before `end`, or just `start`."""
        return await self.call("range", etcd_wire.make("RangeRequest")(key=start, range_end=end, **fields))

    async def watch(self, start_revision: int) -> AsyncIterator[Any]:
        """The responses that have events, of all keys, from a revision on. Raises Gone, StoreError."""
        create = etcd_wire.make("WatchCreate")(
            key=EVERYTHING, range_end=EVERYTHING, start_revision=start_revision, prev_kv=True
        )
        stream = self._watch(wait_for_ready=True)
        try:
            await stream.write(etcd_wire.make("WatchRequest")(create=create))
            async for response in stream:
                if response.compact_revision:
                    raise Gone(response.compact_revision)
                if response.canceled:
                    raise StoreError(f"etcd ended the watch: {response.cancel_reason}")
                yield response
        except grpc.aio.AioRpcError as error:
            raise failure(error) from error
        finally:
            stream.cancel()
            await stream.code()  # only then is it over: nothing of it may reach a loop that is gone
        raise StoreError("etcd ended the watch")

    async def close(self) -> None:
        await self._channel.close()


def failure(error: grpc.aio.AioRpcError) -> Exception:
    """What a failed call means for the store."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.OUT_OF_RANGE:
        if "compacted" in details:
            return Gone()
        if "future" in details:
            return FutureRevision()
    return StoreError(f"etcd: {details or error.code().name.lower()}")


def record(found: Any) -> Record:
    """A KeyValue as a Record."""
    return Record(found.key.decode(), found.value, found.create_revision, found.mod_revision)


def span(prefix: str, after: str) -> tuple[bytes, bytes]:
    """The keys with the prefix that are greater than `after`, as a range: start, and end (not part of it)."""
    start = prefix.encode()
    if after and after.encode() >= start:
        start = after.encode() + b"\0"
    end = keys.prefix_end(prefix)
    return start or EVERYTHING, end.encode() if end is not None else EVERYTHING


def _channel(address: Address) -> grpc.aio.Channel:
    if not address.ca:
        return grpc.aio.insecure_channel(address.target, options=_OPTIONS)
    pair = [Path(name).read_bytes() if name else None for name in (address.key, address.certificate)]
    credentials = grpc.ssl_channel_credentials(Path(address.ca).read_bytes(), *pair)
    return grpc.aio.secure_channel(address.target, credentials, options=_OPTIONS)
