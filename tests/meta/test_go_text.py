"""Values as Go prints them."""

from typing import Any

import pytest

from sampan.meta import go_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"spec": {"b": ["x", 1], "a": True}, "c": None}, "map[c:<nil> spec:map[a:true b:[x 1]]]"),
        ({}, "map[]"),
        ([], "[]"),
        (0.0, "0"),
        (1.5, "1.5"),
        (-0.0001, "-0.0001"),
        (1e6, "1e+06"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (1234567.5, "1.2345675e+06"),
        (2e-5, "2e-05"),
    ],
)
def test_a_value_as_go_prints_it(value: Any, text: str) -> None:
    """Maps by their keys' order, no quotes, floats with an exponent from a million on."""
    assert go_text.text(value) == text


@pytest.mark.parametrize(
    ("value", "go_type", "why"),
    [
        ("x", "map[string]string", "cannot restore map from string"),
        ([], "map[string]string", "cannot restore map from slice"),
        ({}, "[]v1.Container", "cannot restore slice from map"),
        (1, "v1.PodSpec", "cannot restore struct from: int64"),
        ("x", "int32", "unrecognized type: int32"),
        (1, "string", "cannot convert int64 to string"),
        (1.5, "int32", "cannot convert float64 to int32"),
        (True, "string", "unrecognized type: string"),
    ],
)
def test_why_a_value_does_not_fit(value: Any, go_type: str, why: str) -> None:
    """In the words that kubectl patch shows."""
    assert go_text.unfit(value, go_type) == why
