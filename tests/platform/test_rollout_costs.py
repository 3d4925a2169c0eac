"""Conditions of metrics that nest too deeply or take too long are errors, at once."""

import contextlib
from typing import Any

import pytest

from sampan.platform.rollouts import expressions


def nested(inner: str, predicate: str, times: int) -> str:
    for _ in range(times):
        inner = f"map([{inner}], {{{predicate}}})"
    return inner


@pytest.mark.parametrize(
    ("text", "result", "why"),
    [
        ("result matches '((a?){20}){20}((a?){20}){20}b'", "a" * 10_000, "too long|too large|too costly"),
        ("(" * 3000 + "1" + ")" * 3000, 1, "nests too deeply"),
        ("!" * 3000 + "true", 1, "nests too deeply"),
        ("1" + " + 1" * 4000, 1, "recursion"),
        ("true" + " + 1" * 9000, 1, "parts"),
        ("9" * 5000 + " > 1", 1, "limit|large"),
        ("all(result, {all(result, {all(result, {true})})})", [0] * 300, "too long"),
        ("len(map(result, {string(result)})) > 0", [0] * 3000, "too long"),
        (f"string({nested('1', '[#, #]', 30)}) == ''", 1, "too long"),
    ],
)
def test_what_would_take_for_ever(text: str, result: Any, why: str) -> None:
    """Others wait meanwhile."""
    with contextlib.suppress(expressions.ExpressionError):
        expressions.check(text)
    with pytest.raises(expressions.ExpressionError, match=why):
        expressions.holds(text, result)


def test_patterns_are_matched_in_linear_time() -> None:
    """No pattern needs to try all ways."""
    assert not expressions.holds("result matches '(a+)+$'", "a" * 5000 + "!")
    assert expressions.holds("result matches '(a|aa)+!'", "a" * 5000 + "!")
    with pytest.raises(expressions.ExpressionError, match="missing closing"):
        expressions.holds("result matches '(a'", "a")


def test_numbers_and_texts_stay_small() -> None:
    """Beyond 64 bits there are only floating point numbers; a text that doubles again and again is an error."""
    assert expressions.evaluate("9223372036854775807 + 1", {}) == 2.0**63
    assert isinstance(expressions.evaluate("3000000000 * 9000000000", {}), float)
    doubled = "'ab'"
    for _ in range(25):
        doubled = f"map([{doubled}], {{# + #}})[0]"
    with pytest.raises(expressions.ExpressionError, match="too long"):
        expressions.evaluate(doubled, {})
