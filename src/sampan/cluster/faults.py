"""Faults: what can go wrong in a simulated cluster, when it is told to, or by chance from a seed.

    faults = Faults(cluster)
    with faults.errors(503, Aim(chance=0.2)):            # each fifth request of the cluster's own parts
        cluster.advance(60)
    faults.after(10, lambda: faults.crash_node("sampan-2", back_after=120))
    faults.crash_at_write(17, back_after=5)
    faults.end()                                         # everything is well again

What strikes some requests takes an Aim. What lasts is a Fault: it ends with its block, by `end`, or `after` a while.
Chance is thrown from the cluster's seed, or from another one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sampan.client.api import CALM, Client
from sampan.client.transport import TransportError
from sampan.cluster.aim import WRITES, Aim
from sampan.cluster.history import Change
from sampan.cluster.interceptors import (
    Delaying,
    Disconnecting,
    Expiring,
    Interceptor,
    Isolating,
    Late,
    LosingAnswers,
    Refusing,
)
from sampan.cluster.plane import AUTHORITY
from sampan.cluster.simulated import SimulatedCluster
from sampan.cluster.simulated_outbound import Trouble
from sampan.control.runner import Runner
from sampan.controllers.registry import controllers
from sampan.kit.dice import Dice
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.scheduling.loop import Scheduler
from sampan.store.protocol import StoreError
from sampan.web.message import Peer

ANY = Aim()
PLANE = "the control plane"
MANAGER = Peer("system:kube-controller-manager", ("system:masters",))
PLANNER = Peer("system:kube-scheduler")
WATCH_LAG_SECONDS = 30.0
"""For how long a cache may be behind that can't watch: it waits that long at most before it tries again."""


class Fault:
    """Something that is wrong until it ends; a second end does nothing."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end: Callable[[], object] | None = end

    def end(self) -> None:
        """It is well again."""
        ending, self._end = self._end, None
        if ending is not None:
            ending()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Faults:
    """`seed` None takes the cluster's. `log` tells what was done, and when."""

    def __init__(self, cluster: SimulatedCluster, seed: int | None = None) -> None:
        self.cluster = cluster
        self.dice = Dice(cluster.seed if seed is None else seed, "faults")
        self.log: list[tuple[float, str]] = []
        self._uses = 0
        self._doors = cluster.doors
        self._lasting: list[Fault] = []
        self._born: dict[str, float] = {}
        self._is_dating = False
        self._writes = 0
        self._counted = ""
        self._crashes: list[_Crash] = []
        self._boots: dict[str, asyncio.Future[None]] = {}
        self._expiring = Expiring()
        cluster.observe(self._count)

    def throw(self, dice: Dice) -> None:
        """From now on chance comes from these dice, whatever else was done before."""
        self.dice, self._uses = dice, 0

    # When

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Does it so many seconds from now, as time passes."""
        self.cluster.loop.call_later(seconds, do)

    def end(self) -> None:
        """Ends all that lasts; what was crashed is started again. It may take a moment until all is well."""
        for fault in list(self._lasting):
            fault.end()
        self._crashes.clear()
        if not self.cluster.is_up and PLANE not in self._boots:
            self._boot(PLANE, 0.0, self.cluster.boot_control_plane)
        for name in self.cluster.machines:
            if not self.cluster.is_node_up(name) and name not in self._boots:
                self._boot(name, 0.0, lambda name=name: self.cluster.boot_node(name))  # type: ignore[misc]

    # Requests

    def errors(self, code: int = 503, aim: Aim = ANY, retry_seconds: int | None = None) -> Fault:
        """The server refuses with 500, 503, 429 or another code; `retry_seconds` is its Retry-After."""
        return self._intercept(f"errors {code}", Refusing(aim, self._next_dice(), code, retry_seconds))

    def conflicts(self, aim: Aim | None = None) -> Fault:
        """Writes are refused as if somebody else had been faster (409)."""
        return self.errors(409, aim or Aim(verbs=("update", "patch", "delete")))

    def latency(self, least: float, most: float, aim: Aim = ANY) -> Fault:
        """Requests take so many seconds until they arrive."""
        self._lag(2 * most)
        return self._intercept(f"latency {least:g}..{most:g} s", Delaying(aim, self._next_dice(), least, most))

    def broken_connections(self, aim: Aim = ANY) -> Fault:
        """Connections break before the server has the request."""
        return self._intercept("broken connections", Disconnecting(aim, self._next_dice()))

    def lost_answers(self, aim: Aim | None = None) -> Fault:
        """Connections break after the server has done what it was asked for."""
        return self._intercept("lost answers", LosingAnswers(aim or Aim(verbs=WRITES), self._next_dice()))

    # Watches

    def drop_watches(self, aim: Aim = ANY) -> int:
        """Breaks off open watches, which are then taken up again; returns how many."""
        found = [stream for stream in self._doors.streams if aim.is_about(stream.request) and self._hits(aim)]
        for stream in found:
            stream.cut()
        self._tell(f"drop {len(found)} watches")
        return len(found)

    def expire_watches(self, aim: Aim = ANY) -> int:
        """Breaks off open watches; whoever takes one up again is told 410, and has to list anew. Returns how many."""
        found = [stream for stream in self._doors.streams if aim.is_about(stream.request) and self._hits(aim)]
        if self._expiring not in self._doors.interceptors:
            self._doors.interceptors.append(self._expiring)
        for stream in found:
            self._expiring.expect(stream)
            stream.cut()
        self._tell(f"expire {len(found)} watches")
        return len(found)

    def late_watches(self, seconds: float, aim: Aim = ANY) -> Fault:
        """Whoever watches hears of each change so many seconds late: a stale controller acts on the past."""
        self._lag(seconds)
        return self._make_late(f"watches late by {seconds:g} s", aim, seconds)

    def silent_watches(self, aim: Aim = ANY) -> Fault:
        """Whoever watches hears nothing more, and does not notice, until this ends."""
        began = self.cluster.time
        silence = self._make_late("silent watches", aim, None)
        self._doors.lag_seconds = float("inf")

        def end() -> None:
            silence.end()
            self._doors.lag_seconds = WATCH_LAG_SECONDS + self.cluster.time - began

        return self._last(end)

    # The control plane

    def crash_control_plane(self, back_after: float | None = None) -> None:
        """Kills server, controllers and scheduler at this instant; they are back after so many seconds."""
        self._tell("crash the control plane")
        self._stop_booting(PLANE)
        self.cluster.crash_control_plane()
        if back_after is not None:
            self._boot(PLANE, back_after, self.cluster.boot_control_plane)

    def crash_at_write(self, number: int, back_after: float | None = None) -> None:
        """Kills the control plane when the store has done its n-th transaction from now; nobody gets an answer."""
        self._crashes.append(_Crash(self._writes + number, back_after))

    def crash_at_writes(self, chance: float, back_after: float = 1.0, times: int | None = None) -> Fault:
        """The same at any transaction, with a chance; at most so many times."""
        crash = _Crash(0, back_after, self._next_dice(), chance, times)
        self._crashes.append(crash)
        return self._last(lambda: setattr(crash, "times", 0))

    def duplicate_controllers(self) -> Fault:
        """Another set of controllers and another scheduler work beside the first: nobody elects a leader."""
        self._tell("duplicate controllers")
        self._doors.rivals += 1
        cluster, tasks = self.cluster, Tasks("duplicates")
        manager, planner = (Client(self._doors.door(who), who.common_name, watch=CALM) for who in (MANAGER, PLANNER))
        rules = controllers(AUTHORITY, cluster.app.legacy_token)
        runner = Runner(manager, rules, cluster.clock, cluster.ids, tasks)
        scheduler = Scheduler(planner, cluster.clock, tasks, cluster.ids)

        async def run() -> None:
            await runner.start()
            await scheduler.start()

        def end() -> None:
            self._doors.rivals -= 1
            runner.kill()
            tasks.kill()

        cluster.loop.call_soon(lambda: tasks.spawn(run(), "start"))
        return self._last(end)

    # Nodes

    def crash_node(self, name: str, back_after: float | None = None) -> None:
        """The node loses its power, and its containers are gone; it is back after so many seconds."""
        self._tell(f"crash node {name}")
        self._stop_booting(name)
        with contextlib.suppress(KeyError):  # it was down
            self.cluster.crash_node(name)
        if back_after is not None:
            self._boot(name, back_after, lambda: self.cluster.boot_node(name))

    def partition(self, *users: str) -> Fault:
        """These nodes reach nobody, until this ends; their containers go on. Also for other users, by their names."""
        names = tuple(f"system:node:{user}" if user in self.cluster.machines else user for user in users)
        aim = Aim(users=names)
        fault = self._intercept(f"partition of {', '.join(users)}", Isolating(aim, self._next_dice()))
        for stream in [stream for stream in self._doors.streams if aim.is_about(stream.request)]:
            stream.cut()
        return fault

    # Containers

    def containers(self, what: str, behaviour: Any, **where: str) -> Fault:
        """What simulated containers do, beside their pods' annotations: slow or failing pulls, exits, start errors, probes.

        `containers("web", {"pull": {"takes": "2m", "error": "timeout"}})`; `what` is a pattern of images or a label
        selector, and `where` may say more, as node/runtime/orders.py has it. Those that run take it up at once.
        """
        rule = self.cluster.behave(what, behaviour, **where)
        self._tell(f"containers of {what} do {behaviour}")
        return self._last(lambda: self.cluster.end_behaviour(rule))

    # Webhooks

    def webhooks(self, pattern: str = "*", seconds: float = 0.0, error: str = "", status: int = 0) -> Fault:
        """Calls to webhooks whose URL matches are late, fail with an error of the network, or with an HTTP status."""
        trouble = Trouble(pattern, seconds, error, status)
        self.cluster.outbound.troubles.append(trouble)
        self._tell(f"webhooks {pattern}: {seconds:g} s, {error or status or 'late'}")
        return self._last(lambda: self.cluster.outbound.troubles.remove(trouble))

    # Time

    def jump_clock(self, seconds: float) -> None:
        """The wall clock of all is set forward, or back."""
        self._tell(f"clock jumps by {seconds:g} s")
        self.cluster.clock.jump(seconds)

    def _intercept(self, name: str, interceptor: Interceptor) -> Fault:
        self._tell(name)
        if not interceptor.aim.verbs or "watch" in interceptor.aim.verbs or "list" in interceptor.aim.verbs:
            self._lag(WATCH_LAG_SECONDS)
        self._doors.interceptors.append(interceptor)
        return self._last(lambda: self._doors.interceptors.remove(interceptor))

    def _make_late(self, name: str, aim: Aim, seconds: float | None) -> Fault:
        self._tell(name)
        if not self._is_dating:
            self._is_dating = True
            self.cluster.observe(self._date)
        late = Late(aim, seconds, lambda revision: self._born.get(revision, 0.0), lambda: self.cluster.time)
        self._doors.late.append(late)

        def end() -> None:
            self._doors.late.remove(late)
            late.release()

        return self._last(end)

    def _lag(self, seconds: float) -> None:
        self._doors.lag_seconds = max(self._doors.lag_seconds, seconds)

    def _last(self, end: Callable[[], object]) -> Fault:
        def ended() -> None:
            self._lasting.remove(fault)
            self._tell("end of a fault")
            end()

        fault = Fault(ended)
        self._lasting.append(fault)
        return fault

    def _next_dice(self) -> Dice:
        self._uses += 1
        return self.dice.of(str(self._uses))

    def _hits(self, aim: Aim) -> bool:
        return aim.chance >= 1 or self.dice.happens(aim.chance)

    def _tell(self, what: str) -> None:
        self.log.append((self.cluster.time, what))

    def _date(self, change: Change) -> None:
        self._born[change.tree["metadata"]["resourceVersion"]] = change.time

    def _count(self, change: Change) -> None:
        """A transaction of several writes is several changes of one resourceVersion; it counts once."""
        revision = change.tree["metadata"]["resourceVersion"] if self._crashes else ""
        if not revision or revision == self._counted:
            return
        self._counted = revision
        self._writes += 1
        due = [crash for crash in self._crashes if crash.is_due(self._writes)]
        if due:
            self._crashes = [crash for crash in self._crashes if not crash.is_over]
            self.crash_control_plane(due[0].back_after)

    def _stop_booting(self, name: str) -> None:
        boot = self._boots.pop(name, None)
        if boot is not None:
            boot.cancel()

    def _boot(self, name: str, seconds: float, start: Callable[[], Awaitable[None]]) -> None:
        async def boot() -> None:
            await asyncio.sleep(seconds)
            self._tell(f"start {name}")
            with contextlib.suppress(StoreError, ApiError, TransportError):  # killed again meanwhile
                await start()

        self._boots[name] = asyncio.ensure_future(boot(), loop=self.cluster.loop)
        self._boots[name].add_done_callback(self._booted)

    def _booted(self, task: asyncio.Future[None]) -> None:
        self._boots = {name: known for name, known in self._boots.items() if known is not task}
        if not task.cancelled() and (error := task.exception()) is not None:
            self.cluster.fail(error)


@dataclass(slots=True)
class _Crash:
    """A crash of the control plane at a transaction: at the one of that number, or at any, with dice."""

    number: int
    back_after: float | None
    dice: Dice | None = None
    chance: float = 0.0
    times: int | None = 1

    @property
    def is_over(self) -> bool:
        return self.times == 0

    def is_due(self, number: int) -> bool:
        if self.is_over or not (self.dice.happens(self.chance) if self.dice else number == self.number):
            return False
        if self.times is not None:
            self.times -= 1
        return True
