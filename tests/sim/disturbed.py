"""Disturbed: one story, played without a fault and with each sort of them: what is left in the end must be the same.

    python tests/sim/disturbed.py [--seeds 1..20] [--pattern crashes] [STORY ...]

The stories are scenarios in tests/sim/stories, so that `sampan sim run` plays them too. The patterns are those of Sieve
(intermediate states, stale states, unobserved states) and what else befalls controllers: events that come again,
rivals, refusals, and answers that get lost though the write was done.
"""

import argparse
import copy
import functools
import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.cluster import invariants
from sampan.kit.dice import Dice
from sampan.sim import scenario, search
from sampan.sim.outcome import Failure
from sampan.sim.play import Play
from sampan.sim.scenario import Scenario
from tests.sim import ending
from tests.sim.ending import Ending

Tree = dict[str, Any]
Faults = list[Tree]

STORIES = Path(__file__).parent / "stories"
ACTORS = ["system:kube-controller-manager", "system:kube-scheduler"]
LOOK_SECONDS = 30.0
PATIENCE_SECONDS = 450.0
"""How much later than the undisturbed one a story may be where it ends."""
SHOWN = 10
CRASHES = 4
"""As many as a play has at most; with one seed after the other they come after every write."""
LAST_SECONDS = 400.0
SLOWLY = "300ms"
"""How late messages are where faults come at a time: so long that they come between."""


@dataclass(frozen=True, slots=True)
class End:
    """What came of a play: its failure, or what was left, after how many writes; and of what events told.

    `left` is what was left, strictly seen and with less and less looked at (LOOSELY).
    """

    failure: Failure | None
    left: dict[tuple[str, ...], Ending]
    writes: int
    reasons: frozenset[str]


class Telling(Play):
    """A play that goes on until its end is the one `expected`, so strictly seen, or for as long as patience lasts."""

    def __init__(self, told: Scenario, seed: int, expected: dict[tuple[str, ...], Ending] | None) -> None:
        super().__init__(told, seed)
        self.expected = expected
        self.left: dict[tuple[str, ...], Ending] = {}

    def _settle(self, watched: invariants.Invariants) -> None:
        super()._settle(watched)
        waited = 0.0
        while True:
            self._pass(LOOK_SECONDS)
            waited += LOOK_SECONDS
            self.left = {each: ending.of(watched.world, each) for each in self.expected or VIEWS}
            if self.left == self.expected or waited >= (PATIENCE_SECONDS if self.expected else 2 * LOOK_SECONDS):
                watched.settled()
                return


def crashes(dice: Dice, writes: int) -> Faults:
    """Killed after every so-many-th write, beginning with any: all writes have their turn as seeds go on."""
    stride = max(writes // CRASHES, 5)
    numbers = range(dice.seed % stride + 1, writes + stride, stride)
    return [{"crashControlPlane": {"atWrite": number}, "for": "500ms"} for number in numbers]


def stale(dice: Dice, writes: int) -> Faults:
    """Killed, and back in the past, again and again: what is listed and watched then is so many seconds old."""
    travel = {"timeTravel": {"by": _seconds(dice.between(0.5, 12)), "users": ACTORS}}
    return [travel, *({"crashControlPlane": {}, "at": at, "for": "300ms"} for at in _times(dice, 4.5))]


def unobserved(dice: Dice, writes: int) -> Faults:
    """Nothing is heard for a while, then everything is listed anew."""
    missed = {"users": ACTORS}
    return [{"missedEvents": missed, "at": at, "for": _seconds(dice.between(0.2, 3))} for at in _times(dice)]


def repeated(dice: Dice, writes: int) -> Faults:
    """Events come twice or more often; watches are cut, and some may not go on where they were."""
    cut = [
        {dice.pick(["expireWatches", "dropWatches"]): {"users": ACTORS}, "at": at, "sometimes": "40%"}
        for at in _times(dice)
    ]
    return [{"repeatedEvents": {"users": ACTORS}, "sometimes": "40%"}, *cut]


def rivals(dice: Dice, writes: int) -> Faults:
    """Two of each controller, and two schedulers; every second time those that came last hear of things late."""
    return [{"duplicateControllers": {"late": "3s"} if dice.seed % 2 == 0 else {}}]


def refused(dice: Dice, writes: int) -> Faults:
    """Refusals and conflicts; and writes that are done though they are said to have failed, or not answered at all."""
    aim = {"users": ACTORS, "verbs": ["create", "update", "patch", "delete"]}
    return [
        {"errors": {"code": 503, "users": ACTORS}, "sometimes": "2%"},
        {"errors": {"code": 500, **aim}, "sometimes": "10%"},
        {"conflicts": aim, "sometimes": "15%"},
        {"lostAnswers": aim, "sometimes": "15%"},
        {"lostAnswers": {"code": 504, **aim}, "sometimes": "15%"},
    ]


def agents(dice: Dice, writes: int) -> Faults:
    """The agents of nodes are killed, now this one, now that one; containers go on, and none is started again."""
    crash = {"crashAgent": {"node": "any"}}
    return [{**crash, "at": at, "for": _seconds(dice.between(0.1, 6))} for at in _times(dice)]


PATTERNS: dict[str, Callable[[Dice, int], Faults]] = {
    made.__name__: made for made in (crashes, stale, unobserved, repeated, rivals, refused, agents)
}
AT_TIMES = ("stale", "unobserved", "repeated", "agents")
STRICTLY: tuple[str, ...] = ()
LOOSELY: dict[str, tuple[str, ...]] = {"stale": (ending.RUNS, ending.IDLE), "rivals": (ending.RUNS, ending.REVISIONS)}
"""What may differ: a Job's program may run more often than asked for (as Kubernetes says of Jobs) when who counts the
pods lives in the past or is not alone; two who number templates against each other come to higher numbers; and a
scheduler from the past gives up a claim for devices that is in use, which then keeps them until they are needed.
"""
VIEWS = (STRICTLY, *LOOSELY.values())


def _times(dice: Dice, growth: float = 2.5) -> Iterator[str]:
    """Some times, first close together and then further and further apart: short stories have as many as long ones."""
    seconds = dice.between(0.1, 0.6)
    while seconds < LAST_SECONDS:
        yield _seconds(seconds)
        seconds *= dice.between(0.7 * growth, 1.3 * growth)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}s"


def story(name: str) -> Scenario:
    """The scenario of that name."""
    return scenario.load(STORIES / f"{name}.yaml")


def names() -> list[str]:
    """All stories."""
    return sorted(path.stem for path in STORIES.glob("*.yaml"))


def play(told: Scenario, seed: int, expected: Ending | None = None, view: tuple[str, ...] = STRICTLY) -> End:
    """Once, to its end or its first failure."""
    telling = Telling(told, seed, None if expected is None else {view: expected})
    with _few_collections():
        came = telling.run()
    changes = came.changes[came.first :]
    writes = {change.tree["metadata"]["resourceVersion"] for change in changes}
    reasons = frozenset(change.tree["reason"] for change in changes if change.resource == "events")
    return End(came.failure, telling.left, len(writes), reasons)


@functools.cache
def undisturbed(name: str) -> End:
    """The story as it goes when nothing goes wrong."""
    return play(_with(story(name), [], "0s"), 0)


def disturbed(name: str, pattern: str, seed: int) -> str:
    """What differs in the end when it is disturbed by this pattern as the seed decides; "" for nothing."""
    calm, undone, dice = undisturbed(name), story(name), Dice(seed, pattern)
    if pattern == agents.__name__ and not undone.nodes:
        return ""
    told = _with(undone, PATTERNS[pattern](dice, calm.writes), SLOWLY if pattern in AT_TIMES else "50ms")
    return _compared(told, seed, calm, LOOSELY.get(pattern, STRICTLY))


def killed(name: str, number: int) -> str:
    """The same for one crash, right after this write."""
    told = _with(story(name), [{"crashControlPlane": {"atWrite": number}, "for": "500ms"}], "0s")
    return _compared(told, 0, undisturbed(name), STRICTLY)


def ends_otherwise(name: str) -> bool:
    """Whether the story ends otherwise now than it did when it was played for the first time."""
    calm, end = undisturbed(name), play(_with(story(name), [], "0s", settle="1s"), 0)
    return end.failure is not None or end.left != calm.left or end.reasons != calm.reasons


def seeds() -> Sequence[int]:
    """SAMPAN_STORY_SEEDS says which, as 1..20 or 7; else one, so that all stories are told in a minute."""
    first, _, last = os.environ.get("SAMPAN_STORY_SEEDS", "1").partition("..")
    return range(int(first), int(last or first) + 1)


def _with(told: Scenario, faults: Faults, jitter: str, **more: Any) -> Scenario:
    tree = copy.deepcopy(told.tree)
    tree["faults"] = [*tree.get("faults", ()), *faults]
    return scenario.of_tree({**tree, "jitter": tree.get("jitter", jitter), **more}, told.file)


def _compared(told: Scenario, seed: int, calm: End, view: tuple[str, ...]) -> str:
    """What is wrong with the end, and the scenario to play again."""
    if calm.failure is not None:
        return f"undisturbed: {calm.failure.text}\n{calm.failure.story}"
    end = play(told, seed, calm.left[view], view)
    if end.failure is not None:
        wrong = f"{end.failure.rule}: {end.failure.text}\n{end.failure.story}"
    else:
        wrong = ending.difference(calm.left[view], end.left[view])
    return f"{wrong}\n\nseed {seed} of:\n{scenario.written(told)}" if wrong else ""


@contextmanager
def _few_collections() -> Iterator[None]:
    """A play makes many objects and few circles: looking for those costs more than they do."""
    before = gc.get_threshold()
    gc.set_threshold(*search.OBJECTS_WITHIN)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def main() -> None:
    """Plays stories and prints what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("story", nargs="*", default=names())
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--pattern", action="append", choices=[*PATTERNS, "each-write"])
    given = parser.parse_args()
    os.environ["SAMPAN_STORY_SEEDS"] = given.seeds
    count, spent = 0, Counter[tuple[str, str]]()
    for name in given.story:
        for pattern in given.pattern or PATTERNS:
            each = range(1, undisturbed(name).writes + 1) if pattern == "each-write" else seeds()
            for seed in each:
                began = time.process_time()
                wrong = killed(name, seed) if pattern == "each-write" else disturbed(name, pattern, seed)
                count += 1
                spent[name, pattern] += time.process_time() - began
                if wrong:
                    print(f"=== {name}, {pattern}, seed {seed}:\n{wrong}", flush=True)
    print(f"{count} plays, {sum(spent.values()):.0f} s of CPU")
    for (name, pattern), seconds in spent.most_common(SHOWN):
        print(f"{seconds:8.1f} s {name}, {pattern}")


if __name__ == "__main__":
    main()
