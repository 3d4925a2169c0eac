"""Serving gRPC services on a unix socket."""

import asyncio
import logging
import os
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.exceptions import GRPCError
from grpclib.server import Server as GrpcServer

from sampan.node.rpc import sockets
from sampan.node.rpc.messages import Fault, Message
from sampan.node.rpc.service import Codec, Method, RpcError, to_status

log = logging.getLogger(__name__)

EMPTY = Message("Empty")

Answer = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
Answers = Callable[[dict[str, Any]], AsyncIterator[Mapping[str, Any]]]


class Server:
    """Answers by method. A function gets the request with all its fields; RpcError is its way to refuse.

    A method with one answer has a coroutine function, one with a stream an async generator function.
    """

    def __init__(self, answers: Mapping[Method, Answer | Answers]) -> None:
        """Serves nothing yet."""
        self._server = _Server([_Services(answers)], codec=Codec())
        self._path: Path | None = None

    async def listen(self, path: Path, mode: int = 0o600) -> None:
        """Serves at this path, in the place of whatever socket was there."""
        _make_room(path)
        with sockets.short(path) as reachable:
            await self._server.start(path=reachable)
        os.chmod(path, mode)
        self._path = path

    async def take(self, listening: socket.socket) -> None:
        """Serves at a socket that listens already."""
        await self._server.take(listening)

    async def close(self) -> None:
        """Ends what is under way, hangs up and removes the socket."""
        if not self._server.is_started:
            return
        self._server.close()
        self._server.hang_up()
        await self._server.wait_closed()
        if self._path is not None:
            _make_room(self._path)
            self._path = None


class _Server(GrpcServer):
    """One that also ends its connections, and says in Go's way that it doesn't know a method."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._mapping = _OrUnimplemented(self._mapping)
        self._protocols: weakref.WeakSet[Any] = weakref.WeakSet()
        self._is_over = False

    def _protocol_factory(self) -> Any:
        protocol: Any = super()._protocol_factory()
        begin = protocol.connection_made

        def made(transport: Any) -> None:
            begin(transport)
            self._protocols.add(protocol)
            if self._is_over:
                self.hang_up()

        protocol.connection_made = made
        return protocol

    @property
    def is_started(self) -> bool:
        return self._server is not None

    async def take(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._protocol_factory, sock=listening)
        self._server_closed_fut = loop.create_future()

    def hang_up(self) -> None:
        self._is_over = True
        for protocol in self._protocols:
            protocol.processor.close("server closed")


class _OrUnimplemented(dict[str, Any]):
    """Handlers by path; for any other path one that refuses."""

    def get(self, path: str, default: Any = None) -> Any:
        return super().get(path) or Handler(partial(_refuse, path), Cardinality.UNARY_UNARY, EMPTY, EMPTY)


async def _refuse(path: str, stream: Any) -> None:
    service, _, method = path[1:].partition("/")
    raise to_status(RpcError("Unimplemented", f"unknown method {method} for service {service}"))


class _Services:
    """What grpclib asks for."""

    def __init__(self, answers: Mapping[Method, Any]) -> None:
        self._answers = answers

    def __mapping__(self) -> dict[str, Any]:
        return {
            method.path: Handler(_handler(method, answer), method.cardinality, method.request, method.answer)
            for method, answer in self._answers.items()
        }


def _make_room(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def _handler(method: Method, answer: Any) -> Any:
    async def handle(stream: Any) -> None:
        try:
            request = await stream.recv_message()
            if method.is_stream:
                async for each in answer(request):
                    await stream.send_message(each)
            else:
                await stream.send_message(await answer(request))
        except RpcError as error:
            raise to_status(error) from None
        except Fault as error:
            raise to_status(RpcError("Internal", f"grpc: error unmarshalling request: {error}")) from None
        except (GRPCError, OSError):
            raise
        except Exception as error:
            log.exception("%s", method.path)
            raise to_status(RpcError("Unknown", str(error))) from None

    return handle
