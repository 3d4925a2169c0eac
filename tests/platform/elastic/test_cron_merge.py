"""The table of what a target by the clock does to an autoscaler."""

import pytest

from sampan.platform.elastic.cron_merge import Bounds, Merged, merged


@pytest.mark.parametrize(
    ("least", "most", "target", "current", "bounds", "replicas"),
    [
        (1, 10, 5, 5, (1, 10), None),  # as it is
        (1, 10, 4, 5, (1, 10), None),  # more are there: the load asks for them
        (1, 10, 6, 5, (6, 10), 6),  # more are wanted: they come at once, and stay
        (5, 10, 4, 5, (4, 10), None),  # fewer may do: the autoscaler is free to find out
        (5, 10, 11, 5, (11, 11), 11),  # beyond the most
        (5, 10, 5, 3, (5, 10), 5),  # the least is not reached yet
        (5, 10, 1, 8, (1, 10), None),  # fewer than the least, while the load asks for more
        (5, 10, 12, 12, (5, 12), None),  # there already, beyond the most
        (5, 10, 12, 13, (5, 12), None),
        (0, 10, 0, 4, (0, 10), None),
        (3, 10, 0, 3, (0, 10), None),
        (1, 10, 3, 0, (3, 10), 3),
        (1, 1, 100, 1, (100, 100), 100),
    ],
)
def test_the_table(
    least: int, most: int, target: int, current: int, bounds: tuple[int, int], replicas: int | None
) -> None:
    """Max is raised to a target above it, min lowered to one below it, and raised to one above what is there."""
    assert merged(Bounds(least, most), current, target) == Merged(Bounds(*bounds), replicas)
