"""How fast an autoscaler may move: recent recommendations, its behaviour's policies, and the bounds.

A recommendation is (replicas, when), a change (how many replicas, when); times in unix seconds.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sampan.kinds.kind import Object

DOWN_SECONDS = 300
LEAST_LIMIT = 4
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
UP_LIMIT = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
DOWN_LIMIT = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
MATCHES = ("ReadyForNewScale", "recommended size matches current size")
HELD_DOWN = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
HELD_UP = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)

Sample = tuple[int, float]
Why = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Past:
    """What an autoscaler remembers: what it recommended, and by how much it scaled up and down."""

    recommended: tuple[Sample, ...] = ()
    ups: tuple[Sample, ...] = ()
    downs: tuple[Sample, ...] = ()

    def as_memory(self) -> dict[str, list[list[float]]]:
        """For the plan."""
        names = ("recommended", "ups", "downs")
        return {name: [list(sample) for sample in getattr(self, name)] for name in names}


@dataclass(frozen=True, slots=True)
class Wish:
    """A wanted number of replicas, where there are `current` of them, between `least` and `most`."""

    desired: int
    current: int
    least: int
    most: int
    now: float


@dataclass(frozen=True, slots=True)
class Paced:
    """What is done: so many replicas. `able` and `limit` are (reason, message) of the conditions."""

    desired: int
    able: Why
    limit: Why
    is_limited: bool
    past: Past


def past(memory: Mapping[str, Any], current: int, now: float) -> Past:
    """What a plan kept; that there were so many to begin with, where it kept nothing."""
    lists = {
        name: tuple((int(n), float(at)) for n, at in memory.get(name) or ()) for name in ("recommended", "ups", "downs")
    }
    return Past(lists["recommended"] or ((current, now),), lists["ups"], lists["downs"])


def paced(wish: Wish, behavior: Object | None, known: Past) -> Paced:
    """The wish as it may be fulfilled now."""
    if behavior is None:
        return _plain(wish, known)
    windows = (_window(behavior["scaleUp"], 0), _window(behavior["scaleDown"], DOWN_SECONDS))
    settled, reason = _stabilized(wish, known.recommended, windows)
    able = MATCHES if settled == wish.desired else reason
    allowed, limit = _allowed(replace(wish, desired=settled), behavior, known)
    made = _noted(wish, known, max(windows))
    return Paced(allowed, able, limit, allowed != settled, made)


def scaled(known: Past, behavior: Object | None, change: int, now: float) -> Past:
    """After a change of so many replicas; it counts for policies only."""
    if behavior is None:
        return known
    name, rules = ("ups", behavior["scaleUp"]) if change > 0 else ("downs", behavior["scaleDown"])
    period = max((policy["periodSeconds"] for policy in rules.get("policies") or ()), default=0)
    kept = tuple(sample for sample in getattr(known, name) if sample[1] >= now - period)
    changes = (*kept, (abs(change), now))
    return replace(known, ups=changes) if change > 0 else replace(known, downs=changes)


def _plain(wish: Wish, known: Past) -> Paced:
    """Without a behaviour: down after five minutes, up to twice as many at once."""
    recent = [n for n, at in known.recommended if at >= wish.now - DOWN_SECONDS]
    settled = max(wish.desired, *recent, 0)
    able = MATCHES if settled == wish.desired else HELD_UP
    most, why = wish.most, TOO_MANY
    if wish.most > max(2 * wish.current, LEAST_LIMIT):
        most, why = max(2 * wish.current, LEAST_LIMIT), UP_LIMIT
    allowed, limit = settled, WITHIN
    if settled < wish.least:
        allowed, limit = wish.least, TOO_FEW
    elif settled > most:
        allowed, limit = most, why
    return Paced(allowed, able, limit, allowed != settled, _noted(wish, known, DOWN_SECONDS))


def _noted(wish: Wish, known: Past, seconds: float) -> Past:
    """With what is recommended now; what is older than any window is forgotten."""
    kept = tuple(sample for sample in known.recommended if sample[1] >= wish.now - seconds)
    return replace(known, recommended=(*kept, (wish.desired, wish.now)))


def _window(rules: Object, usual: int) -> int:
    given = rules.get("stabilizationWindowSeconds")
    return usual if given is None else int(given)


def _stabilized(wish: Wish, samples: Sequence[Sample], windows: tuple[int, int]) -> tuple[int, Why]:
    """As near to what there is as recent recommendations allow."""
    up, down = windows
    lowest = min([wish.desired, *(n for n, at in samples if at > wish.now - up)])
    highest = max([wish.desired, *(n for n, at in samples if at > wish.now - down)])
    settled = min(max(wish.current, lowest), highest)
    return settled, HELD_DOWN if wish.desired >= wish.current else HELD_UP


def _allowed(wish: Wish, behavior: Object, known: Past) -> tuple[int, Why]:
    """What policies and bounds leave of the wish, and why."""
    if wish.desired > wish.current:
        limit = max(_most(wish, behavior["scaleUp"], known), wish.current)
        most, why = (limit, UP_LIMIT) if wish.most > limit else (wish.most, TOO_MANY)
        if wish.desired > most:
            return most, why
    elif wish.desired < wish.current:
        limit = min(_least(wish, behavior["scaleDown"], known), wish.current)
        least, why = (limit, DOWN_LIMIT) if wish.least < limit else (wish.least, TOO_FEW)
        if wish.desired < least:
            return least, why
    return wish.desired, WITHIN


def _most(wish: Wish, rules: Object, known: Past) -> int:
    """Up to how many the policies let it grow."""
    select = rules.get("selectPolicy")
    if select == "Disabled":
        return wish.current
    found: list[int] = []
    for policy in rules["policies"]:
        start = _at_start(wish, policy, known)
        grown = math.ceil(start * (1 + policy["value"] / 100))
        found.append(start + policy["value"] if policy["type"] == "Pods" else grown)
    return min(found) if select == "Min" else max(found)


def _least(wish: Wish, rules: Object, known: Past) -> int:
    """Down to how many the policies let it shrink."""
    select = rules.get("selectPolicy")
    if select == "Disabled":
        return wish.current
    found: list[int] = []
    for policy in rules["policies"]:
        start = _at_start(wish, policy, known)
        shrunk = int(start * (1 - policy["value"] / 100))
        found.append(start - policy["value"] if policy["type"] == "Pods" else shrunk)
    return max(found) if select == "Min" else min(found)


def _at_start(wish: Wish, policy: Object, known: Past) -> int:
    """How many there were when the policy's period began."""
    since = wish.now - policy["periodSeconds"]
    added, removed = (sum(n for n, at in samples if at > since) for samples in (known.ups, known.downs))
    return wish.current - added + removed
