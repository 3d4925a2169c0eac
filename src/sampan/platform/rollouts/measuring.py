"""Measuring: what the measurements of one metric amount to, and when the next one is due. Pure arithmetic of a metric result.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import timestamps
from sampan.platform.rollouts import durations, expressions

PENDING, RUNNING, SUCCESSFUL, FAILED = "Pending", "Running", "Successful", "Failed"
ERROR, INCONCLUSIVE = "Error", "Inconclusive"
COMPLETED = (SUCCESSFUL, FAILED, ERROR, INCONCLUSIVE)
WORST = (SUCCESSFUL, INCONCLUSIVE, ERROR, FAILED)
"""In the order in which one outdoes the other."""
KEPT = 10
RETRY_SECONDS = 10.0
CONSECUTIVE_ERRORS = 4
UNLIMITED = -1
_COUNTERS = {SUCCESSFUL: "successful", FAILED: "failed", INCONCLUSIVE: "inconclusive", ERROR: "error"}


def number(metric: Object, field: str, otherwise: int) -> int:
    """A count, which may be a text. ValueError for what is none."""
    given = metric.get(field)
    return otherwise if given is None else int(given)


def count(metric: Object) -> int | None:
    """How many measurements are taken; None for as many as there is time for."""
    if metric.get("count") is not None:
        return number(metric, "count", 1) or None
    return None if metric.get("interval") else 1


def verdict(metric: Object, result: Any) -> str:
    """The phase of a measurement by the metric's conditions. Raises ExpressionError."""
    success, failure = metric.get("successCondition") or "", metric.get("failureCondition") or ""
    is_success = bool(success) and expressions.holds(success, result)
    is_failure = bool(failure) and expressions.holds(failure, result)
    if is_failure:
        return FAILED
    if is_success or not (success or failure):
        return SUCCESSFUL
    if success and failure:
        return INCONCLUSIVE
    return FAILED if success else SUCCESSFUL


def added(result: Object, measurement: Object, kept: int = KEPT) -> Object:
    """The metric result with one more measurement, or with the last one replaced if that still ran."""
    before: Sequence[Object] = result.get("measurements") or ()
    if before and before[-1].get("phase") == RUNNING:
        before = before[:-1]
    made = {**result, "measurements": [*before, measurement][-kept:]}
    phase = measurement["phase"]
    if phase not in COMPLETED:
        return made
    counter = _COUNTERS[phase]
    made[counter] = made.get(counter, 0) + 1
    if phase == ERROR:
        made["consecutiveError"] = made.get("consecutiveError", 0) + 1
    else:
        made["count"] = made.get("count", 0) + 1
        made.pop("consecutiveError", None)
    return made


def assessed(metric: Object, result: Object, *, terminating: bool) -> tuple[str, str]:
    """(phase, why) of the metric by what was measured."""
    limits = (
        (FAILED, "failed", "failed", "failureLimit", 0),
        (INCONCLUSIVE, "inconclusive", "inconclusive", "inconclusiveLimit", 0),
        (ERROR, "consecutiveError", "consecutiveErrors", "consecutiveErrorLimit", CONSECUTIVE_ERRORS),
    )
    for phase, counter, shown, field, otherwise in limits:
        found, limit = result.get(counter, 0), number(metric, field, otherwise)
        if limit != UNLIMITED and found > limit:
            return phase, f"{shown} ({found}) > {field} ({limit})"
    last = last_of(result)
    if last is not None and last["phase"] == RUNNING and not terminating:
        return RUNNING, ""
    wanted = count(metric)
    if terminating or (wanted is not None and result.get("count", 0) >= wanted):
        return SUCCESSFUL, ""
    return (RUNNING, "") if last is not None else (PENDING, "")


def due(metric: Object, result: Object | None, began: float) -> float:
    """When the next measurement is to be taken, in unix seconds."""
    last = last_of(result or {})
    if last is None:
        return began + durations.seconds(metric.get("initialDelay") or 0)
    if last["phase"] == RUNNING:
        return began
    finished = timestamps.parse(last["finishedAt"])
    if last["phase"] == ERROR:
        return finished + RETRY_SECONDS
    return finished + durations.seconds(metric.get("interval") or 0)


def last_of(result: Object) -> Object | None:
    """The last measurement, if there is one."""
    listed = result.get("measurements") or ()
    return listed[-1] if listed else None


def worst(phases: Sequence[str]) -> str:
    """The phase that a run has by those of its metrics."""
    return max(phases, key=WORST.index, default=SUCCESSFUL)


def wrong(metric: Object) -> str:
    """FIELD: why it can't be measured so; "" when it can."""
    for field in ("interval", "initialDelay"):
        try:
            durations.seconds(metric.get(field) or 0)
        except ValueError as error:
            return f"{field}: {error}"
    for field in ("count", "failureLimit", "inconclusiveLimit", "consecutiveErrorLimit"):
        try:
            number(metric, field, 0)
        except ValueError:
            return f"{field}: {metric[field]!r} is no number"
    if metric.get("interval") is None and number(metric, "count", 1) > 1:
        return "interval: must be specified when count > 1"
    for field in ("successCondition", "failureCondition"):
        try:
            expressions.check(metric.get(field) or "true")
        except expressions.ExpressionError as error:
            return f"{field}: {error}"
    return ""
