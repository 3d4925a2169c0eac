"""Budgets: PodDisruptionBudgets that never let a pod go."""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.kinds.core.pod import POD, is_ready
from sampan.meta import objects, selectors
from sampan.platform.health import homes, words
from sampan.platform.health.lookup import Lookup
from sampan.platform.health.verdict import HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about

Object = Mapping[str, Any]


def judge(budget: Object, look: Lookup) -> Verdict:
    """A PodDisruptionBudget."""
    status = budget.get("status") or {}
    expected, healthy = int(status.get("expectedPods", 0)), int(status.get("currentHealthy", 0))
    wanted, allowed = int(status.get("desiredHealthy", 0)), int(status.get("disruptionsAllowed", 0))
    if not status:
        return about(budget, PROGRESSING, "NotYetObserved", "has not been looked at by its controller yet")
    if not expected:
        return about(budget, HEALTHY, "NoPods", "protects no pods: none match its selector")
    if allowed:
        return about(budget, HEALTHY, "Allows", f"lets {words.plural(allowed, 'pod')} go at a time")
    shown = (Evidence("status", f"{healthy} of {expected} pods healthy, {wanted} must be, {allowed} may go"),)
    kept = chosen(budget, look.list(POD, objects.namespace(budget)))
    home = homes.of(kept[0], look) if kept else None
    if healthy >= expected:
        message = f"never lets a pod go: all {expected} are healthy, and {_asks(budget)} of them must stay"
        where = words.in_namespace(objects.namespace(budget))
        patch = f'{where} patch pdb {objects.name(budget)} --type=merge -p \'{{"spec":{{"minAvailable":null,"maxUnavailable":1}}}}\''
        more = (
            (f"or run one more: {where} scale {home.ref} --replicas={expected + 1}",)
            if home and home.kind != "Pod"
            else ()
        )
        return about(budget, STUCK, "NeverAllows", message, evidence=shown, next=(patch, *more))
    bad = sorted(objects.name(pod) for pod in kept if not is_ready(pod))
    count = len(bad) or expected - healthy
    message = f"lets no pod go, for {words.plural(count, 'pod')} of {expected} not healthy: {words.listed(bad)}"
    message = message.removesuffix(": ")
    return about(
        budget,
        STUCK,
        "PodsUnhealthy",
        message,
        evidence=shown,
        next=tuple(f"sampan why pod/{name}" for name in bad[:2]),
    )


def chosen(budget: Object, pods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that a budget protects."""
    selector = (budget.get("spec") or {}).get("selector")
    if selector is None:
        return []
    found = selectors.from_label_selector(selector)
    here = objects.namespace(budget)
    return [pod for pod in pods if objects.namespace(pod) == here and found.matches(objects.labels(pod))]


def _asks(budget: Object) -> str:
    spec = budget.get("spec") or {}
    if "maxUnavailable" in spec:
        return f"all but {spec['maxUnavailable']}"
    return str(spec.get("minAvailable", "all"))
