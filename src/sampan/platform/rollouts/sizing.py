"""Sizing: how many pods of the canary and of the stable version a weight means, and how to get there within the bounds.

https://argo-rollouts.readthedocs.io/en/stable/features/canary/
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.kinds.kind import Object
from sampan.meta import intstr

DEFAULT = "25%"


@dataclass(frozen=True, slots=True)
class Bounds:
    """A rollout's pods: so many in all, at most so many more, at most so many fewer that are available."""

    replicas: int
    surge: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """A ReplicaSet: what it should have, what is available, and what it is to have in the end."""

    name: str
    size: int
    available: int
    wanted: int


def bounds(canary: Object, replicas: int) -> Bounds:
    """maxSurge and maxUnavailable as counts; both zero would never move, so then one may be unavailable."""

    def of(field: str, *, up: bool) -> int:
        given = canary.get(field)
        return intstr.scaled(DEFAULT if given is None else given, replicas, up)

    surge, unavailable = of("maxSurge", up=True), of("maxUnavailable", up=False)
    return Bounds(replicas, surge, min(unavailable, replicas) if surge or unavailable else 1)


def split(limits: Bounds, weight: int) -> tuple[int, int]:
    """(canary, stable) whose share comes nearest to the weight, each with a pod at least while it has any traffic."""
    replicas = limits.replicas
    if weight <= 0 or replicas == 0:
        return 0, replicas
    if weight >= 100:
        return replicas, 0
    totals = (replicas, replicas + 1) if limits.surge else (replicas,)
    pairs = [(part, total - part) for total in totals for part in range(1, total)]
    if not pairs:  # one pod, and no room for another
        return (1, 0) if weight > 50 else (0, 1)
    return min(pairs, key=lambda pair: (abs(100 * pair[0] - weight * sum(pair)) / sum(pair), sum(pair), -pair[0]))


def scaled(replicas: int, weight: int) -> int:
    """So many pods serve a share of the traffic that routes give them."""
    return -(-replicas * weight // 100)


def moved(limits: Bounds, crowds: Sequence[Crowd]) -> dict[str, int]:
    """The next sizes, of those that change: the first grow first, the last shrink first.

    Never more than replicas + surge in all, and never fewer than replicas - unavailable that are available, but for
    those that were not available before.
    """
    sizes = {crowd.name: crowd.size for crowd in crowds}
    room = limits.replicas + limits.surge - sum(sizes.values())
    for crowd in crowds:
        step = min(crowd.wanted - crowd.size, room)
        if step > 0:
            sizes[crowd.name] += step
            room -= step
    spare = sum(min(crowd.available, crowd.size) for crowd in crowds) - (limits.replicas - limits.unavailable)
    for crowd in reversed(crowds):
        surplus = crowd.size - crowd.wanted
        if surplus <= 0:
            continue
        ailing = min(surplus, max(crowd.size - crowd.available, 0))
        healthy = max(min(surplus - ailing, spare), 0)
        spare -= healthy
        sizes[crowd.name] -= ailing + healthy
    return {crowd.name: sizes[crowd.name] for crowd in crowds if sizes[crowd.name] != crowd.size}
