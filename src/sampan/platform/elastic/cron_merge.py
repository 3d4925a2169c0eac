"""What a size by the clock does to an autoscaler by the load: it moves the autoscaler's bounds, and never scales down.

| target against   | so                                                 |
|------------------|----------------------------------------------------|
| above max        | max is the target                                  |
| below min        | min is the target                                  |
| above current    | min is the target, and the workload is scaled to it |
| else             | the workload stays as it is                        |

https://github.com/AliyunContainerService/kubernetes-cronhpa-controller
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an autoscaler may choose from."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Merged:
    """The bounds as they should be; and how many replicas at once, None for as many as there are."""

    bounds: Bounds
    replicas: int | None = None


def merged(bounds: Bounds, current: int, target: int) -> Merged:
    """What follows from a target where the autoscaler has `current` replicas."""
    least = target if target < bounds.least or current < target else bounds.least
    made = Bounds(least, max(bounds.most, target))
    return Merged(made, target if current < target else None)
