"""The end of a test's server for Envoy: each question on its way ends, or the next test's Envoy would wait for an hour."""

import asyncio
import socket
from pathlib import Path

import pytest

from sampan.gateway.xds import Server
from sampan.kit.tasks import Tasks
from tests.gateway import world

ASKED = b"POST /v3/discovery:clusters HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("turns", range(8))
async def test_a_question_that_comes_with_the_end(tmp_path: Path, turns: int) -> None:
    """However far it has come by then: queued, accepted, made a connection, or read."""
    tasks = Tasks("test")
    server = Server(tasks)
    await server.start(tmp_path / "xds")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(tmp_path / "xds"))
        asking.send(ASKED)
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.stop(server)
        await tasks.close()
        for _ in range(3):
            await asyncio.sleep(0)
        asking.setblocking(False)
        try:
            assert asking.recv(1) == b""
        except ConnectionResetError:
            assert True
