"""The day's real traffic, before servers of every temper: what is offered, what is counted, and how little is given up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sampan.cluster.trading_day import load
from sampan.cluster.trading_day.figures import Taken
from sampan.cluster.trading_day.load import Answer, Load, Place
from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def said(code: int, version: str, connection: str = "keep-alive") -> bytes:
    head = f"HTTP/1.1 {code} Said\r\nConnection: {connection}\r\nX-Version: {version}\r\nContent-Length: 6\r\n\r\n"
    return head.encode() + b"hello\n"


@asynccontextmanager
async def offering(talk: Talk, rate: float = 200.0) -> AsyncIterator[Load]:
    """A load that is offered to a server, and at the end nothing that is still open."""

    async def begun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(begun, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made, tasks = Load(Place("127.0.0.1", port, "shop.example"), SystemClock()), Tasks("test")
    running = tasks.spawn(made.run(), "load")
    made.offer(rate)
    try:
        yield made
        running.cancel()
        await made.end()
        assert made.in_flight == 0
    finally:
        await tasks.close()
        server.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_answers_by_version_and_connections_that_are_kept() -> None:
    """Each is counted once, a failure by who made it and why; few connections serve many requests."""
    connections, requests, seen = 0, 0, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, requests
        connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET / HTTP/1.1\r\nHost: shop.example\r\n")
            requests += 1
            answer = said(500, "v2") if requests % 4 == 0 else said(200, "v1")
            writer.write(answer[:20])
            await asyncio.sleep(0)
            writer.write(answer[20:])

    answered = failed = 0
    async with offering(talk) as made:
        while seen < 40:
            await asyncio.sleep(0.02)
            taken = made.take()
            answered, failed, seen = answered + taken.answered, failed + taken.failed, seen + taken.answered
            assert set(taken.failed_by) <= {"v2"}
    rest = made.take()
    assert answered + failed + rest.answered + rest.failed == requests
    assert failed + rest.failed == requests // 4 == made.failures["v2", "500: hello"]
    assert connections < requests / 2
    assert made.take().answered == 0


async def test_the_rate_is_kept_though_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go on coming while others wait, up to a bound; who waits too long is given up on, and its connection."""
    monkeypatch.setattr(load, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setattr(load, "MOST_CONNECTIONS", 20)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with offering(talk) as made:
        await until(lambda: len(made.failures) == 2)
        assert made.in_flight <= 20
    assert set(made.failures) == {("", "no answer: 20 requests wait already"), ("", "no answer: none within 0 s")}
    assert made.take().failed_by[""] == made.failures.total()


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", "the connection broke"), (b"HTTP/1.1 200 OK\r\nContent-Le", "the connection broke")]
)
async def test_nothing_is_tried_twice(answer: bytes, why: str) -> None:
    """A connection that breaks before its answer is a failure, and another one is made for the next request."""
    requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(answer)

    async with offering(talk) as made:
        await until(lambda: requests > 5)
    assert made.take().failed == requests
    assert made.failures == {("", f"no answer: {why}"): requests}


async def test_a_server_that_closes_when_it_has_answered_takes_nothing_with_it() -> None:
    """As a pod that ends does; and one that isn't there at all is a failure."""
    requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(said(200, "v1", "close"))

    async with offering(talk) as made:
        await until(lambda: requests > 5)
    assert (made.take().answered, made.failures) == (requests, {})
    lonely = Load(Place("127.0.0.1", 1, "shop.example"), SystemClock())
    lonely.offer(100)
    tasks = Tasks("test")
    running = tasks.spawn(lonely.run(), "load")
    await until(lambda: lonely.failures)
    running.cancel()
    await lonely.end()
    assert next(iter(lonely.failures))[1].startswith("no answer: no connection: ")
    await tasks.close()


def test_figures_of_answers() -> None:
    """Quantiles are of what was answered well; late is over a second."""
    seconds = [n / 100 for n in range(100)]
    made = load.taken([*(Answer(200, "v1", each) for each in seconds), Answer(201, "v1", 1.5), Answer(503, "", 9.0)])
    assert (made.answered, made.failed, made.failed_by, made.late) == (101, 1, {"": 1}, 1)
    assert (made.p50, made.p99) == (0.5, 0.99)
    assert load.taken([]) == Taken(0, {}, 0, None, None)


@pytest.mark.parametrize(
    ("code", "failed"), [(200, {}), (204, {}), (302, {"": 1}), (404, {"": 1}), (429, {"": 1}), (503, {"": 1})]
)
def test_only_a_2xx_is_an_answered_order(code: int, failed: dict[str, int]) -> None:
    """A 404 of a route that was gone for a moment is a lost order, however fast it came."""
    found = load.taken([Answer(code, "", 0.01)])
    assert (found.answered, found.failed_by) == (0 if failed else 1, failed)
