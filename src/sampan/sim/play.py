"""Play: one scenario, one seed. The same two give the same history, byte for byte, in any process."""

import asyncio
import bisect
import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path

from sampan.cluster import invariants, naming, story
from sampan.cluster.faults import Fault, Faults
from sampan.cluster.history import Change, digest
from sampan.cluster.invariants import Own, Violation
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.core.event import EVENT
from sampan.kit.dice import Dice
from sampan.kit.simloop import Stuck
from sampan.sim import outcome, programs
from sampan.sim.conditions import ABSENT, Condition
from sampan.sim.doing import Impossible, carry_out
from sampan.sim.faults import Happening, Terms
from sampan.sim.jitter import Jitter
from sampan.sim.outcome import Failure, Note, Outcome
from sampan.sim.reading import Span, duration
from sampan.sim.scenario import Demand, Scenario
from sampan.sim.shown import Shown
from sampan.sim.steps import Advance, Expect, Step, Together, Wait

FIRST_LOOK_SECONDS = 1.0  # after the end, at whether all is in order; then twice as long, and so on
WAYS = 4  # from a write that others made to one's own: its answer, the watch, the request, the next one


def play(scenario: Scenario, seed: int) -> Outcome:
    """Plays it to its end or its first failure."""
    return Play(scenario, seed).run()


class Failed(Exception):
    """A rule of the scenario's own was broken."""

    def __init__(self, rule: str, text: str, about: str = "", namespace: str = "default") -> None:
        super().__init__(text)
        self.rule = rule
        self.about = about
        self.namespace = namespace


class Play:
    """The cluster, and who acts in it."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.dice = Dice(seed)
        self.cluster = SimulatedCluster(
            seed=seed, nodes=0, feature_gates=scenario.feature_gates, layers=scenario.layers
        )
        self.notes: list[Note] = []
        self.faults = Faults(self.cluster)
        self._lives: list[programs.Life] = []
        self._open = 0  # steps and faults at a time of their own that are not over
        self._is_over = False
        self._failed: Failed | None = None

    def run(self) -> Outcome:
        """Once."""
        self.cluster.start()
        for node in self.scenario.nodes:
            self.cluster.add_node(node.name, **node.given)
        self._began, first = self.cluster.time, len(self.cluster.history)
        failure = self._failure()
        seconds = self.cluster.time - self._began
        with contextlib.suppress(Exception):  # what is broken already need not end in peace
            for life in self._lives:
                life.kill()
            self.cluster.close()
        history = self.cluster.history
        return Outcome(self.seed, failure, self._began, seconds, digest(history), first, history, self._all_notes())

    def note(self, text: str) -> None:
        """Tells the timeline of something."""
        self.notes.append(Note(self.cluster.time, len(self.cluster.history), text))

    def _all_notes(self) -> list[Note]:
        """With what the faults tell; at one instant that comes first."""
        times = [change.time for change in self.cluster.history]
        befell = [Note(time, bisect.bisect_left(times, time), f"! {text}") for time, text in self.faults.log]
        return sorted([*befell, *self.notes], key=lambda note: (note.time, note.position))

    def _failure(self) -> Failure | None:
        try:
            self._act()
        except Failed as failed:
            return Failure(failed.rule, str(failed), self._story(failed.about, failed.namespace))
        except Violation as broken:
            return Failure(broken.rule, str(broken), self._story_of(broken.change) or _of_all(broken.story))
        except Exception as error:  # noqa: BLE001 (a defect in the cluster is what one looks for, too)
            return Failure(outcome.CRASH, "".join(traceback.format_exception(error)).strip())
        return None

    def _act(self) -> None:
        shown = Shown(self.cluster)
        own = [
            *(rule for file in self.scenario.rule_files for rule in rules_of(file)),
            *map(_rule, self.scenario.demands),
        ]
        watched = invariants.watch(self.cluster, *own, shown=shown)
        if self.scenario.jitter:
            jitter = Jitter(self.scenario.jitter, self.dice.of("jitter"), self.cluster.loop.time)
            self.cluster.doors.interceptors.append(jitter)
            self.cluster.doors.lag_seconds = max(self.cluster.doors.lag_seconds, WAYS * self.scenario.jitter)
        for given in self.scenario.containers:
            self.cluster.behaviours.add(given.of, given.do, **given.where)
        self._start_programs()
        for happening in self.scenario.faults:
            self._arrange(happening)
        for step in self.scenario.steps:
            if step.at is not None:
                self._later(step, step.at)
        for step in self.scenario.steps:
            if step.at is None:
                self._do(step)
        self._is_over = True
        self._until(lambda: not self._open)
        self.faults.end()
        self._settle(watched)

    # Steps

    def _do(self, step: Step) -> None:
        """In order: returns when it is over. Raises Failed."""
        action = step.action
        self.note(f"> {action}")
        if isinstance(action, Wait):
            self._wait(action.condition, step.within)
        elif isinstance(action, Expect):
            self._expect(action)
        elif isinstance(action, Advance):
            self._pass(thrown(self.seed, action.span, step.text))
        else:
            ended = self._spawn(step)
            self._until(ended.done)

    def _later(self, step: Step, at: Span) -> None:
        self._open += 1
        self.cluster.loop.call_at(self._began + thrown(self.seed, at, step.text), self._start, step)

    def _start(self, step: Step) -> None:
        self.note(f"> {step.action}")
        self._spawn(step).add_done_callback(self._over)

    def _over(self, _: "asyncio.Future[None]") -> None:
        self._open -= 1

    def _spawn(self, step: Step) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self._perform(step), loop=self.cluster.loop)

    async def _perform(self, step: Step) -> None:
        """What fails ends the play."""
        try:
            if isinstance(step.action, Together):
                order = self.dice.of(step.text).shuffled(step.action.steps)
                await asyncio.gather(*(carry_out(self.cluster, one.action, one.within) for one in order))
            elif isinstance(step.action, Expect):
                self._expect_now(step.action.condition)
            else:
                await carry_out(self.cluster, step.action, step.within)
        except Impossible as error:
            self._failed = self._failed or Failed(outcome.STEP, f"{step.action}: {error}")
        except Failed as failed:
            self._failed = self._failed or failed
        except Exception as error:  # noqa: BLE001 (a defect in the cluster)
            self.cluster.fail(error)

    # Faults

    def programs_named(self, name: str) -> list[programs.Life]:
        """The program under test of this name, or all of its file's."""
        return [life for life in self._lives if name in (life.program.name, life.program.name.rpartition("-")[0])]

    def _arrange(self, happening: Happening) -> None:
        seconds = thrown(self.seed, happening.at, happening.text)
        self._open += happening.every is None
        self.cluster.loop.call_at(self._began + seconds, self._befall, happening, Dice(self.seed, happening.what))

    def _befall(self, happening: Happening, dice: Dice) -> None:
        if self._is_over and happening.every is not None:
            return
        lasting, chance = happening.lasting, 1.0 if happening.sometimes is None else happening.sometimes
        seconds = dice.between(lasting.least, lasting.most) if lasting is not None else None
        if happening.every is None:
            self.faults.after(seconds or 0.0, self._close)
        else:
            again = dice.between(happening.every.least, happening.every.most)
            self.faults.after(again, lambda: self._befall(happening, dice))
        if not happening.strikes and not dice.happens(chance):
            return
        self.faults.throw(dice.of(str(dice.number(0, 1 << 30))))
        fault = happening.begin(self, Terms(seconds, chance, dice))
        if isinstance(fault, Fault) and seconds is not None:
            self.faults.after(seconds, fault.end)

    def _close(self) -> None:
        self._open -= 1

    # Waiting

    def _wait(self, condition: Condition, within: float) -> None:
        try:
            self._until(_once_a_change(self.cluster, lambda: condition.holds(self.cluster)), within)
        except Stuck:
            lack = condition.lack(self.cluster)
            raise _broken(outcome.WAIT, condition, f"not after {duration(within)}: {lack}") from None

    def _expect(self, expected: Expect) -> None:
        condition = expected.condition
        self._expect_now(condition)
        if expected.seconds:
            lacks = _once_a_change(self.cluster, lambda: not condition.holds(self.cluster))
            end = self.cluster.time + expected.seconds
            self.cluster.loop.call_at(end, _nothing)
            self._until(lambda: self.cluster.time >= end or lacks())
            self._expect_now(condition)

    def _expect_now(self, condition: Condition) -> None:
        if lack := condition.lack(self.cluster):
            raise _broken(outcome.EXPECT, condition, lack)

    def _pass(self, seconds: float) -> None:
        end = self.cluster.time + seconds
        self.cluster.loop.call_at(end, _nothing)
        self._until(lambda: self.cluster.time >= end)

    def _until(self, is_so: Callable[[], bool], within: float = float("inf")) -> None:
        """Lets time pass until it is so. Raises Stuck, and whatever was broken meanwhile."""
        self.cluster.run_until(lambda: self._failed is not None or is_so(), within)
        if self._failed is not None:
            raise self._failed

    def _settle(self, watched: invariants.Invariants) -> None:
        """Waits until everything is in order, as long as the scenario says. Raises Violation."""
        look, waited = FIRST_LOOK_SECONDS, 0.0
        while waited < self.scenario.settle:
            self._pass(min(look, self.scenario.settle - waited))
            waited, look = waited + look, look * 2
            try:
                watched.settled()
            except Violation:
                if waited >= self.scenario.settle:
                    raise
            else:
                return

    # Programs

    def _start_programs(self) -> None:
        for given in self.scenario.programs:
            for name in given.names:
                program = programs.Program(self.cluster, name, self.dice.of(name))
                life = programs.Life(program, given.file, self._program_tells)
                self._lives.append(life)
                self.cluster.loop.call_soon(life.start)

    def _program_tells(self, text: str, error: BaseException | None = None) -> None:
        self.note(f"! {text}")
        if error is not None:
            told = "".join(traceback.format_exception(error)).strip()
            self._failed = self._failed or Failed(outcome.PROGRAM, f"{text}\n{told}")

    # Rules and stories

    def _story(self, about: str, namespace: str) -> str:
        if not about or not self.cluster.is_up:
            return ""
        try:
            found = naming.named(about, self.cluster.app.served.all(), namespace)
        except LookupError:
            return ""
        key = f"{found.namespace}/{found.name}" if found.namespace else found.name
        return f"{found}\n{self._told(found.kind.resource, key)}"

    def _story_of(self, change: Change | None) -> str:
        return f"{change.resource} {change.key}\n{self._told(change.resource, change.key)}" if change else ""

    def _told(self, resource: str, key: str) -> str:
        changes = [change for change in self.cluster.history if (change.resource, change.key) == (resource, key)]
        last = changes[-1].tree if changes and changes[-1].type != "DELETED" else None
        about = (changes[-1].tree["kind"], key) if changes else ("", "")
        events = self.cluster.list(EVENT) if self.cluster.is_up else []
        return story.of_object(last, [event for event in events if _about(event) == about], changes)


def _of_all(story: str) -> str:
    return f"the cluster\n{story.partition(chr(10))[2]}" if story else ""


def thrown(seed: int, span: Span, text: str) -> float:
    """Which time of the span the seed decides for, for the item of this text."""
    return Dice(seed, text).between(span.least, span.most) if span.most > span.least else span.least


def rules_of(file: Path) -> tuple[Own, ...]:
    """The functions of a file that are marked with `@invariant`."""
    names = programs.run_file(file, "rules")
    return tuple(rule for rule in names.values() if isinstance(rule, Own))


def _rule(demand: Demand) -> Own:
    """A demand in CEL as a rule like others; what it says of an object it says of it while there is one."""
    condition, seen, resource = demand.condition, 0, ""

    def ask(shown: Shown) -> str:
        nonlocal seen, resource
        history = shown.cluster.history
        news, seen = range(seen, len(history)), len(history)
        if not shown.cluster.is_up or (resource and all(history[index].resource != resource for index in news)):
            return ""
        resource = condition.resource(shown.cluster)
        lack = condition.lack(shown.cluster)
        return "" if lack == ABSENT and not condition.state else lack

    ask.__name__ = demand.name
    ask.__doc__ = str(demand.condition)
    return Own(ask)


def _broken(rule: str, condition: Condition, text: str) -> Failed:
    return Failed(rule, f"{condition}: {text}", condition.object, condition.namespace)


def _once_a_change(cluster: SimulatedCluster, is_so: Callable[[], bool]) -> Callable[[], bool]:
    """Asks again only when something has changed, or the server has come to know of it."""
    asked = [(-1, -1)]

    def ask() -> bool:
        now = len(cluster.history), cluster.app.cache.revision if cluster.is_up else -1
        if asked[0] == now:
            return False
        asked[0] = now
        return is_so()

    return ask


def _about(event: dict[str, object]) -> tuple[str, str]:
    about = event.get("involvedObject")
    if not isinstance(about, dict):
        return "", ""
    namespace = about.get("namespace")
    return str(about.get("kind")), f"{namespace}/{about.get('name')}" if namespace else str(about.get("name"))


def _nothing() -> None:
    """What a timer does that only makes time stop there."""
