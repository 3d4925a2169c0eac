"""Disruption budgets: how many of their pods are healthy, how many should be, and so how many may be evicted.

Evictions use the allowance up by themselves and note the pod; a noted pod counts as gone until it is, or
until two minutes have passed. A budget whose pods' scale can't be known allows nothing.

https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sampan.control import decorate, expected_pods, own, selector_text
from sampan.control.controller import Controller, Watch
from sampan.control.expected_pods import Expected
from sampan.control.plan import Event, Key, Plan, Write, normal, plan, sooner, warning
from sampan.control.pods import rest
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.policy.pod_disruption_budget import PODDISRUPTIONBUDGET
from sampan.meta import conditions, intstr, objects, selectors, timestamps

DELETION_SECONDS = 120.0
FAILED_SECONDS = 300.0
ALLOWED = "DisruptionAllowed"


@dataclass(frozen=True, slots=True)
class Disrupted:
    """Pods that were evicted but are still there: name -> when; those that nobody deleted; when to look again."""

    times: dict[str, str]
    overdue: tuple[Object, ...]
    again: float | None


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Counts the budget's pods, and writes down how many of them may be disrupted."""
    budget = view.get(PODDISRUPTIONBUDGET, key)
    if budget is None:
        return Plan()
    spec = budget.get("spec") or {}
    members = view.selected(POD, key[0], selectors.from_label_selector(spec.get("selector")))
    expected = _expected(view, spec, members)
    if expected.ask:
        return Plan(ask=expected.ask)
    events = [] if members else [normal("NoPods", "No matching pods found")]
    if expected.failure:
        text = f"Failed to calculate the number of expected pods: {expected.failure}"
        events.append(warning("CalculateExpectedPodCountFailed", text))
        return plan(_failed(budget, expected.failure, now), events=events, again=FAILED_SECONDS)
    if expected.unmanaged:
        events.append(_unmanaged(spec))
    disrupted = _disrupted(budget, members, now)
    events += [_not_deleted(budget, p) for p in disrupted.overdue]
    status = _status(budget, members, (expected.count, _desired(spec, expected.count)), disrupted.times)
    written = decorate.status(PODDISRUPTIONBUDGET, budget, _told(budget, status, now))
    return replace(plan(written, events=events, again=disrupted.again), rest=rest(len(members)))


def _expected(view: View, spec: Object, members: Sequence[Object]) -> Expected:
    """As many as there are, if the wish is a number of pods that stay; else what their controllers want."""
    if spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str):
        return expected_pods.expected(view, members)
    return Expected(len(members) if spec.get("minAvailable") is not None else 0)


def _desired(spec: Object, expected: int) -> int:
    if spec.get("maxUnavailable") is not None:
        return max(expected - intstr.scaled(spec["maxUnavailable"], expected, round_up=True), 0)
    return intstr.scaled(spec.get("minAvailable") or 0, expected, round_up=True)


def _disrupted(budget: Object, members: Sequence[Object], now: float) -> Disrupted:
    noted = (budget.get("status") or {}).get("disruptedPods") or {}
    times: dict[str, str] = {}
    overdue: list[Object] = []
    again: float | None = None
    for p in members:
        name = objects.name(p)
        if name not in noted or objects.is_deleting(p):
            continue
        left = timestamps.parse(noted[name]) + DELETION_SECONDS - now
        if left <= 0:
            overdue.append(p)
        else:
            times[name] = noted[name]
            again = sooner(again, left)
    return Disrupted(times, tuple(overdue), again)


def _status(budget: Object, members: Sequence[Object], counts: tuple[int, int], disrupted: dict[str, str]) -> Object:
    """The counts as they should be. Without pods nothing is allowed, so that the first ones are safe."""
    expected, desired = counts
    healthy = sum(pod.is_ready(p) and not objects.is_deleting(p) and objects.name(p) not in disrupted for p in members)
    return {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": max(healthy - desired, 0) if expected > 0 else 0,
        "disruptedPods": disrupted or None,
        "observedGeneration": objects.generation(budget),
    }


def _told(budget: Object, status: Object, now: float) -> Object:
    """The status with its condition."""
    is_allowed = status["disruptionsAllowed"] > 0
    verdict = ("True", "SufficientPods", "") if is_allowed else ("False", "InsufficientPods", "")
    return {**status, "conditions": _conditions(budget, verdict, status["observedGeneration"], now)}


def _failed(budget: Object, message: str, now: float) -> Iterable[Write]:
    """Nothing is allowed; the rest of the status stays as it was."""
    old = budget.get("status") or {}
    found = _conditions(budget, ("False", "SyncFailed", message), old.get("observedGeneration") or 0, now)
    return decorate.status(PODDISRUPTIONBUDGET, budget, {**old, "disruptionsAllowed": 0, "conditions": found})


def _conditions(budget: Object, verdict: tuple[str, str, str], generation: int, now: float) -> list[Object]:
    old = (budget.get("status") or {}).get("conditions")
    found = conditions.set(old, ALLOWED, *verdict, now)
    seen = {"observedGeneration": generation} if generation else {}
    return [{**c, "message": verdict[2], **seen} if c.get("type") == ALLOWED else c for c in found]


def _not_deleted(budget: Object, p: Object) -> Event:
    where = f"{objects.namespace(budget)}/{objects.name(budget)}"
    return warning("NotDeleted", f"Pod was expected by PDB {where} to be deleted but it wasn't", own.typed(p, POD))


def _unmanaged(spec: Object) -> Event:
    text = (
        f"Pods selected by this PodDisruptionBudget (selector: {selector_text.shown(spec.get('selector') or {})}) were found"
        " to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in"
        ' undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an'
        " integer value."
    )
    return warning("UnmanagedPods", text)


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    budgets = view.list(PODDISRUPTIONBUDGET, objects.namespace(p))
    labels = objects.labels(p) if budgets else {}
    for budget in budgets:
        if selectors.from_label_selector((budget.get("spec") or {}).get("selector")).matches(labels):
            yield objects.key(budget)


CONTROLLER = Controller(
    name="disruption-controller",
    component="controllermanager",
    parent=PODDISRUPTIONBUDGET,
    reconcile=reconcile,
    watches=(Watch(POD, _pod_keys),),
    reads=expected_pods.READS,
)
