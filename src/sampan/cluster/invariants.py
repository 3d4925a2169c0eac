"""Invariants: what must hold in a cluster at any time, judged at each change, and once it has come to rest.

    watched = invariants.watch(cluster)      # from now on; what is broken ends the step in which it happens
    watched.settled()                        # after the faults are over and everybody had time

A user's own are functions:

    @invariant
    def never_without_a_leader(cluster):     # asked after each instant in which something changed
        assert cluster.get("lease/leader") is not None

    @invariant
    def names_are_short(change, cluster):    # asked at each change
        return len(change.key) < 40
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sampan.cluster import story
from sampan.cluster.faults import Faults
from sampan.cluster.history import Change
from sampan.cluster.rules import allowances, metadata, nodes, placement, settled, workloads
from sampan.cluster.rules.answers import Witness
from sampan.cluster.rules.rule import Rule, SettledRule, text
from sampan.cluster.rules.world import LAG_SECONDS, World
from sampan.cluster.simulated import SimulatedCluster
from sampan.meta import objects

ALL: tuple[type[Rule], ...] = (*metadata.RULES, *workloads.RULES, *placement.RULES, *allowances.RULES)
SETTLED: tuple[type[SettledRule], ...] = settled.RULES

Object = dict[str, Any]
MAX_TOLD = 5
MAX_STORIES = 3
MAX_CHANGES = 12
LATELY = 500  # changes, by which one knows what the last ones changed
_WORD = re.compile(r"[\w.:/-]+")


class Violation(AssertionError):
    """A rule was broken: `rule` is its name, `change` by what, None when it is the state that is wrong.

    `story` tells the seed, the time, what went wrong before, and what happened to the objects that it is about. It is
    also a note of the exception, so that it is printed with it.
    """

    def __init__(self, rule: str, demand: str, wrong: str, change: Change | None = None) -> None:
        where = f"{change.resource} {change.key} ({change.type} at {change.time:g} s): " if change else ""
        super().__init__(f"{where}{wrong}\n{rule}: {demand}")
        self.rule = rule
        self.change = change
        self.story = ""


class Own:
    """A user's rule: `function(cluster)` or `function(change, cluster)`. It objects with an AssertionError or False,
    or by returning a text.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"a rule is a function of (cluster) or (change, cluster), not {function!r}")
        self.function = function
        self.name = getattr(function, "__name__", "rule")
        self.text = " ".join((inspect.getdoc(function) or self.name.replace("_", " ")).split())
        count = len(inspect.signature(function).parameters)
        if count not in (1, 2):
            raise TypeError(f"{self.name} takes (cluster) or (change, cluster), not {count} arguments")
        self.is_about_changes = count == 2

    def __call__(self, *arguments: Any) -> Any:
        """As the function itself."""
        return self.function(*arguments)

    def ask(self, *arguments: Any, change: Change | None = None) -> None:
        """Raises Violation."""
        try:
            answer = self.function(*arguments)
        except AssertionError as error:
            raise Violation(self.name, self.text, str(error) or "it does not hold", change) from error
        if answer is False or (isinstance(answer, str) and answer):
            raise Violation(self.name, self.text, answer or "it does not hold", change)


def invariant(function: Callable[..., Any]) -> Own:
    """Makes a rule of a function: see the head of this file."""
    return Own(function)


class Invariants:
    """The rules at work in one cluster. `shown` is the cluster as a user's own rules get it, `faults` are told of."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        own: Iterable[Own] = (),
        shown: Any = None,
        faults: Faults | None = None,
    ) -> None:
        self.world = World()
        self._cluster = cluster
        self._shown = cluster if shown is None else shown
        self._own = list(own)
        self._faults = faults
        self._is_due = self._are_pods_due = False
        self._rivals_at = -math.inf
        self._witness = Witness(self.world)
        cluster.doors.interceptors.insert(0, self._witness)
        self._resume(cluster)
        self._rules = [rule(self.world) for rule in ALL]
        self._settled = [rule(self.world) for rule in SETTLED]
        self._for: dict[str, list[Rule]] = {}
        cluster.observe(self._changed)

    def add(self, own: Own | Callable[..., Any]) -> None:
        """One more rule of the user's. Raises TypeError."""
        self._own.append(own if isinstance(own, Own) else Own(own))

    def settled(self) -> None:
        """What must be so at rest is so, also a user's own rules. Raises Violation with all that is not."""
        self.world.now = self._cluster.clock.now()
        running = self._cluster.running()
        with self._telling():
            for rule in self._settled:
                _none(type(rule).__name__, text(type(rule)), rule.judge())
            _none("NodesRunWhatIsWanted", nodes.WANTED, nodes.unwanted(running, self.world))
            _none("ContainerStatusesAreTrue", nodes.TRUE, nodes.missing(running, self.world))
            self._compare()
            self._check_answers()
            self._ask()

    def _changed(self, change: Change) -> None:
        with self._telling():
            self._judge(change)

    def _judge(self, change: Change) -> None:
        old = self.world.get(change.resource, change.key)
        self.world.lag_seconds = LAG_SECONDS + self._cluster.doors.lag_seconds
        self.world.now, self.world.time = self._cluster.clock.now(), change.time
        try:
            self._rivals_at = change.time if self._cluster.doors.rivals else self._rivals_at
            is_contested = change.time - self._rivals_at <= self.world.lag_seconds
            for rule in self._rules_for(change.resource):
                if is_contested and rule.is_of_one:
                    continue
                wrong = rule.judge(change, old)
                if wrong:
                    raise Violation(type(rule).__name__, text(type(rule)), wrong, change)
        finally:
            self.world.take(change)
        self._are_pods_due = self._are_pods_due or change.resource == "pods"
        if not self._is_due:
            self._is_due = True
            self._cluster.loop.when_quiet(self._look_later)
        for own in self._own:
            if own.is_about_changes:
                own.ask(change, self._shown, change=change)

    def _rules_for(self, resource: str) -> list[Rule]:
        found = self._for.get(resource)
        if found is None:
            found = [rule for rule in self._rules if not rule.resources or resource in rule.resources]
            self._for[resource] = found
        return found

    def _look_later(self) -> None:
        """At the end of an instant in which something changed."""
        self._is_due = False
        try:
            with self._telling():
                self._check_witness()
                self._check_nodes()
                self._ask()
        except Exception as error:  # noqa: BLE001 (raised at the end of the step)
            self._cluster.fail(error)

    def _check_nodes(self) -> None:
        if self._are_pods_due:
            self._are_pods_due = False
            _none("ContainersRunOnce", nodes.ONCE, filter(None, (nodes.twice(self._cluster.running()),)))

    def _ask(self) -> None:
        """Of a server that is down, or has yet to read what is stored, nothing can be asked."""
        if not self._cluster.is_up or self._cluster.app.cache.revision < self.world.revision:
            return
        for own in self._own:
            if not own.is_about_changes:
                own.ask(self._shown)

    def _resume(self, cluster: SimulatedCluster) -> None:
        """Takes up what is there already."""
        found = [
            (item.revision, kept, item.key)
            for kept in (cluster.app.cache.kinds() if cluster.is_up else ())
            for item in kept.range()
        ]
        for _, kept, key in sorted(found, key=lambda entry: (entry[0], entry[1].resource, entry[2])):
            self.world.take(Change(cluster.time, kept.resource, key, "ADDED", kept.items[key].wire))
        self.world.began = self.world.revision

    def _compare(self) -> None:
        """Server and controllers have exactly what the changes add up to."""
        demand = "What the server lists, and what controllers hold, is what all changes add up to."
        for kept in self._cluster.app.cache.kinds():
            listed = {item.key: str(item.revision) for item in kept.range()}
            if wrong := _difference("the server", kept.resource, listed, self.world):
                raise Violation("EverybodyAgrees", demand, wrong)
        for resource, cache in self._cluster.plane.workers.caches.items():
            held = {"/".join(filter(None, objects.key(obj))): objects.resource_version(obj) for obj in cache}
            if resource in self.world.resources() and (wrong := _difference("a cache", resource, held, self.world)):
                raise Violation("EverybodyAgrees", demand, wrong)

    def lost(self) -> list[str]:
        """Acknowledged writes of which nothing is left."""
        return self._witness.lost()

    def _check_answers(self) -> None:
        self._check_witness()
        for wrong in self.lost():
            raise Violation("AcknowledgedWritesStay", "What the server acknowledged is never lost.", wrong)

    def _check_witness(self) -> None:
        for wrong in self._witness.wrong:
            raise Violation(*wrong)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What is raised in it has its story."""
        try:
            yield
        except Violation as broken:
            if not broken.story:
                broken.story = self._story(broken)
                broken.add_note(broken.story)
            raise

    def _story(self, broken: Violation) -> str:
        cluster, about = self._cluster, self._about(broken)
        lines = [f"seed {cluster.seed}, {story.clock(cluster.time)} (virtual)"]
        if self._faults is not None and self._faults.log:
            lines += ["faults so far:", *(f"  {story.clock(time)} {what}" for time, what in self._faults.log)]
        for resource, key in about:
            changes = [c for c in cluster.history if (c.resource, c.key) == (resource, key)]
            obj = None if changes[-1].type == "DELETED" else changes[-1].tree
            events = [e for e in self.world.all("events") if _is_about(e, changes[-1])]
            lines += [f"{resource} {key}:", *_indented(story.of_object(obj, events, changes))]
        if not about:
            lately = story.change_lines(cluster.history[-LATELY:], MAX_CHANGES)
            lines += ["last changes:", *_indented("\n".join(lately))]
        return "\n".join(lines)

    def _about(self, broken: Violation) -> list[tuple[str, str]]:
        """The objects that it names."""
        if broken.change is not None:
            return [(broken.change.resource, broken.change.key)]
        words = dict.fromkeys(word.rstrip(".:") for word in _WORD.findall(str(broken)))
        named = [(name, word) for word in words for name in self.world.resources() if self.world.get(name, word)]
        return [place for place in named if "/" in place[1] or place[0] == "nodes"][:MAX_STORIES]


def watch(cluster: SimulatedCluster, *own: Own, shown: Any = None, faults: Faults | None = None) -> Invariants:
    """All rules, and the user's own, from now on."""
    return Invariants(cluster, own, shown, faults)


def _none(rule: str, demand: str, wrong: Iterable[str]) -> None:
    """Raises Violation when there is anything."""
    found = list(wrong)
    if found:
        more = [f"... and {len(found) - MAX_TOLD} more"] if len(found) > MAX_TOLD else []
        raise Violation(rule, demand, "\n".join(found[:MAX_TOLD] + more))


def _is_about(event: Object, change: Change) -> bool:
    about = event.get("involvedObject") or {}
    key = "/".join(filter(None, (about.get("namespace"), about.get("name"))))
    return (about.get("kind"), key) == (change.tree.get("kind"), change.key)


def _indented(told: str) -> list[str]:
    return [f"  {line}" for line in told.splitlines()]


def _difference(who: str, resource: str, held: Mapping[str, str], world: World) -> str:
    """`held` has the resourceVersion of each key."""
    told = {key: objects.resource_version(world.get(resource, key) or {}) for key in world.keys(resource)}
    for key in (*held, *told):
        if held.get(key) != told.get(key):
            return f"{resource} {key}: {who} has resourceVersion {held.get(key)}, the changes say {told.get(key)}"
    return ""
