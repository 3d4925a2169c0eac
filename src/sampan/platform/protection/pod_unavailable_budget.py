"""PodUnavailableBudgets: how many of their pods are available, how many should be, and so how many may be disrupted.

What is admitted uses the allowance up by itself and notes the pod; a noted pod counts as unavailable until it is seen
to be, or until its time is over. Of pods whose workload is gone, or wants fewer, none needs to stay. A workload of a
kind that isn't built in cannot be watched; it is asked again and again.

https://openkruise.io/docs/user-manuals/podunavailablebudget
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.control import decorate, expected_pods, own
from sampan.control.controller import Controller, Watch
from sampan.control.expected_pods import Expected
from sampan.control.plan import AskScale, Event, Key, Plan, normal, plan, sooner, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind, Object
from sampan.meta import intstr, objects, timestamps
from sampan.platform.protection import budget as budgets
from sampan.platform.protection.budget import PODUNAVAILABLEBUDGET

DELETION_SECONDS = 20.0
UPDATE_SECONDS = 10.0
FAILED_SECONDS = 300.0
LOOK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Noted:
    """Pods that were noted and are still as they were: name -> when; those that nobody deleted; when to look again."""

    disrupted: dict[str, str]
    unavailable: dict[str, str]
    overdue: tuple[Object, ...] = ()
    again: float | None = None


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Counts the budget's pods, and writes down how many of them may be disrupted."""
    budget = view.get(PODUNAVAILABLEBUDGET, key)
    if budget is None or objects.is_deleting(budget):
        return Plan()
    spec = budget.get("spec") or {}
    members = [p for p in view.list(POD, key[0]) if pod.is_active(p) and budgets.covers(budget, p, view)]
    expected = _expected(view, budget, members)
    if expected.ask:
        return Plan(ask=expected.ask)
    events = [] if members else [normal("NoPods", "No matching pods found")]
    desired = _desired(spec, expected.count)
    failure = expected.failure or (desired if isinstance(desired, str) else "")
    if failure:
        text = f"Failed to calculate the number of expected pods: {failure}"
        return plan(events=(*events, warning("CalculateExpectedPodCountFailed", text)), again=FAILED_SECONDS)
    noted = _noted(budget, members, now)
    events += [_not_deleted(budget, p) for p in noted.overdue]
    status = _status(budget, members, (expected.count, int(desired)), noted)
    again = sooner(noted.again, LOOK_SECONDS) if _is_asked(view, budget, members) else noted.again
    return plan(decorate.status(PODUNAVAILABLEBUDGET, budget, status), events=events, again=again)


def _expected(view: View, budget: Object, members: Sequence[Object]) -> Expected:
    """How many pods there should be: as an annotation says, else the workload, else those of all its pods."""
    said = budgets.total(budget)
    if said is not None:
        return Expected(said)
    target = (budget.get("spec") or {}).get("targetRef")
    if target is None:
        first = tuple(dict.fromkeys(question for p in members for question in _open_questions(view, p)))
        if first:
            return Expected(ask=first)
        return expected_pods.expected(view, [p for p in members if not _is_forsaken(view, p)])
    if not (target.get("kind") and target.get("name")):
        return Expected(failure="spec.targetRef names no workload")
    key = objects.namespace(budget), target["name"]
    kind = _built_in(target)
    if kind is not None:
        found = view.get(kind, key)
        return Expected(0 if found is None or objects.is_deleting(found) else _replicas(found))
    asked = _question(target, key[0])
    scale = view.answer(asked)
    if scale is UNANSWERED:
        return Expected(ask=(asked,))
    if isinstance(scale, str):
        return Expected(failure=scale)
    is_gone = scale is None or objects.is_deleting(scale)
    return Expected(0 if is_gone else int((scale.get("spec") or {}).get("replicas") or 0))


def _is_of(kind: Kind, reference: Object) -> bool:
    return (kind.group, kind.name) == ((reference.get("apiVersion") or "").rpartition("/")[0], reference.get("kind"))


def _replicas(workload: Object) -> int:
    wanted = (workload.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)


def _open_questions(view: View, p: Object) -> list[AskScale]:
    """What has to be asked about the pod's workloads first."""
    asked = [_question(owner, objects.namespace(p)) for owner in budgets.owners(p, view) if _built_in(owner) is None]
    return [question for question in asked if view.answer(question) is UNANSWERED]


def _is_forsaken(view: View, p: Object) -> bool:
    """Whether the pod's workload, or the one above that, is gone or goes, so far as it is known."""
    return any(_is_going(view, owner, objects.namespace(p)) for owner in budgets.owners(p, view))


def _is_going(view: View, owner: Object, namespace: str) -> bool:
    kind = _built_in(owner)
    found = view.get(kind, (namespace, owner["name"])) if kind else view.answer(_question(owner, namespace))
    if isinstance(found, str):
        return False
    return found is None or objects.uid(found) != owner.get("uid") or objects.is_deleting(found)


def _built_in(reference: Object) -> Kind | None:
    return next((kind for kind in expected_pods.READS if _is_of(kind, reference)), None)


def _question(reference: Object, namespace: str) -> AskScale:
    key = namespace, reference["name"]
    return AskScale(reference.get("apiVersion") or "v1", reference["kind"], key, with_deletion=True)


def _is_asked(view: View, budget: Object, members: Sequence[Object]) -> bool:
    """Whether the number depends on a workload that cannot be watched."""
    if budgets.total(budget) is not None:
        return False
    target = (budget.get("spec") or {}).get("targetRef")
    named = [target] if target is not None else [owner for p in members for owner in budgets.owners(p, view)]
    return any(_built_in(owner) is None for owner in named)


def _desired(spec: Object, expected: int) -> int | str:
    """How many pods must stay available; or why that can't be told."""
    try:
        if spec.get("maxUnavailable") is not None:
            return max(expected - intstr.scaled(spec["maxUnavailable"], expected, round_up=True), 0)
        return min(intstr.scaled(spec.get("minAvailable") or 0, expected, round_up=True), expected)
    except ValueError as error:
        return str(error)


def _noted(budget: Object, members: Sequence[Object], now: float) -> Noted:
    state = budget.get("status") or {}
    disrupted, unavailable = state.get("disruptedPods") or {}, state.get("unavailablePods") or {}
    overdue: list[Object] = []
    kept: tuple[dict[str, str], dict[str, str]] = ({}, {})
    again: float | None = None
    terms = ((disrupted, kept[0], DELETION_SECONDS), (unavailable, kept[1], UPDATE_SECONDS))
    for p in members:
        name = objects.name(p)
        for times, still, seconds in terms:
            if name not in times:
                continue
            left = timestamps.parse(times[name]) + seconds - now
            if left > 0:
                still[name] = times[name]
                again = sooner(again, left)
            elif times is disrupted:
                overdue.append(p)
    return Noted(*kept, tuple(overdue), again)


def _status(budget: Object, members: Sequence[Object], counts: tuple[int, int], noted: Noted) -> Object:
    total, desired = counts
    gone = {*noted.disrupted, *noted.unavailable}
    current = sum(budgets.is_available(p) and objects.name(p) not in gone for p in members)
    return {
        "unavailableAllowed": max(current - desired, 0),
        "currentAvailable": current,
        "desiredAvailable": desired,
        "totalReplicas": total,
        "disruptedPods": noted.disrupted or None,
        "unavailablePods": noted.unavailable or None,
        "observedGeneration": objects.generation(budget),
    }


def _not_deleted(budget: Object, p: Object) -> Event:
    where = f"{objects.namespace(budget)}/{objects.name(budget)}"
    return warning("NotDeleted", f"Pod was expected by PUB {where} to be deleted but it wasn't", own.typed(p, POD))


def _of_pod(view: View, p: Object) -> Iterable[Key]:
    listed = view.list(PODUNAVAILABLEBUDGET, objects.namespace(p))
    return [objects.key(budget) for budget in listed if budgets.covers(budget, p, view)]


def _of_workload(view: View, workload: Object) -> Iterable[Key]:
    return [objects.key(budget) for budget in view.list(PODUNAVAILABLEBUDGET, objects.namespace(workload))]


def _resized(old: Object | None, new: Object | None) -> bool:
    """A workload wants another number of pods, or goes."""
    if old is None or new is None:
        return old is not None
    wants = [((o.get("spec") or {}).get("replicas"), objects.is_deleting(o)) for o in (old, new)]
    return wants[0] != wants[1]


CONTROLLER = Controller(
    name="podunavailablebudget-controller",
    parent=PODUNAVAILABLEBUDGET,
    reconcile=reconcile,
    watches=(Watch(POD, _of_pod), *(Watch(kind, _of_workload, _resized) for kind in expected_pods.READS)),
    reads=expected_pods.READS,
)
