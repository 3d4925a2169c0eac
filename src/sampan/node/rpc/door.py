"""A unix socket at which nobody stands until somebody knocks: the gRPC server is loaded with the first connection."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from sampan.kit.tasks import Tasks
from sampan.node.rpc import sockets

BACKLOG = 64


class Door:
    """Of a service. `answers` gives its methods with who answers them, as `rpc.server.Server` wants them."""

    def __init__(self, path: Path, answers: Callable[[], Mapping[Any, Callable[..., Awaitable[Any]]]]) -> None:
        """Opens nothing yet."""
        self._path, self._answers = path, answers
        self._socket: socket.socket | None = None
        self._server: Any = None

    def open(self, tasks: Tasks) -> None:
        """Who connects from now on is served."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        found = self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with sockets.short(self._path) as path:
            found.bind(path)
        os.chmod(self._path, 0o600)
        found.listen(BACKLOG)
        loop = asyncio.get_running_loop()

        def knocked() -> None:
            loop.remove_reader(found.fileno())
            tasks.spawn(self._serve(found), self._path.name, critical=False)

        loop.add_reader(found.fileno(), knocked)

    async def _serve(self, found: socket.socket) -> None:
        from sampan.node.rpc.server import Server

        self._server = Server(self._answers())
        await self._server.take(found)

    async def close(self) -> None:
        """Serves no more."""
        if self._socket is None:
            return
        if self._server is not None:
            await self._server.close()
        else:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self._path.unlink(missing_ok=True)
