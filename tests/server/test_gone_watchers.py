"""Watches whose client has gone end at once, also where nothing happens that they would be told of."""

import asyncio

import pytest

from tests.server.conftest import ADMIN, Api
from tests.server.test_security import https, over_https

WATCH = (
    "GET /api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dnobody HTTP/1.1\r\nHost: x\r\n\r\n"
)


@over_https
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_watcher_that_has_gone(api: Api, way: str) -> None:
    """It asked for no bookmarks, and its time is not over for half an hour."""
    before = len(open_watches(api))
    some = [await https(api).connect(ADMIN) for _ in range(3)]
    for reader, writer in some:
        writer.write(WATCH.encode())
        await reader.readuntil(b"\r\n\r\n")
    assert len(open_watches(api)) == before + len(some)
    for _, writer in some:
        if way == "reset":
            writer.transport.abort()
        else:
            writer.close()
    async with asyncio.timeout(60):
        while len(open_watches(api)) > before:
            await asyncio.sleep(0.01)


def open_watches(api: Api) -> tuple[object, ...]:
    return tuple(api.app._watching.open())
