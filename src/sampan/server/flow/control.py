"""Flow control: who is served now, who waits, and who has to come again (429), by priority and fairness.

`admit` gives a ticket at once where the level has a seat, which is nearly always; else `wait` stands in
a fair queue for one. Every ticket is handed back by `done`. A level lends seats that it does not use to
the others; what it is assured of is never lent.

What computes at once never holds a seat while another comes. So a level also gives only so many seats in
one turn of the event loop: who floods it by many connections queues for the turns, and others pass.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.meta import objects, status
from sampan.server.cache import Cache, Change
from sampan.server.flow import level as levels
from sampan.server.flow import schemas
from sampan.server.flow.level import Level, Queue, Waiter
from sampan.server.flow.schemas import Schema
from sampan.server.identity import User
from sampan.server.request_info import RequestInfo

LOG = logging.getLogger(__name__)
TOTAL_SEATS = 600
WAIT_SECONDS = 15.0
OBJECTS_PER_SEAT = 100
MAX_SEATS = 10
MAX_ROUTES = 4096
MAX_ROUTE_LENGTH = 1024
"""Characters of all that a request is told by; routes of longer ones are not remembered."""
SEATS_PER_TURN = 64
TEXT = "too many requests, please try again later."

Tree = dict[str, Any]
Key = tuple[str, tuple[str, ...], str, str, str, str, str]

# What there is before, or without, the objects: as upstream's mandatory ones.
_MANDATORY: dict[str, Tree] = {
    schemas.EXEMPT: {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    schemas.CATCH_ALL: {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}},
    },
}


@dataclass(slots=True, eq=False)
class Route:
    """What a request is classified as: its schema and level, and the headers that tell the client."""

    schema: Schema
    level: Level
    headers: dict[str, str]
    single: "Ticket | None" = None
    dispatched: int = 0


@dataclass(slots=True, eq=False)
class Ticket:
    """Seats that a request holds. `waited` is where and as whom it waited, if it did; it began `since` (monotonic)."""

    route: Route
    seats: int = 1
    waited: tuple[Queue, Waiter] | None = None
    since: float = 0.0


class Flow:
    """Every request passes here. There are `total` seats; nobody waits for longer than `wait_seconds`."""

    def __init__(self, clock: Clock, total: int = TOTAL_SEATS, wait_seconds: float = WAIT_SECONDS) -> None:
        self._clock = clock
        self.total = total
        self._wait_seconds = wait_seconds
        self.count: Callable[[RequestInfo], int] = lambda info: 0
        self._schema_trees: dict[str, Schema] = {}
        self._level_specs: dict[str, tuple[str, Tree]] = {}
        self._levels: dict[str, Level] = {}
        self._schemas: tuple[Schema, ...] = ()
        self._routes: dict[Key, Route] = {}
        self._named: frozenset[str] = frozenset()
        """Namespaces that schemas tell from others."""
        self._by_schema: dict[str, Route] = {}
        self._is_stale = False
        self.busy = 0
        self.waiting = 0
        self.rejected: dict[tuple[str, str, str], int] = {}
        self.waits: Callable[[Route, float], None] | None = None
        self._soon: Callable[[Callable[[], None]], object] | None = None
        self._begun: list[Level] = []
        self.rebuild()

    def start(self, cache: Cache, kinds: tuple[Kind, Kind], count: Callable[[RequestInfo], int]) -> None:
        """Follows the stored FlowSchemas and PriorityLevelConfigurations (`kinds`, in this order).

        `count` says how many objects there are of the resource that is asked for, as an estimate of a list's work.
        """
        self.count = count
        self.take_turns()
        for kind, take in zip(kinds, (self.take_schema, self.take_level), strict=True):
            kept = cache.of(kind)
            for item in kept.range():
                try:
                    take(objects.name(item.tree), item.tree)
                except Exception:
                    LOG.exception("%s %s is left out", kept.resource, item.key)
            kept.listen(partial(self._changed, take))
        self.rebuild()

    def take_turns(self) -> None:
        """From now on only so much begins in one turn of the event loop that runs."""
        self._soon = asyncio.get_running_loop().call_soon

    def admit(self, user: User, info: RequestInfo, seats: int = 1) -> Ticket | None:
        """A ticket, None when the request has to `wait`."""
        route = self._route_of(user, info)
        level = route.level
        if level.is_exempt:
            level.seats += seats
        elif level.waiting or not self._has_room(level, seats, level.limits.spare):
            return None
        else:
            self._take(level, seats)
        route.dispatched += 1
        return route.single if seats == 1 else Ticket(route, seats)

    async def wait(self, user: User, info: RequestInfo, seats: int = 1) -> Ticket:
        """A ticket, after its turn has come. Raises ApiError 429 when the queue is full, or the wait too long."""
        route = self._route_of(user, info)
        level = route.level
        number = levels.flow_hash(route.schema.name, route.schema.flow(user, info))
        waiter = Waiter(seats, number, asyncio.get_running_loop().create_future())
        if not level.limits.queues:
            raise self._refuse(route, "concurrency-limit")
        if not level.enqueue(waiter):
            raise self._refuse(route, "queue-full")
        self.waiting += 1
        since = self._clock.monotonic()
        self._dispatch()
        try:
            async with asyncio.timeout(self._wait_seconds):
                queue = await waiter.seat
        except TimeoutError:
            self._abandon(route, waiter)
            raise self._refuse(route, "time-out") from None
        except asyncio.CancelledError:
            self._abandon(route, waiter)
            raise
        now = self._clock.monotonic()
        if self.waits is not None:
            self.waits(route, now - since)
        route.dispatched += 1
        return Ticket(route, seats, (queue, waiter), now)

    def done(self, ticket: Ticket) -> None:
        """The request needs its seats no longer."""
        level, seats = ticket.route.level, ticket.seats
        level.seats -= seats
        if level.is_exempt:
            return
        self.busy -= seats
        if ticket.waited is not None:
            level.served(*ticket.waited, self._clock.monotonic() - ticket.since)
        if self.waiting:
            self._dispatch()

    def seats(self, info: RequestInfo, limit: str, *, has_initial_events: bool) -> int:
        """How many seats a list or watch takes, by the number of objects that it has to look at."""
        if info.name or not (info.verb == "list" or has_initial_events):
            return 1
        count = self.count(info)
        if limit.isdecimal() and len(limit) < 10 and int(limit) and not info.fields:
            count = min(count, int(limit))
        return min(max(math.ceil(count / OBJECTS_PER_SEAT), 1), MAX_SEATS)

    def routes(self) -> Iterator[Route]:
        """Every schema's, for metrics."""
        self._freshen()
        yield from self._by_schema.values()

    def levels(self) -> Iterator[Level]:
        """Every level, for metrics."""
        self._freshen()
        yield from self._levels.values()

    # Seats

    def _has_room(self, level: Level, seats: int, spare: int = 0) -> bool:
        """Whether the level may take so many seats more, and the spare ones. A wide request needs only the first to be free."""
        taken, limits = level.seats, level.limits
        if level.begun >= SEATS_PER_TURN and limits.queues:
            return False
        if taken + spare < level.assured:
            return True
        if self.busy >= self.total and taken:
            return False
        if taken + spare < limits.nominal or not taken:
            return True
        taken += spare
        return taken + seats <= limits.nominal + limits.borrowing and self._lendable(level) >= seats + spare

    def _take(self, level: Level, seats: int) -> None:
        level.seats += seats
        self.busy += seats
        if self._soon is None:
            return
        if not self._begun:
            self._soon(self._next_turn)
        if not level.begun:
            self._begun.append(level)
        level.begun += seats

    def _next_turn(self) -> None:
        """Whatever else the event loop had to do has had its turn."""
        for level in self._begun:
            level.begun = 0
        self._begun = []
        if self.waiting:
            self._dispatch()

    def _lendable(self, borrower: Level) -> int:
        """Seats that other levels do not use and may lend, less those that are borrowed already."""
        free = lent = 0
        for level in self._levels.values():
            limits = level.limits
            if level is not borrower:
                free += min(limits.lendable, max(limits.nominal - level.seats, 0))
            if not level.is_exempt:
                lent += max(level.seats - limits.nominal, 0)
        return free - lent

    def _dispatch(self) -> None:
        """Seats everybody for whom there is room, the levels in turn."""
        progress = True
        while progress and self.waiting:
            progress = False
            for level in self._levels.values():
                if level.waiting and self._seat_one(level):
                    progress = True

    def _seat_one(self, level: Level) -> bool:
        found = next((head for head in level.heads() if self._may_sit(level, head[1])), None)
        if found is None:
            return False
        queue, waiter = found
        level.seat(queue)
        self.waiting -= 1
        if waiter.seat.done():  # it was given up
            level.rose(queue, waiter)
            return True
        if level.is_exempt:
            level.seats += waiter.seats
        else:
            self._take(level, waiter.seats)
        waiter.seat.set_result(queue)
        return True

    def _may_sit(self, level: Level, waiter: Waiter) -> bool:
        if level.is_exempt or waiter.seat.done():
            return True
        return self._has_room(level, waiter.seats, level.limits.spare if level.has_seat(waiter) else 0)

    def _abandon(self, route: Route, waiter: Waiter) -> None:
        """Somebody who waits no longer; a seat that came at the last moment is given back."""
        if waiter.seat.done() and not waiter.seat.cancelled() and waiter.seat.exception() is None:
            self.done(Ticket(route, waiter.seats, (waiter.seat.result(), waiter), self._clock.monotonic()))
            return
        waiter.seat.cancel()
        before = route.level.waiting
        route.level.leave(waiter)
        self.waiting -= before - route.level.waiting

    def _refuse(self, route: Route, reason: str) -> status.ApiError:
        key = (route.level.name, route.schema.name, reason)
        self.rejected[key] = self.rejected.get(key, 0) + 1
        error = status.too_many_requests(TEXT, 1)
        error.headers.update(route.headers)
        return error

    # Classification

    def _route_of(self, user: User, info: RequestInfo) -> Route:
        route = self._routes.get(self._key(user, info))
        return self._classify(user, info) if route is None else route

    def _key(self, user: User, info: RequestInfo) -> Key:
        """All that schemas can tell requests by: namespaces that none of them names are alike."""
        place = info.namespace if info.is_resource else info.path
        if place and info.is_resource and place not in self._named:
            place = "*"
        return (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, place)

    def _classify(self, user: User, info: RequestInfo) -> Route:
        self._freshen()
        route = self._by_schema[self._schema(user, info).name]
        name, groups, *rest = key = self._key(user, info)
        if len(name) + sum(map(len, (*groups, *rest))) <= MAX_ROUTE_LENGTH:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[key] = route
        return route

    def _schema(self, user: User, info: RequestInfo) -> Schema:
        return next((s for s in self._schemas if s.matches(user, info)), self._schemas[-1])

    # Configuration

    def _changed(self, take: Callable[[str, Tree | None], None], change: Change) -> None:
        """Many may change together, so it is all taken in when somebody comes, or at once for those who wait."""
        if _says_the_same(change):
            return
        take(change.last().key, None if change.item is None else change.item.tree)
        self._is_stale = True
        self._routes.clear()
        if self.waiting:
            self.rebuild()

    def _freshen(self) -> None:
        if self._is_stale:
            self.rebuild()

    def take_schema(self, name: str, tree: Tree | None) -> None:
        if tree is None:
            self._schema_trees.pop(name, None)
        else:
            self._schema_trees[name] = schemas.of(tree)

    def take_level(self, name: str, tree: Tree | None) -> None:
        if tree is None:
            self._level_specs.pop(name, None)
        else:
            self._level_specs[name] = (objects.uid(tree), tree.get("spec") or {})

    def rebuild(self) -> None:
        """Takes in changed objects. Levels keep their seats and queues; one that is gone ends when it is empty."""
        self._is_stale = False
        specs = {name: spec for name, (_, spec) in self._level_specs.items()}
        for name, spec in _MANDATORY.items():
            specs.setdefault(name, spec)
        for name, found in levels.limits(specs, self.total).items():
            uid = self._level_specs.get(name, ("", {}))[0]
            if name in self._levels:
                self._levels[name].set(uid, found)
            else:
                self._levels[name] = Level(name, uid, found)
        for name in [n for n, level in self._levels.items() if n not in specs and not level.waiting]:
            del self._levels[name]
        known = [s for s in self._schema_trees.values() if s.level in specs]  # a dangling schema takes nothing
        if schemas.EXEMPT not in self._schema_trees:
            known.append(schemas.MASTERS)
        self._schemas = schemas.ordered(known)
        self._named = frozenset(name for schema in self._schemas for name in schema.namespaces)
        counted = {name: route.dispatched for name, route in self._by_schema.items()}
        self._by_schema = {}
        for schema in reversed(self._schemas):
            self._by_schema[schema.name] = self._route(schema, counted.get(schema.name, 0))
        self.waiting = sum(level.waiting for level in self._levels.values())
        self._routes.clear()
        self._dispatch()

    def _route(self, schema: Schema, dispatched: int) -> Route:
        level = self._levels[schema.level]
        headers = {"X-Kubernetes-Pf-Flowschema-Uid": schema.uid, "X-Kubernetes-Pf-Prioritylevel-Uid": level.uid}
        route = Route(schema, level, headers, dispatched=dispatched)
        route.single = Ticket(route)
        return route


def _says_the_same(change: Change) -> bool:
    """Whether only the object's status or metadata is not what it was."""
    if change.item is None or change.previous is None:
        return False
    now, before = change.item.tree, change.previous.tree
    return objects.uid(now) == objects.uid(before) and now.get("spec") == before.get("spec")
