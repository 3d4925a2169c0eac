"""The pace of autoscaling: bounds hold whatever is wanted, and nobody goes faster than policies allow."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.control import autoscaling_pace
from sampan.control.autoscaling_pace import Past, Wish

NOW = 10_000.0
COUNTS = st.integers(1, 50)
SAMPLES = st.lists(st.tuples(COUNTS, st.floats(NOW - 700, NOW)), max_size=6).map(tuple)
POLICIES = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Pods", "Percent"]),
            "value": st.integers(1, 200),
            "periodSeconds": st.integers(1, 600),
        }
    ),
    min_size=1,
    max_size=3,
)
RULES = st.fixed_dictionaries(
    {"policies": POLICIES, "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"])},
    optional={"stabilizationWindowSeconds": st.integers(0, 600)},
)
BEHAVIOURS = st.one_of(st.none(), st.fixed_dictionaries({"scaleUp": RULES, "scaleDown": RULES}))


@given(desired=st.integers(0, 200), current=COUNTS, bounds=st.tuples(COUNTS, COUNTS), behavior=BEHAVIOURS, past=SAMPLES)
def test_bounds_and_direction(
    desired: int, current: int, bounds: tuple[int, int], behavior: Any, past: tuple[Any, ...]
) -> None:
    """Never beyond the bounds where it is within them, never against the wish, never against what was just wished."""
    least, most = min(bounds), max(bounds)
    current = min(max(current, least), most)
    wish = Wish(desired, current, least, most, NOW)
    found = autoscaling_pace.paced(wish, behavior, Past(past))
    assert least <= found.desired <= most
    assert found.past.recommended[-1] == (desired, NOW)
    if desired >= current and behavior is not None:
        assert found.desired >= current
    if found.desired < current:
        window = 300 if behavior is None else behavior["scaleDown"].get("stabilizationWindowSeconds", 300)
        assert all(n <= found.desired or at <= NOW - window for n, at in past) or found.is_limited
    if behavior is not None and behavior["scaleUp"]["selectPolicy"] == "Disabled":
        assert found.desired <= current


@given(st.integers(1, 20), st.integers(1, 120), st.lists(st.integers(1, 90), min_size=1, max_size=30))
def test_a_policy_of_pods_holds_in_every_period(value: int, period: int, gaps: list[int]) -> None:
    """However it is asked for more, no period sees more added than the policy says."""
    rules = {"policies": [{"type": "Pods", "value": value, "periodSeconds": period}], "selectPolicy": "Max"}
    behavior = {"scaleUp": {**rules, "stabilizationWindowSeconds": 0}, "scaleDown": rules}
    known, current, now, added = Past(), 1, NOW, list[tuple[int, float]]()
    for gap in gaps:
        now += gap
        found = autoscaling_pace.paced(Wish(1000, current, 1, 1000, now), behavior, known)
        known = found.past
        if found.desired > current:
            known = autoscaling_pace.scaled(known, behavior, found.desired - current, now)
            added.append((found.desired - current, now))
            current = found.desired
    for _, end in added:
        assert sum(n for n, at in added if end - period < at <= end) <= value
