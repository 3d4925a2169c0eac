"""The arithmetic and the language of rollouts: shares, steps within bounds, conditions, durations, arguments."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.platform.rollouts import args, durations, expressions, measuring, providers, sizing
from sampan.platform.rollouts.sizing import Bounds, Crowd


@given(st.integers(1, 60), st.integers(0, 100), st.integers(0, 3))
def test_a_share_of_pods(replicas: int, weight: int, surge: int) -> None:
    """Each version has a pod while it has a share, and no split of so many pods comes nearer to the weight."""
    limits = Bounds(replicas, surge, 1)
    canary, stable = sizing.split(limits, weight)
    assert replicas <= canary + stable <= replicas + (1 if surge else 0)
    if 0 < weight < 100 and (replicas > 1 or surge):
        assert canary >= 1
        assert stable >= 1
        found = abs(canary / (canary + stable) - weight / 100)
        assert all(found <= abs(part / replicas - weight / 100) + 1e-9 for part in range(1, replicas))
    if weight in (0, 100):
        assert (canary, stable) == ((0, replicas) if weight == 0 else (replicas, 0))


@settings(max_examples=200)
@given(st.integers(1, 12), st.integers(0, 4), st.integers(0, 4), st.integers(0, 100), st.data())
def test_every_way_stays_within_the_bounds_and_arrives(
    replicas: int, surge: int, unavailable: int, weight: int, data: st.DataObject
) -> None:
    """Never too many, never too few that are available, however late pods become so; and in the end all is as wanted."""
    limits = Bounds(replicas, surge, max(unavailable, 0 if surge else 1))
    sizes = {"canary": 0, "stable": replicas}
    available = dict(sizes)
    canary, stable = sizing.split(limits, weight)
    wanted = {"canary": canary, "stable": stable}
    for turn in range(100):
        crowds = [Crowd(name, sizes[name], available[name], wanted[name]) for name in ("canary", "stable")]
        before = sum(available.values())
        sizes |= sizing.moved(limits, crowds)
        available = {name: min(available[name], sizes[name]) for name in sizes}
        assert sum(sizes.values()) <= max(replicas + surge, replicas)
        assert sum(available.values()) >= min(before, replicas - limits.unavailable)
        for name in sizes:
            late = data.draw(st.booleans()) if turn < 20 else False
            available[name] = available[name] if late else sizes[name]
        if sizes == wanted:
            return
    assert sizes == wanted


@pytest.mark.parametrize(
    ("text", "result", "found"),
    [
        ("result[0] >= 0.95", [0.96], True),
        ("result[0] >= 0.95 && len(result) == 1", [0.9], False),
        ("all(result, {# < 0.05})", [0.01, 0.04], True),
        ("any(result, # > 1) || none(result, {# == 0})", [0], False),
        ("result.status == 'ok' and result.code in [200, 204]", {"status": "ok", "code": 204}, True),
        ("not (result contains 'error')", "all is well", True),
        ('result matches "^v[0-9]+$"', "v12", True),
        ("isNaN(result)", float("nan"), True),
        ("result == nil ? true : result.x > 1", None, True),
        ("default(result, 0) < 1", [], True),
        ("asFloat(result) * 2 - 1 == 2 ** 3 / 2", "2.5", True),
        ("result not in ['a', 'b']", "c", True),
        ("-result[-1] < 0 and 1.5e2 > 100", [1, 2], True),
        ("len(filter(result, {#.up})) == count(result, {#.up})", [{"up": True}, {"up": False}], True),
        ("(result.x ?? 1) == 1", {}, True),
    ],
)
def test_conditions(text: str, result: Any, found: bool) -> None:
    """As the usual examples have them."""
    assert expressions.holds(text, result) is found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("result[1] > 0", "out of range"),
        ("result[0] > 'a'", "expected a number"),
        ("result +", "unexpected end"),
        ("foo(result)", "unknown name foo"),
        ("foo > 1", "unknown name foo"),
        ("result", "expected bool"),
        ("result[0] @ 1", "unrecognized character"),
        ("(result[0] > 1", "unexpected end"),
    ],
)
def test_what_is_no_condition(text: str, why: str) -> None:
    """Errors say what and why."""
    with pytest.raises(expressions.ExpressionError, match=why):
        expressions.holds(text, [1])


@given(st.text(alphabet="result[0]()<>=!&|.,'#{}?:+-*/% \n1a", max_size=30))
def test_nothing_breaks_the_language(text: str) -> None:
    """Whatever is written is a condition, or an error for people."""
    try:
        expressions.holds(text, [1.0])
    except expressions.ExpressionError:
        return


def test_durations() -> None:
    """Numbers are seconds."""
    given = {30: 30, "45": 45, "1m30s": 90, "1h": 3600, "1.5h": 5400, "100ms": 0.1}
    assert {text: durations.seconds(text) for text in given} == pytest.approx(given)
    for text in ("", "soon", "1d", "-5s", "5s and more"):
        with pytest.raises(ValueError, match="invalid duration"):
            durations.seconds(text)


def test_arguments() -> None:
    """A rollout's own fields, hashes, defaults of templates; what has no value is refused."""
    rollout = {"metadata": {"name": "web", "labels": {"a/b": "x"}}, "status": {"canary": {"n": 3}}}
    listed = [
        {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
        {"name": "label", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
        {"name": "deep", "valueFrom": {"fieldRef": {"fieldPath": "status.canary.n"}}},
    ]
    found = args.given_by(rollout, listed, {"Latest": "abc", "Stable": "def"})
    assert [each["value"] for each in found] == ["abc", "x", "3"]
    template = {"spec": {"args": [{"name": "hash"}, {"name": "port", "value": "80"}]}}
    assert args.merged(found, [template]) == [{"name": "hash", "value": "abc"}, {"name": "port", "value": "80"}]
    with pytest.raises(args.Unresolved, match=r"args\.hash was not resolved"):
        args.merged([], [template])
    assert args.filled({"q": ["{{ args.a }}-{{args.b}}"]}, {"a": "1", "b": "2"}) == {"q": ["1-2"]}


@pytest.mark.parametrize(
    ("success", "failure", "phase"),
    [
        ("", "", "Successful"),
        ("result > 1", "", "Failed"),
        ("", "result > 1", "Successful"),
        ("result > 1", "result < 0", "Inconclusive"),
        ("result < 1", "result < 1", "Failed"),
    ],
)
def test_verdicts(success: str, failure: str, phase: str) -> None:
    """Failure outdoes success; neither is inconclusive where both are asked for."""
    assert measuring.verdict({"successCondition": success, "failureCondition": failure}, 0.5) == phase


def test_questions() -> None:
    """What goes over the wire."""
    web = {"url": "http://x/y", "method": "POST", "jsonBody": {"a": 1}, "headers": [{"key": "K", "value": "v"}]}
    asked = providers.question({"provider": {"web": web}})
    assert (asked.method, asked.body) == ("POST", '{"a":1}')
    assert asked.headers == (("k", "v"), ("content-type", "application/json"))
    given = {"address": "http://prom/", "query": "a{b='c'} / 2", "timeout": 5}
    asked = providers.question({"provider": {"prometheus": given}})
    assert asked.url == "http://prom/api/v1/query?query=a%7Bb%3D%27c%27%7D%20%2F%202"
