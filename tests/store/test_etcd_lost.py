"""Writes whose answers are lost: done once or not at all, and whoever wrote is told which."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from sampan.store import etcd_lost  # noqa: E402
from sampan.store.etcd import EtcdStore  # noqa: E402
from sampan.store.protocol import Compare, Delete, Event, Put, Record, StoreError, Write  # noqa: E402
from tests.store.etcd import Etcd  # noqa: E402

OLD = Record("k", b"old", 2, 3)


class Line:
    """A connection that can lose what is said on it, in one direction or the other, and break."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self.loses_requests = self.loses_answers = False
        self.lost = b""
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, there_writer]
        with contextlib.suppress(OSError):
            await asyncio.gather(
                self._carry(reader, there_writer, lambda: self.loses_requests),
                self._carry(there_reader, writer, lambda: self.loses_answers),
            )

    async def _carry(self, reader, writer, loses) -> None:  # type: ignore[no-untyped-def]
        while data := await reader.read(65536):
            if loses():
                self.lost += data
            else:
                writer.write(data)
        writer.close()

    async def has_lost(self, said: bytes) -> None:
        async with asyncio.timeout(60):
            while said not in self.lost:
                await asyncio.sleep(0.01)

    def mend(self) -> None:
        """What is open breaks, and new connections lose nothing."""
        self.loses_requests = self.loses_answers = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.mend()
        self._server.close()
        await asyncio.sleep(0)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    made = Etcd(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def direct(etcd: Etcd) -> AsyncIterator[EtcdStore]:
    made = await EtcdStore.open(etcd.url)
    yield made
    await made.close()


@pytest.fixture
async def line(etcd: Etcd, direct: EtcdStore) -> AsyncIterator[Line]:
    made = Line(etcd.port)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def store(line: Line) -> AsyncIterator[EtcdStore]:
    made = await EtcdStore.open(f"etcd://127.0.0.1:{line.port}")
    yield made
    await made.close()


async def written(store: EtcdStore, key: str, after: int) -> Event:
    """The next change of the key."""
    async with asyncio.timeout(60):
        async for batch in store.watch(key, after):
            for event in batch.events:
                return event
    raise AssertionError("the watch ended")


async def events(store: EtcdStore) -> list[tuple[str, int]]:
    return [(event.key, event.revision) for event in await store._events(1, await store.revision())]


@pytest.mark.parametrize("compares", [(Compare("k", 0),), ()])
async def test_an_answer_is_lost(
    direct: EtcdStore, store: EtcdStore, line: Line, compares: tuple[Compare, ...]
) -> None:
    """The write was done: it is found and acknowledged with its revision, and not done again."""
    await store.txn((), (Put("before", b""),))
    line.loses_answers = True
    write = asyncio.ensure_future(store.txn(compares, (Put("k", b"1"), Put("l", b"2"))))
    event = await written(direct, "k", 2)
    line.mend()
    assert (await write) == (True, event.revision, ())
    assert await events(direct) == [("before", 2), ("k", 3), ("l", 3)]


async def test_an_answer_is_lost_and_others_wrote_since(direct: EtcdStore, store: EtcdStore, line: Line) -> None:
    """The write was done, though the key shows something else by now: it is acknowledged at its own revision."""
    line.loses_answers = True
    write = asyncio.ensure_future(store.txn((Compare("k", 0),), (Put("k", b"1"),)))
    first = await written(direct, "k", 1)
    await direct.txn((Compare("k", first.revision),), (Put("k", b"2"),))
    line.mend()
    assert (await write) == (True, first.revision, ())
    assert (await direct.get("k")) == Record("k", b"2", first.revision, first.revision + 1)


async def test_a_request_is_lost(direct: EtcdStore, store: EtcdStore, line: Line) -> None:
    """The write was not done: one that can be done only once is sent again, and done once."""
    line.loses_requests = line.loses_answers = True
    write = asyncio.ensure_future(store.txn((Compare("k", 0),), (Put("k", b"to be lost"),)))
    await line.has_lost(b"to be lost")
    line.mend()
    result = await write
    assert result.succeeded
    assert await events(direct) == [("k", result.revision)]


async def test_a_request_is_lost_and_others_were_faster(direct: EtcdStore, store: EtcdStore, line: Line) -> None:
    """The write was not done, and can't be any more: who wrote gets what is there, as always."""
    line.loses_requests = line.loses_answers = True
    write = asyncio.ensure_future(store.txn((Compare("k", 0),), (Put("k", b"1"),)))
    await direct.txn((Compare("k", 0),), (Put("k", b"2"),))
    line.mend()
    result = await write
    assert not result.succeeded
    assert result.found[0] is not None
    assert result.found[0].value == b"2"


async def test_a_request_is_lost_that_cannot_be_sent_again(store: EtcdStore, line: Line) -> None:
    """Without a compare nothing says that it would be done only once: that it is not known is said."""
    line.loses_requests = line.loses_answers = True
    write = asyncio.ensure_future(store.txn((), (Put("k", b"to be lost"),)))
    await line.has_lost(b"to be lost")
    line.mend()
    with pytest.raises(StoreError, match="whether the write was done is not known"):
        await write


@pytest.mark.parametrize(
    ("compares", "writes", "events", "revision"),
    [
        ([Compare("k", 3)], [Put("k", b"new")], [Event("k", 5, b"new", OLD)], 5),
        ([Compare("k", 3)], [Put("k", b"new")], [Event("k", 5, b"other", OLD)], 0),
        ([Compare("k", 3)], [Put("k", b"new")], [Event("k", 5, b"new", OLD._replace(mod_revision=4))], 0),
        ([Compare("k", 0)], [Put("k", b"new")], [Event("k", 5, b"new", OLD)], 0),
        ([Compare("k", 3)], [Delete("k")], [Event("k", 5, None, OLD)], 5),
        ([Compare("k", 3)], [Delete("k"), Delete("none")], [Event("k", 5, None, OLD)], 5),
        ([Compare("k", 3)], [Put("k", b"new"), Put("l", b"")], [Event("k", 5, b"new", OLD)], 0),
        ([Compare("k", 3)], [Put("k", b"n")], [Event("k", 5, b"n", OLD), Event("l", 5, b"", None)], 0),
        ([], [Put("k", b"n")], [Event("l", 4, b"", None), Event("k", 5, b"n", OLD)], 5),
    ],
)
def test_what_was_done(compares: list[Compare], writes: list[Write], events: list[Event], revision: int) -> None:
    """A transaction is recognized by exactly its changes, from exactly what it compared."""
    assert etcd_lost.done_at(compares, writes, events) == revision
