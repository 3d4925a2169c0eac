"""Load: the day's traffic, over HTTP: requests at a rate, whatever becomes of them, and what did become of each.

Connections are kept and used again. Nothing is tried twice: a request that the other side drops has failed.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.cluster.trading_day.figures import Taken
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks

TICK_SECONDS = 0.01
GIVE_UP_SECONDS = 10.0
LATE_SECONDS = 1.0
MOST_CONNECTIONS = 1000
MOST_REASONS = 100
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the requests go; `host` is the name that they are for."""

    address: str
    port: int
    host: str
    path: str = "/"

    @property
    def request(self) -> bytes:
        """The same for all of them."""
        return f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nUser-Agent: sampan-demo\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: its code (0 when none came: `why`), who answered, and how long it took."""

    code: int
    version: str
    seconds: float
    why: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the order was taken: a 4xx is the gateway's, and a lost order too."""
        return 200 <= self.code < 300


class Load:
    """Offers so many requests a second while it runs. `failures` has why which version's requests failed."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self.failures: Counter[tuple[str, str]] = Counter()
        self._place = place
        self._clock = clock
        self._rate = 0.0
        self._answers: list[Answer] = []
        self._idle: list[_Connection] = []
        self._asked: deque[tuple[_Connection, float]] = deque()
        self._open = 0
        self._tasks = Tasks("load")

    def offer(self, per_second: float) -> None:
        """From now on."""
        self._rate = per_second

    def take(self) -> Taken:
        """What came to an end since this was asked last."""
        answers, self._answers = self._answers, []
        return taken(answers)

    @property
    def in_flight(self) -> int:
        """Requests that nobody has answered yet."""
        return self._open - len(self._idle)

    async def run(self) -> None:
        """Until cancelled: at each tick what is due by then."""
        due, last = 0.0, self._clock.monotonic()
        while True:
            await self._clock.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            due, last = due + self._rate * (now - last), now
            for _ in range(int(due)):
                self._offer_one(now)
            due %= 1.0
            self._give_up(now)

    async def end(self) -> None:
        """What has been asked is waited for, as long as it would have been otherwise."""
        until = self._clock.monotonic() + GIVE_UP_SECONDS
        while self.in_flight and self._clock.monotonic() < until:
            await self._clock.sleep(TICK_SECONDS)
        self._give_up(until + GIVE_UP_SECONDS)
        await self._tasks.close()
        while self._idle:
            self._idle.pop().close()
            self._open -= 1

    def _offer_one(self, now: float) -> None:
        if self._idle:
            self._ask(self._idle.pop(), now)
        elif self._open >= MOST_CONNECTIONS:
            self._report(Answer(0, "", 0.0, f"{MOST_CONNECTIONS} requests wait already"))
        else:
            self._open += 1
            self._tasks.spawn(self._connect(now), "connection", critical=False)

    async def _connect(self, began: float) -> None:
        """A request that found no connection waits for its own."""
        loop, place = asyncio.get_running_loop(), self._place
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._ended), place.address, place.port
                )
        except (OSError, TimeoutError) as error:
            self._open -= 1
            self._report(Answer(0, "", self._clock.monotonic() - began, f"no connection: {error or 'too late'}"))
            return
        self._ask(connection, began)

    def _ask(self, connection: "_Connection", began: float) -> None:
        if not connection.is_open:
            self._report(Answer(0, "", self._clock.monotonic() - began, "the connection was closed at once"))
            return
        connection.ask(self._place.request, began)
        self._asked.append((connection, began))

    def _ended(self, connection: "_Connection", code: int, version: str, why: str) -> None:
        """A request or, when nothing was asked (code 0 and no reason), just its connection."""
        if code or why:
            self._report(Answer(code, version, self._clock.monotonic() - connection.began, why))
        if connection.is_open:
            self._idle.append(connection)
            return
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def _report(self, answer: Answer) -> None:
        self._answers.append(answer)
        if answer.is_good:
            return
        reason = (answer.version, f"{answer.code or 'no answer'}: {answer.why}")
        if reason in self.failures or len(self.failures) < MOST_REASONS:
            self.failures[reason] += 1

    def _give_up(self, now: float) -> None:
        """On all that wait too long; the oldest are asked first, of which most have been answered."""
        while self._asked:
            connection, began = self._asked[0]
            is_waiting = connection.is_busy and connection.began == began
            if is_waiting and now - began < GIVE_UP_SECONDS:
                break
            self._asked.popleft()
            if is_waiting:
                connection.fail(f"none within {GIVE_UP_SECONDS:.0f} s")


def taken(answers: Sequence[Answer]) -> Taken:
    """Answers in figures."""
    failed_by = Counter(answer.version for answer in answers if not answer.is_good)
    seconds = sorted(answer.seconds for answer in answers if answer.is_good)
    return Taken(
        answered=len(seconds),
        failed_by=dict(failed_by),
        late=sum(1 for value in seconds if value > LATE_SECONDS),
        p50=_quantile(seconds, 0.5),
        p99=_quantile(seconds, 0.99),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else None


class _Connection(asyncio.Protocol):
    """One to the gateway: a request at a time."""

    def __init__(self, ended: "Callable[[_Connection, int, str, str], None]") -> None:
        self.is_open = False
        self.is_busy = False
        self.began = 0.0
        self._ended = ended
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_open = transport, True  # type: ignore[assignment]

    def ask(self, request: bytes, began: float) -> None:
        """Says it; whoever was given to us hears what became of it."""
        assert self._transport is not None  # it is open
        self.is_busy, self.began, self._buffer = True, began, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """The head, and as much of a body as it says."""
        if not self.is_busy:
            self.fail("that nobody asked for")
            return
        self._buffer += data
        head, found, body = self._buffer.partition(_END_OF_HEAD)
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(body) < int(headers.get("content-length", 0)):
            return
        if headers.get("connection", "").lower() == "close":
            self.close()
        self._done(int(first.split(" ")[1]), headers.get("x-version", ""), _first_line(body))

    def connection_lost(self, exc: Exception | None) -> None:
        was_open, self.is_open = self.is_open, False
        if was_open:
            self._done(0, "", "the connection broke" if self.is_busy else "")

    def fail(self, why: str) -> None:
        """Ends with no answer."""
        self.close()
        self._done(0, "", why)

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def _done(self, code: int, version: str, why: str) -> None:
        self.is_busy = False
        self._ended(self, code, version, why)


def _first_line(body: bytes) -> str:
    """So that a failure can be understood."""
    return body[:200].decode("latin-1").partition("\n")[0]
