"""Rules: which metrics of a run are only tried (dryRun), and how many measurements of each are kept.

They name metrics by regular expressions, and each is about one at least.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/
"""

from collections.abc import Iterator, Sequence

from sampan.kinds.kind import Object
from sampan.platform.rollouts import expressions


def wrong(run: Object, metrics: Sequence[Object]) -> str:
    """Why the metrics and the rules about them can't be followed; "" when they can."""
    if not metrics:
        return "no metrics specified"
    names = [metric.get("name") for metric in metrics]
    for place, name in enumerate(names):
        if name in names[:place]:
            return f"spec.metrics[{place}].name: two metrics have the same name '{name}'"
    for field in ("dryRun", "measurementRetention"):
        for place, rule in enumerate(run["spec"].get(field) or ()):
            try:
                found = [metric for metric in metrics if _is_about(rule, metric)]
            except expressions.ExpressionError as error:
                return f"spec.{field}[{place}].metricName: {error}"
            if not found:
                return f"spec.{field}[{place}]: Rule didn't match any metric name(s)"
    return ""


def dry(run: Object, metrics: Sequence[Object]) -> set[str]:
    """The names of those whose result doesn't count."""
    return {metric["name"] for metric in metrics if any(_about(run, "dryRun", metric))}


def kept(run: Object, metric: Object, otherwise: int) -> int:
    """How many measurements are kept: at least one."""
    limit = next((rule.get("limit") for rule in _about(run, "measurementRetention", metric)), None)
    return max(otherwise if limit is None else int(limit), 1)


def _about(run: Object, field: str, metric: Object) -> Iterator[Object]:
    return (rule for rule in run["spec"].get(field) or () if _is_about(rule, metric))


def _is_about(rule: Object, metric: Object) -> bool:
    return expressions.matches(str(rule.get("metricName") or ""), str(metric.get("name")))
