"""Forwarder: what others answer for names outside the cluster, kept for a while.

A question is asked once however many wait for it. Servers are tried in order, those that didn't answer lately last,
and every question has an end: a dead server costs its askers seconds, and nobody else anything.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node.network.dns import exchange, wire
from sampan.node.network.dns.figures import Figures
from sampan.node.network.dns.reply import Reply, Turning
from sampan.node.network.dns.upstreams import Server, Upstreams
from sampan.node.network.dns.wire import Malformed, Question, Span

log = logging.getLogger(__name__)

TOTAL_SECONDS = 4.0
"""Less than resolvers wait, so that they get an answer."""
HOPELESS_SECONDS = 2.0
"""How long servers are given of which none has answered lately."""
FAILURES = 2
DOWN_SECONDS = 5.0
MAX_IN_FLIGHT = 512
MAX_WAITING = 128
"""For how many answers one asker may wait."""
MAX_KEPT = 4096
KEPT_SECONDS = 30
FAILED_SECONDS = 1.0
_ROOT = "."
_LETTERS = 10
"""So many, and their cases are not the same by chance."""

Key = tuple[bytes, int, bool]


@dataclass(slots=True)
class _Kept:
    """An answer, the body that it came with and where in that TTLs are, and when it came and ends."""

    reply: Reply
    body: bytes
    ttls: tuple[int, ...]
    since: float
    until: float
    age: int = 0

    def aged(self, now: float) -> Reply:
        """With the TTLs that are left."""
        age = int(now - self.since)
        if age != self.age:
            body = bytearray(self.body)
            for at in self.ttls:
                left = max(int.from_bytes(body[at : at + 4], "big") - age, 0)
                body[at : at + 4] = left.to_bytes(4, "big")
            self.age, self.reply.body = age, bytes(body)
        return self.reply


@dataclass(slots=True)
class _Flight:
    """A question that is being asked, and as what: who repeats the very letters has it from us."""

    task: asyncio.Task[Reply] = field(init=False)
    texts: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Health:
    failures: int = 0
    down_until: float = 0.0


class Forwarder:
    """Asks the servers of `upstreams`, or where these name none, `host()`'s."""

    def __init__(self, host: Callable[[], tuple[Server, ...]], clock: Clock, tasks: Tasks, figures: Figures) -> None:
        self.upstreams = Upstreams()
        self._host, self._clock, self._tasks, self._figures = host, clock, tasks, figures
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._flights: dict[Key, _Flight] = {}
        self._health: dict[Server, _Health] = {}
        self._waiting: dict[str, int] = {}

    def configure(self, upstreams: Upstreams) -> None:
        """Asks these from now on, also for what others have answered."""
        if upstreams != self.upstreams:
            self.upstreams = upstreams
            self._kept.clear()
            self._health.clear()

    def kept(self, asked: Question) -> Reply | None:
        """The answer, if it is known."""
        key, now = _key(asked), self._clock.monotonic()
        found = self._kept.get(key)
        if found is None or found.until <= now:
            self._figures.misses += 1
            return None
        self._figures.hits["denial" if found.reply.code else "success"] += 1
        return found.aged(now)

    def entries(self) -> dict[str, int]:
        """How many answers are kept, of those that say something and those that say that there is nothing."""
        denials = sum(bool(kept.reply.code) for kept in self._kept.values())
        return {"denial": denials, "success": len(self._kept) - denials}

    async def ask(self, asked: Question, sender: str) -> Reply:
        """The answer, if it takes all the time there is. `sender` is the address of who wants to know."""
        key = _key(asked)
        flight = self._flights.get(key)
        if self._waiting.get(sender, 0) >= MAX_WAITING or (flight is None and len(self._flights) >= MAX_IN_FLIGHT):
            self._figures.rejects += 1
            return _failed(asked)
        if flight is None:
            servers = self.upstreams.stub(wire.labels(asked.name)) or self.upstreams.servers or self._host()
            flight = self._flights[key] = _Flight()
            flight.task = self._tasks.spawn(self._fly(key, asked, servers), "forward", critical=False)
            flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
        elif asked.text in flight.texts:
            log.warning("%s asks us what we ask others: they must not lead back here", sender)
            return _failed(asked)
        self._waiting[sender] = self._waiting.get(sender, 0) + 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            self._waiting[sender] -= 1
            if not self._waiting[sender]:
                del self._waiting[sender]

    async def _fly(self, key: Key, asked: Question, servers: Sequence[Server]) -> Reply:
        kept = await self._ask_each(asked, servers, self._flights[key].texts)
        now = self._clock.monotonic()
        if kept is None:
            kept = _Kept(_failed(asked), b"", (), now, now + FAILED_SECONDS)
        if kept.until > now:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return kept.reply

    async def _ask_each(self, asked: Question, servers: Sequence[Server], texts: set[bytes]) -> _Kept | None:
        """The first good answer, or the last bad one."""
        found = None
        for server, seconds in self._attempts(servers):
            began, packet = self._clock.monotonic(), exchange.packet(asked)
            if sum(map(str.isalpha, asked.name.decode("latin-1"))) >= _LETTERS:
                texts.add(exchange.text(packet))
            try:
                async with asyncio.timeout(seconds):
                    answer = await exchange.ask(server, packet)
                found = _read(answer, asked, self._clock.monotonic())
            except (OSError, EOFError, Malformed) as error:
                self._failed_at(server, error)
                continue
            self._health.pop(server, None)
            self._figures.exchanged(server, found.reply.code, self._clock.monotonic() - began)
            if found.reply.code in (wire.NOERROR, wire.NXDOMAIN):
                return found
        return found

    def _attempts(self, servers: Sequence[Server]) -> list[tuple[Server, float]]:
        """Whom to ask, one after the other, and for how long each."""
        if not servers:
            return []
        now = self._clock.monotonic()
        down = [server for server in servers if self._is_down(server, now)]
        up = [server for server in servers if server not in down]
        if not up:
            self._figures.broken += 1
            return [(server, HOPELESS_SECONDS / len(servers)) for server in servers]
        order = [*up, *down] if len(servers) > 1 else [*up, *up]
        return [(server, TOTAL_SECONDS / len(order)) for server in order]

    def _is_down(self, server: Server, now: float) -> bool:
        health = self._health.get(server)
        return health is not None and health.failures >= FAILURES and health.down_until > now

    def _failed_at(self, server: Server, error: Exception) -> None:
        health = self._health.setdefault(server, _Health())
        health.failures += 1
        health.down_until = self._clock.monotonic() + DOWN_SECONDS
        if health.failures == FAILURES:
            log.warning("name server %s:%d does not answer: %s", *server, repr(error))


def _key(asked: Question) -> Key:
    return asked.key, asked.bits & wire.CD, asked.wants_dnssec


def _failed(asked: Question) -> Reply:
    return Reply((_ROOT, asked.type, wire.SERVFAIL), is_authoritative=False)


def _read(packet: bytes, asked: Question, now: float) -> _Kept:
    """An answer as it is to be kept. Raises Malformed."""
    if packet[4:6] != b"\0\1":
        raise Malformed
    start = wire.HEADER + len(asked.key)
    counts = [int.from_bytes(packet[at : at + 2], "big") for at in (6, 8, 10)]
    spans = list(wire.spans(packet, start, sum(counts)))
    kept = next((number for number, span in enumerate(spans) if span.type == wire.OPT), len(spans))
    if kept < counts[0] + counts[1]:
        raise Malformed
    counts[2], spans = kept - counts[0] - counts[1], spans[:kept]
    body, code = packet[start : spans[-1].end if spans else start], packet[3] & 0xF
    ends = tuple(span.end - start for span in spans)
    turning = _turning(spans[: counts[0]], packet, start)
    kind = (_ROOT, asked.type, code)
    reply = Reply(kind, body, (counts[0], counts[1], counts[2]), ends, turning, is_authoritative=False)
    seconds = _seconds(packet, spans, counts, code)
    ttls = tuple(span.fixed + 4 - start for span in spans)
    return _Kept(reply, body, ttls, now, now + seconds)


def _seconds(packet: bytes, spans: Sequence[Span], counts: list[int], code: int) -> float:
    """How long the answer may be kept, by the records' TTLs or that of the word that there are none."""
    if code not in (wire.NOERROR, wire.NXDOMAIN) or packet[2] & 2:
        return FAILED_SECONDS
    answers, authority = spans[: counts[0]], spans[counts[0] : counts[0] + counts[1]]
    ttls = [span.ttl for span in answers]
    if code == wire.NXDOMAIN or not answers:
        for span in authority:
            if span.type == wire.SOA:
                ttls += [span.ttl, int.from_bytes(packet[span.end - 4 : span.end], "big")]
        ttls = ttls or [int(FAILED_SECONDS)]
    return min(*ttls, KEPT_SECONDS)


def _turning(answers: Sequence[Span], packet: bytes, start: int) -> Turning | None:
    """The addresses at the answer's end, if all have the same owner written alike."""
    last = answers[-1] if answers else None
    if last is None or last.type not in (wire.A, wire.AAAA):
        return None
    owner, size, count = packet[last.owner : last.fixed], last.end - last.owner, 0
    for span in reversed(answers):
        if span.type != last.type or packet[span.owner : span.fixed] != owner or span.end - span.owner != size:
            break
        count += 1
    return Turning(last.end - size * count - start, size, count) if count > 1 else None
