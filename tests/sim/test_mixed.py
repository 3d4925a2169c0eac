"""Two hundred seeds of a mixed scenario: whatever the faults and the order of events, everything ends well."""

from pathlib import Path

import pytest

from sampan.sim import scenario, search
from tests import thorough

EXAMPLES = Path(__file__).parents[2] / "examples" / "sim"
SEEDS, AT_ONCE = 1000 if thorough.IS else 200, 25


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS + 1, AT_ONCE))
def test_seeds(first: int) -> None:
    """Each seed holds; `sampan sim run examples/sim/mixed.yaml --seed N` shows one that does not."""
    wanted = scenario.load(EXAMPLES / "mixed.yaml")
    found = list(search.search(wanted, range(first, first + AT_ONCE)))
    assert [(one.seed, one.failure) for one in found if one.failure is not None] == []
    assert len({one.digest for one in found}) == AT_ONCE


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rolling_update(seed: int) -> None:
    """The example holds."""
    (found,) = search.search(scenario.load(EXAMPLES / "rolling-update.yaml"), [seed])
    assert found.failure is None


def test_all_examples_are_scenarios() -> None:
    """Each can be read."""
    files = sorted(EXAMPLES.glob("*.yaml"))
    assert len([scenario.load(file).steps for file in files]) >= 4
