"""Shrink: the smallest scenario that still breaks the same rule with the same seed.

First whole items are left out (delta debugging: big parts first, then smaller ones, until nothing can go), then what
is inside of those that are left, then nodes, then times are fixed and halved. https://www.debuggingbook.org/html/DeltaDebugger.html
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.sim import play, reading, scenario
from sampan.sim.outcome import Failure
from sampan.sim.reading import Value, Wrong
from sampan.sim.scenario import Scenario

Object = dict[str, Any]
Path = tuple[str | int, ...]
"""To an item of a list."""

LISTS = ("faults", "steps", "programs", "containers", "invariants")
INNER = ("together", "apply")  # lists within a step
TIMES = ("at", "for", "advance", "every")
MAX_PLAYS = 400
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest scenario that was found, how it fails, and how many plays that took."""

    scenario: Scenario
    failure: Failure
    plays: int


def shrink(
    failing: Scenario, seed: int, failure: Failure, tell: Callable[[int], object] = lambda plays: None
) -> Shrunk:
    """Of a scenario that fails so with this seed. `tell` hears of each play."""
    return _Shrinking(failing, seed, failure, tell).run()


class _Shrinking:
    def __init__(self, failing: Scenario, seed: int, failure: Failure, tell: Callable[[int], object]) -> None:
        self._tell = tell
        self._best = failing
        self._seed = seed
        self._failure = failure
        self._plays = 0

    def run(self) -> Shrunk:
        self._items([(name, index) for name in LISTS for index in range(len(self._best.tree.get(name) or ()))])
        self._items(list(_inner(self._best.tree)))
        self._nodes()
        self._spans()
        self._times()
        return Shrunk(self._best, self._failure, self._plays)

    def _is_better(self, tree: Object) -> bool:
        """Whether it fails in the same way; it is then the best one so far."""
        if self._plays >= MAX_PLAYS:
            return False
        try:
            candidate = scenario.of_tree(tree, self._best.file)
        except Wrong:
            return False
        self._plays += 1
        self._tell(self._plays)
        failure = play.play(candidate, self._seed).failure
        if failure is None or failure.sort != self._failure.sort:
            return False
        self._best, self._failure = candidate, failure
        return True

    def _items(self, items: list[Path]) -> None:
        """Delta debugging by complements: leaves out what can go of these."""
        kept, whole, parts = items, self._best.tree, 2
        while kept:
            size = max(1, len(kept) // parts)
            chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
            for chunk in chunks:
                rest = [item for item in kept if item not in chunk]
                if self._is_better(_without(whole, [item for item in items if item not in rest])):
                    kept, parts = rest, max(2, parts - 1)
                    break
            else:
                if size == 1:
                    return
                parts = min(len(kept), parts * 2)

    def _nodes(self) -> None:
        nodes = self._best.tree.get("nodes", 1)
        count = len(nodes) if isinstance(nodes, list) else nodes
        for fewer in range(count):
            less = nodes[:fewer] if isinstance(nodes, list) else fewer
            if self._is_better({**self._best.tree, "nodes": less}):
                return

    def _spans(self) -> None:
        """A time that the seed decides becomes the one that it decided for."""
        for path, text in list(_times(self._best.tree)):
            span = Value(text, path).span()
            if span is None or span.least == span.most:
                continue
            tree = copy.deepcopy(self._best.tree)
            thrown = play.thrown(self._seed, span, Value(_at(self._best.tree, path[:2])).content())
            _put(tree, path, reading.duration(round(thrown, 3)))
            self._is_better(tree)

    def _times(self) -> None:
        for path, text in list(_times(self._best.tree)):
            if ".." in str(text):
                continue
            seconds = Value(text, path).seconds()
            for shorter in _shorter(seconds):
                tree = copy.deepcopy(self._best.tree)
                _put(tree, path, reading.duration(shorter))
                if not self._is_better(tree):
                    break


def _shorter(seconds: float) -> Iterator[float]:
    """Half, and half of that, in whole seconds where there are many."""
    while seconds > SHORTEST_SECONDS:
        seconds = float(round(seconds / 2)) if seconds > 10 else max(round(seconds / 2, 1), SHORTEST_SECONDS)
        yield seconds


def _inner(tree: Object) -> Iterator[Path]:
    """What is in the lists within steps, where there is more than one thing in them."""
    for index, step in enumerate(tree.get("steps") or ()):
        for name in INNER:
            if isinstance(step.get(name), list) and len(step[name]) > 1:
                yield from (("steps", index, name, place) for place in range(len(step[name])))


def _without(tree: Object, items: Sequence[Path]) -> Object:
    """A copy without these; a list of the document's own that is empty then is left out."""
    made = copy.deepcopy(tree)
    for path in reversed(items):  # of one list the last ones first
        del _at(made, path[:-1])[path[-1]]
    return {name: value for name, value in made.items() if name not in LISTS or value}


def _times(tree: Object) -> Iterator[tuple[Path, Any]]:
    """Every time in the steps and faults, and where it stands."""
    for name in ("steps", "faults"):
        for index, item in enumerate(tree.get(name) or ()):
            yield from _times_of(item, (name, index))


def _times_of(tree: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key in TIMES and isinstance(value, str | int | float) and _is_time(value):
            yield (*path, key), value
        elif isinstance(value, dict) and key != "apply":
            yield from _times_of(value, (*path, key))


def _is_time(value: Any) -> bool:
    try:
        return Value(value).span() is not None
    except Wrong:
        return False


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _put(tree: Any, path: Path, value: Any) -> None:
    _at(tree, path[:-1])[path[-1]] = value
