"""A member that takes connections and says nothing, as one does whose machine stands still: a watch that is left there ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

pytest.importorskip("grpc")

from sampan.store.etcd_address import Address  # noqa: E402
from sampan.store.etcd_client import Client  # noqa: E402
from sampan.store.protocol import StoreError  # noqa: E402


@pytest.fixture
def silent() -> Iterator[int]:
    """Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
async def client(silent: int) -> AsyncIterator[Client]:
    made = Client(Address.parse(f"etcd://127.0.0.1:{silent}"))
    yield made
    await made.close()


async def first(watch: AsyncIterator[Any]) -> Any:
    return await anext(watch)


async def begun(client: Client) -> "asyncio.Task[Any]":
    """A watch that waits for the member."""
    watching = asyncio.ensure_future(first(client.watch(2)))
    async with asyncio.timeout(60):
        while not client._members[0].streams:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return watching


@pytest.mark.parametrize("turns", [0, 1, 50])
async def test_a_watch_that_is_left_ends(client: Client, turns: int) -> None:
    """Also before it has a connection: it would never be made again elsewhere, and nobody would hear of a change any more."""
    watching = await begun(client)
    for _ in range(turns):
        await asyncio.sleep(0)
    client.leave_watches()
    with pytest.raises(StoreError, match="was left"):
        await asyncio.wait_for(watching, 60)


async def test_a_watch_that_nobody_wants_ends(client: Client) -> None:
    """Whoever watches may go at any time."""
    watching = await begun(client)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(watching, 60)
    assert not client._members[0].streams
