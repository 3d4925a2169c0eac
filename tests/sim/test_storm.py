"""Whatever goes wrong, in whatever order a seed decides: all invariants hold, and all is well afterwards."""

import pytest

from tests.sim.storm import Storm
from tests.sim.test_deployment import outcome, start


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_a_storm(seed: int) -> None:
    """Errors, lost answers, broken and late watches, lost nodes, crashes of the control plane."""
    Storm(seed).play()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3])
def test_a_storm_with_rivals(seed: int) -> None:
    """And a second set of controllers beside the first."""
    Storm(seed, rivals=True).play()


@pytest.mark.slow
def test_the_same_seed_is_the_same_storm() -> None:
    """Byte for byte, under different hash seeds; another seed is another one."""
    script = "tests/sim/storm.py"
    runs = [start([script, "1"], "0"), start([script, "1"], "1"), start([script, "2"], "0")]
    first, second, other = map(outcome, runs)
    assert len(first) == 64
    assert first == second
    assert first != other
