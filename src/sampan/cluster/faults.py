"""Faults: what can go wrong in a simulated cluster, when it is told to, or by chance from a seed.

    faults = Faults(cluster)
    with faults.errors(503, Aim(chance=0.2)):            # each fifth request of the cluster's own parts
        cluster.advance(60)
    faults.after(10, lambda: faults.crash_node("sampan-2", back_after=120))
    faults.every(30, 90, lambda: faults.partition("sampan-3"), lasting=(5, 20))
    faults.crash_at_write(17, back_after=5)
    faults.end()                                         # everything is well again

What strikes some requests takes an Aim. What lasts is a Fault: it ends with its block, by `end`, or `after` a while.
Chance is thrown from the cluster's seed, or from another one.
"""

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from sampan.cluster.aim import WRITES, Aim
from sampan.cluster.crashes import PLANE, AtWrite, Crashes
from sampan.cluster.distortions import Lagging, Repeating
from sampan.cluster.history import Change
from sampan.cluster.interceptors import (
    Delaying,
    Disconnecting,
    Expiring,
    Holding,
    Interceptor,
    Isolating,
    Late,
    LosingAnswers,
    Refusing,
)
from sampan.cluster.rivals import GROUP, Rivals
from sampan.cluster.simulated import SimulatedCluster
from sampan.cluster.simulated_outbound import Trouble
from sampan.kit.dice import Dice

ANY = Aim()
WATCH_LAG_SECONDS = 30.0
"""For how long a cache may be behind that can't watch: it waits that long at most before it tries again."""

RIVAL_SECONDS = (0.001, 0.01)
"""How far away rivals are: two who write against each other at once would do so for ever, and no time would pass."""

Span = float | tuple[float, float]
"""So many seconds, or some number between two, by the seed."""


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
        self._silences = 0
        self._silent_since = 0.0
        self._usual_lag: float | None = None
        self._crashes = Crashes(cluster, self._tell)
        self._expiring = Expiring()

    def throw(self, dice: Dice) -> None:
        """From now on chance comes from these dice, whatever else was done before."""
        self.dice, self._uses = dice, 0

    # When

    def after(self, seconds: Span, do: Callable[[], object], lasting: Span | None = None) -> None:
        """Does it so many seconds from now, as time passes; a fault that it begins ends after `lasting`."""
        dice = self._next_dice() if isinstance(seconds, tuple) or isinstance(lasting, tuple) else self.dice
        self.cluster.loop.call_later(_thrown(seconds, dice), self._do, do, lasting, dice)

    def every(self, least: float, most: float, do: Callable[[], object], lasting: Span | None = None) -> Fault:
        """The same again and again, each time so many seconds after the time before."""
        dice, is_on = self._next_dice(), True

        def again() -> None:
            if is_on:
                self.cluster.loop.call_later(dice.between(least, most), again)
                self._do(do, lasting, dice)

        def stop() -> None:
            nonlocal is_on
            is_on = False

        self.cluster.loop.call_later(dice.between(least, most), again)
        return self._last("", stop)

    def end(self) -> None:
        """Ends all that lasts; what was crashed is started again. It may take a moment until all is well."""
        for fault in list(self._lasting):
            fault.end()
        self._crashes.end()

    # Requests

    def errors(self, code: int = 503, aim: Aim = ANY, retry_seconds: int | None = None) -> Fault:
        """The server refuses with 500, 503, 429 or another code; `retry_seconds` is its Retry-After. Raises ValueError."""
        if not (isinstance(code, int) and 400 <= code < 600):
            raise ValueError(f"a refusal has a code from 400 to 599, not {code!r}")
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

    def lost_answers(self, aim: Aim | None = None, code: int = 0) -> Fault:
        """Connections break after the server has done what it was asked for; or it says 504, or another code."""
        name = f"answers {code} to what was done" if code else "lost answers"
        return self._intercept(name, LosingAnswers(aim or Aim(verbs=WRITES), self._next_dice(), code))

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
        return self._make_late(_about(f"watches late by {seconds:g} s", aim), aim, seconds)

    def silent_watches(self, aim: Aim = ANY) -> Fault:
        """Whoever watches hears nothing more, and does not notice, until this ends."""
        return self._ignorance(self._make_late(_about("silent watches", aim), aim, None))

    def missed_events(self, aim: Aim = ANY) -> Fault:
        """Whoever watches hears nothing, and when this ends is told 410: of what happened meanwhile it only ever sees
        what came of it.
        """
        silence = self._make_late(_about("missed events", aim), aim, None)

        def end() -> None:
            self.expire_watches(aim)
            silence.end()

        return self._ignorance(self._last("", end))

    def repeated_events(self, aim: Aim = ANY) -> Fault:
        """Watches tell the last few of their events again, and again in order, after each event or by chance."""
        fault = self._distort(_about("repeated events", aim), Repeating(aim, self._next_dice()))
        self._renew(aim)
        return fault

    def time_travel(self, seconds: float, aim: Aim = ANY) -> Fault:
        """Whoever lists, or begins to watch, is shown the world of so many seconds ago, which goes on at that distance.

        Together with a crash: controllers that come back to the past.
        """
        dice, where = self._next_dice(), (self._doors, self.cluster.history)
        lagging = Lagging(aim, dice, seconds, where)
        self._lag(seconds + WATCH_LAG_SECONDS)
        fault = self._distort(_about(f"time travel by {seconds:g} s", aim), lagging)
        self._doors.rivals += 1  # who lives in the past works beside what was done since, as another set would

        def end() -> None:
            self._doors.rivals -= 1
            lagging.release()
            fault.end()

        return self._last("", end)

    # Parts

    def freeze(self, *users: str) -> Fault:
        """These stand still like a stopped process, until this ends: then they do what they were about to, knowing
        nothing of what happened meanwhile. Nodes, or other users by patterns of their names (aim.CONTROLLERS).
        """
        aim = Aim(users=self._names(users))
        held = Holding(aim, self._next_dice())
        self._doors.interceptors.append(held)
        silence = self._make_late(f"freeze {', '.join(users)}", aim, None)

        def end() -> None:
            silence.end()
            self._doors.interceptors.remove(held)
            held.release()

        return self._ignorance(self._last("", end))

    def partition(self, *users: str) -> Fault:
        """These reach nobody, until this ends; a node's containers go on. Named as for `freeze`."""
        aim = Aim(users=self._names(users))
        fault = self._intercept(f"partition of {', '.join(users)}", Isolating(aim, self._next_dice()), "")
        self._renew(aim)
        return fault

    # The control plane

    def crash_control_plane(self, back_after: float | None = None) -> None:
        """Kills server, controllers and scheduler at this instant; they are back after so many seconds."""
        self._crashes.plane(back_after)

    def crash_at_write(self, number: int, back_after: float | None = None) -> None:
        """Kills the control plane when the store has done its n-th transaction from now; nobody gets an answer."""
        self._crashes.at_write(number, back_after)

    def crash_at_writes(self, chance: float, back_after: float = 1.0, times: int | None = None) -> Fault:
        """The same at any transaction, with a chance; at most so many times."""
        crash = AtWrite(0, back_after, self._next_dice(), chance, times)
        self._crashes.at_writes(crash)
        name = f"crashes of {PLANE} at writes ({chance:.0%})"
        self._tell(name)
        return self._last(name, lambda: setattr(crash, "times", 0))

    def duplicate_controllers(self, late: float = 0.0) -> Fault:
        """Another set of controllers and another scheduler work beside the first: nobody elects a leader.

        `late` is by how many seconds their watches lag behind: a stale instance that should have gone.
        """
        name = "duplicate controllers" + (f", stale by {late:g} s" if late else "")
        self._tell(name)
        rivals, aim = Rivals(self.cluster), Aim(groups=(GROUP,))
        parts = [self._intercept("", Delaying(aim, self._next_dice(), *RIVAL_SECONDS), "")]
        if late:
            self._lag(late)
            parts.append(self._make_late("", aim, late))

        def end() -> None:
            rivals.end()
            for part in parts:
                part.end()

        return self._last(name, end)

    # Nodes

    def crash_node(self, name: str, back_after: float | None = None) -> None:
        """The node loses its power, and its containers are gone; it is back after so many seconds."""
        self._crashes.node(name, back_after)

    def crash_agent(self, name: str, back_after: float | None = None) -> None:
        """The node's agent alone is killed, and its containers go on; it is back after so many seconds."""
        self._crashes.agent(name, back_after)

    # Containers

    def containers(self, what: str, behaviour: Any, **where: str) -> Fault:
        """What simulated containers do, beside their pods' annotations: slow or failing pulls, exits, start errors, probes.

        `containers("web", {"pull": {"takes": "2m", "error": "timeout"}})`; `what` is a pattern of images or a label
        selector, and `where` may say more, as node/runtime/orders.py has it. Those that run take it up at once.
        """
        rule = self.cluster.behave(what, behaviour, **where)
        name = f"containers of {what}: {behaviour}"
        self._tell(name)
        return self._last(name, lambda: self.cluster.end_behaviour(rule))

    # Webhooks

    def webhooks(self, pattern: str = "*", seconds: float = 0.0, error: str = "", status: int = 0) -> Fault:
        """Calls to webhooks whose URL matches are late, fail with an error of the network, or with an HTTP status."""
        trouble = Trouble(pattern, seconds, error, status)
        self.cluster.outbound.troubles.append(trouble)
        said = [f"late by {seconds:g} s"] if seconds else []
        said += [error] if error else [f"status {status}"] if status else []
        name = f"webhooks {pattern}: {', '.join(said)}"
        self._tell(name)
        return self._last(name, lambda: self.cluster.outbound.troubles.remove(trouble))

    # Time

    def jump_clock(self, seconds: float) -> None:
        """The wall clock of all is set forward, or back."""
        self._tell(f"clock jumps by {seconds:g} s")
        self.cluster.clock.jump(seconds)

    def _do(self, do: Callable[[], object], lasting: Span | None, dice: Dice) -> None:
        begun = do()
        if isinstance(begun, Fault) and lasting is not None:
            self.cluster.loop.call_later(_thrown(lasting, dice), begun.end)

    def _names(self, users: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"system:node:{user}" if user in self.cluster.machines else user for user in users)

    def _intercept(self, what: str, interceptor: Interceptor, aim: str | None = None) -> Fault:
        """`aim` is how to call what it is aimed at."""
        name = f"{what} {interceptor.aim if aim is None else aim}".rstrip()
        self._tell(name)
        if not interceptor.aim.verbs or "watch" in interceptor.aim.verbs or "list" in interceptor.aim.verbs:
            self._lag(WATCH_LAG_SECONDS)
        self._doors.interceptors.append(interceptor)
        return self._last(name, lambda: self._doors.interceptors.remove(interceptor))

    def _distort(self, name: str, interceptor: Interceptor) -> Fault:
        """What stands before all others."""
        self._tell(name)
        self._doors.interceptors.insert(0, interceptor)
        return self._last(name, lambda: self._doors.interceptors.remove(interceptor))

    def _renew(self, aim: Aim) -> None:
        """Watches that were begun before are asked for again."""
        for stream in [stream for stream in self._doors.streams if aim.is_about(stream.request)]:
            stream.cut()

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

        return self._last(name, end)

    def _ignorance(self, fault: Fault) -> Fault:
        """Nobody can tell what is known to whom, until this ends and for a while after it."""
        self._silent_since = self._silent_since if self._silences else self.cluster.time
        self._silences += 1
        self._lag(math.inf)

        def end() -> None:
            fault.end()
            self._silences -= 1
            if not self._silences:
                self._doors.lag_seconds = WATCH_LAG_SECONDS + self.cluster.time - self._silent_since

        return self._last("", end)

    def _lag(self, seconds: float) -> None:
        if self._usual_lag is None:
            self._usual_lag = self._doors.lag_seconds
        self._doors.lag_seconds = max(self._doors.lag_seconds, seconds)

    def _calm(self, usual: float) -> None:
        """What somebody could have missed, everybody knows by now; unless something is wrong again."""
        if not self._lasting:
            self._doors.lag_seconds, self._usual_lag = usual, None

    def _last(self, name: str, end: Callable[[], object]) -> Fault:
        """`name` "" is part of another fault, which tells of its end."""

        def ended() -> None:
            self._tell(f"end of {name}" if name else "")
            end()
            self._lasting.remove(fault)
            if not self._lasting and self._usual_lag is not None:
                self.cluster.loop.call_later(self._doors.lag_seconds, self._calm, self._usual_lag)

        fault = Fault(ended)
        self._lasting.append(fault)
        return fault

    def _next_dice(self) -> Dice:
        self._uses += 1
        return self.dice.of(str(self._uses))

    def _hits(self, aim: Aim) -> bool:
        return aim.chance >= 1 or self.dice.happens(aim.chance)

    def _tell(self, what: str) -> None:
        if what:
            self.log.append((self.cluster.time, what))

    def _date(self, change: Change) -> None:
        self._born[change.tree["metadata"]["resourceVersion"]] = change.time


def _thrown(span: Span, dice: Dice) -> float:
    return span if isinstance(span, int | float) else dice.between(*span)


def _about(what: str, aim: Aim) -> str:
    return f"{what} {aim}".rstrip()
