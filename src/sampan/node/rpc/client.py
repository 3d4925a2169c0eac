"""Calling a gRPC service behind a unix socket."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from grpclib.client import Channel
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from sampan.node.rpc import sockets
from sampan.node.rpc.messages import Fault
from sampan.node.rpc.service import Codec, Method, RpcError, from_status

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Client:
    """A connection, made when first used and again after it was lost. `close` it in the end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """To the socket at `path`."""
        self._path = os.fspath(path)
        self._channel = _Channel(path=self._path, codec=Codec())

    async def call(
        self, method: Method, request: Mapping[str, Any] = NOTHING, *, timeout_seconds: float
    ) -> dict[str, Any]:
        """The answer, with every field of its message. Raises RpcError."""
        with _worded():
            async with asyncio.timeout(timeout_seconds):
                await self._connect()
                async with self._request(method, timeout_seconds) as stream:
                    await stream.send_message(request, end=True)
                    answer: dict[str, Any] | None = await stream.recv_message()
                    await stream.recv_trailing_metadata()
        if answer is None:
            raise RpcError("Internal", "cardinality violation: received no response message")
        return answer

    async def stream(
        self, method: Method, request: Mapping[str, Any] = NOTHING, *, timeout_seconds: float | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The answers as they come, until the other side ends. Raises RpcError."""
        with _worded():
            await self._connect()
            async with self._request(method, timeout_seconds) as stream:
                await stream.send_message(request, end=True)
                while (answer := await stream.recv_message()) is not None:
                    yield answer

    def _request(self, method: Method, timeout_seconds: float | None) -> Any:
        kinds: Any = (method.cardinality, method.request, method.answer)
        return self._channel.request(method.path, *kinds, timeout=timeout_seconds)

    async def _connect(self) -> None:
        try:
            await self._channel.__connect__()
        except TimeoutError:
            raise
        except OSError as error:
            why = f"connect: {(error.strerror or str(error)).lower()}"
            text = f'connection error: desc = "transport: Error while dialing: dial unix {self._path}: {why}"'
            raise RpcError("Unavailable", text) from None

    async def connect(self) -> None:
        """There is a connection. Raises RpcError."""
        with _worded():
            await self._connect()

    async def wait_lost(self) -> None:
        """Returns when there is no connection any more."""
        await self._channel.lost.wait()

    def close(self) -> None:
        """Ends the connection, and what is under way on it."""
        self._channel.close()


class _Channel(Channel):
    """One that reaches sockets with long paths, too, and whose end can be waited for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lost = asyncio.Event()
        self.lost.set()

    async def _create_connection(self) -> Any:
        lost = self.lost = asyncio.Event()

        def factory() -> Any:
            protocol: Any = self._protocol_factory()
            end = protocol.connection_lost

            def ended(error: BaseException | None) -> None:
                end(error)
                lost.set()

            protocol.connection_lost = ended
            return protocol

        with sockets.short(self._path or "") as path:
            _, protocol = await self._loop.create_unix_connection(factory, path)
        return protocol


@contextlib.contextmanager
def _worded() -> Iterator[None]:
    """Whatever goes wrong, as an RpcError."""
    try:
        yield
    except GRPCError as error:
        raise from_status(error) from None
    except TimeoutError:
        raise RpcError("DeadlineExceeded", "context deadline exceeded") from None
    except Fault as error:
        raise RpcError("Internal", f"grpc: failed to unmarshal the received message: {error}") from None
    except (OSError, StreamTerminatedError, ProtocolError) as error:
        raise RpcError("Unavailable", f"error reading from server: {str(error) or 'EOF'}") from None
