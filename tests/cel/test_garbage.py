"""What cannot be evaluated is freed at once: its errors leave no circle that waits for the garbage collector."""

import gc

import pytest

from sampan.cel.program import EvaluationError
from tests.cel.expressions import evaluate


@pytest.mark.parametrize(
    "source",
    [
        "x / 0 > 1",
        "x / 0 > 1 || b && x / 0 > 2",
        "l.all(i, i / 0 > 1)",
        "l.exists(i, l[i] > 1 && self.missing)",
        "x / 0 > 1 || b",
        "l.exists(i, 1 / (i - 3) > 0 || i == 1)",
    ],
)
def test_an_error_leaves_no_garbage(source: str) -> None:
    """Neither one that is raised nor one that does not matter in the end."""
    gc.collect()
    gc.disable()
    try:
        before = [each for each in gc.get_objects() if isinstance(each, EvaluationError)]
        try:
            assert evaluate(source) is True
        except EvaluationError:
            pass
        assert [each for each in gc.get_objects() if isinstance(each, EvaluationError)] == before
    finally:
        gc.enable()
