"""A session on a running container's own streams, through conmon's attach socket.

conmon sends packets whose first byte says the stream (2 stdout, 3 stderr), and takes plain packets for stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

from sampan.node.runtime import logs
from sampan.node.runtime.protocol import RuntimeFailure, Stream

_PACKET_BYTES = 8192
_STREAMS: dict[int, Stream] = {2: "stdout", 3: "stderr"}


class OciAttach:
    """An open attach session; closing it leaves the container alone."""

    def __init__(self, connection: socket.socket, folder: str, *, tty: bool) -> None:
        self._socket = connection
        self._folder = folder
        self._tty = tty
        self._ended = asyncio.Event()

    @classmethod
    async def connect(cls, folder: str, *, tty: bool) -> OciAttach:
        """Connects; RuntimeFailure if the container has just ended."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # A socket's address holds 107 bytes; a directory's path may be longer.
            await asyncio.get_running_loop().sock_connect(connection, f"/proc/self/fd/{directory}/attach")
        except OSError as error:
            connection.close()
            raise RuntimeFailure("NotRunning", "container is in CONTAINER_EXITED state") from error
        finally:
            os.close(directory)
        return cls(connection, folder, tty=tty)

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """Chunks until the container ends."""
        loop = asyncio.get_running_loop()
        try:
            while not self._ended.is_set():
                packet = await loop.sock_recv(self._socket, _PACKET_BYTES + 1)
                if not packet:
                    break
                if len(packet) > 1 and packet[0] in _STREAMS:
                    yield _STREAMS[packet[0]], packet[1:]
        except (ConnectionError, OSError):
            pass
        finally:
            self._ended.set()

    async def write(self, data: bytes) -> None:
        """Data for stdin."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(data), _PACKET_BYTES):
                await loop.sock_sendall(self._socket, data[at : at + _PACKET_BYTES])

    async def close_stdin(self) -> None:
        """No more input."""
        if self._tty:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def resize(self, width: int, height: int) -> None:
        """The container's terminal takes this size."""
        if self._tty:
            logs.control(self._folder, f"1 {height} {width}\n")

    async def wait(self) -> int:
        """Returns when the container's streams have ended."""
        await self._ended.wait()
        return 0

    async def close(self) -> None:
        """Leaves the container."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
