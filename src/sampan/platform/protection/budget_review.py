"""Who may disrupt a pod: as many at once as its PodUnavailableBudget allows, be it by eviction, deletion or an update.

What is admitted takes one of the allowance, in the budget's status, together with the write itself. A pod that is not
available may go without, and so may those of a namespace that is being deleted, and those whose owner is gone, which
the garbage collector has seen. An eviction beyond the budget is to be tried again (429), so that `kubectl drain` waits.

https://openkruise.io/docs/user-manuals/podunavailablebudget
"""

from sampan.control.plan import Update
from sampan.control.view import View
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps
from sampan.platform.protection import budget as budgets
from sampan.platform.protection import components
from sampan.platform.protection.budget import PODUNAVAILABLEBUDGET
from sampan.platform.review import ALLOWED, CREATE, DELETE, UPDATE, Attempt, Refusal, Review, Reviewer

MAX_RECORDED = 2000
NOTHING_LEFT = "pub unavailable allowed is negative"
TOO_MANY = "DisruptedPods and UnavailablePods map too big - too many unavailable not confirmed by PUB controller"
_OPERATIONS = {
    (DELETE, ""): budgets.DELETE,
    (CREATE, "eviction"): budgets.EVICT,
    (UPDATE, ""): budgets.UPDATE,
    (UPDATE, "resize"): budgets.RESIZE,
}


def review(attempt: Attempt, view: View) -> Review:
    """Whether the budget bears it."""
    if attempt.user == components.GARBAGE_COLLECTOR:
        return ALLOWED
    listed = view.list(PODUNAVAILABLEBUDGET, attempt.namespace)
    operation = _operation(attempt) if listed else ""
    p = attempt.old if attempt.old is not None else view.get(POD, (attempt.namespace, attempt.name))
    if not operation or p is None or not _counts(p):
        return ALLOWED
    found = budgets.of(p, listed, view)
    if found is None or not budgets.protects(found, operation) or objects.name(p) in budgets.recorded(found):
        return ALLOWED
    state = found.get("status") or {}
    if not state.get("desiredAvailable") or _is_going(view, attempt.namespace):
        return ALLOWED
    if (state.get("unavailableAllowed") or 0) <= 0:
        return _refused(found, operation, NOTHING_LEFT)
    if len(budgets.recorded(found)) > MAX_RECORDED:
        return _refused(found, operation, TOO_MANY)
    return Review(writes=(_taken(found, p, operation, attempt.now),))


def _operation(attempt: Attempt) -> str:
    """What is done to the pod, as budgets call it; "" for what disrupts nothing."""
    found = _OPERATIONS.get((attempt.operation, attempt.subresource), "")
    return "" if found == budgets.UPDATE and not _disrupts(attempt.old or {}, attempt.obj or {}) else found


def _disrupts(old: Object, new: Object) -> bool:
    """Whether its containers may restart, or it is taken out of what is available."""
    return old.get("spec") != new.get("spec") or (budgets.is_marked(new) and not budgets.is_marked(old))


def _counts(p: Object) -> bool:
    return objects.annotations(p).get(budgets.NO_PROTECTION) != "true" and budgets.is_available(p)


def _is_going(view: View, namespace: str) -> bool:
    found = view.get(NAMESPACE, ("", namespace))
    return found is not None and objects.is_deleting(found)


def _taken(found: Object, p: Object, operation: str, now: float) -> Update:
    """The budget with one less to give, and the pod noted."""
    state = found["status"]
    field = "disruptedPods" if operation in (budgets.DELETE, budgets.EVICT) else "unavailablePods"
    noted = {**(state.get(field) or {}), objects.name(p): timestamps.format(now)}
    taken = {**state, "unavailableAllowed": state["unavailableAllowed"] - 1, field: noted}
    return Update(PODUNAVAILABLEBUDGET, {**found, "status": taken}, "status")


def _refused(found: Object, operation: str, why: str) -> Review:
    state = found["status"]
    name, current, desired = objects.name(found), state.get("currentAvailable") or 0, state["desiredAvailable"]
    text = f'podunavailablebudget.policy.kruise.io "{name}" is forbidden: {why}'
    told = f"the PodUnavailableBudget {name} needs {desired} available pods and has {current} currently"
    if operation == budgets.EVICT:
        return Review(Refusal(text, 429, "TooManyRequests"), (told,))
    return Review(Refusal(text), (told,))


def _rule(operation: str, *resources: str) -> Object:
    return {
        "operations": [operation],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": [*resources],
        "scope": "*",
    }


REVIEWER = Reviewer(
    name="pod-unavailable-budget",
    rules=(_rule("CREATE", "pods/eviction"), _rule("DELETE", "pods"), _rule("UPDATE", "pods", "pods/resize")),
    review=review,
    reads=(PODUNAVAILABLEBUDGET, POD, REPLICASET, NAMESPACE),
    writes=(PODUNAVAILABLEBUDGET,),
)
