"""Which PodUnavailableBudgets may be written: those that say what they are about and how much, and don't overlap.

https://openkruise.io/docs/user-manuals/podunavailablebudget
"""

from collections.abc import Iterable, Iterator

from sampan.control.view import View
from sampan.kinds.kind import Object
from sampan.kinds.parts import numbers
from sampan.meta import intstr, objects, validation
from sampan.meta import status as statuses
from sampan.meta.status import Cause
from sampan.platform.protection import budget as budgets
from sampan.platform.protection.budget import PODUNAVAILABLEBUDGET
from sampan.platform.review import ALLOWED, Attempt, Refusal, Review, Reviewer

KNOWN = (*budgets.USUAL, budgets.RESIZE)
WHICH, HOW_MANY = "spec.selector, targetRef", "spec.maxUnavailable, minAvailable"


def review(attempt: Attempt, view: View) -> Review:
    """All that is wrong with it, in one refusal."""
    obj = attempt.obj
    if obj is None or attempt.subresource:
        return ALLOWED
    others = (o for o in view.list(PODUNAVAILABLEBUDGET, attempt.namespace) if objects.name(o) != objects.name(obj))
    texts = [*_annotations(obj), *(cause.text for cause in _causes(obj, attempt.old, others))]
    if not texts:
        return ALLOWED
    return Review(Refusal(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]", 400, "BadRequest"))


def _annotations(obj: Object) -> Iterator[str]:
    said = objects.annotations(obj)
    operations = said.get(budgets.OPERATIONS)
    if operations is not None and any(each not in KNOWN for each in operations.split(",")):
        yield f"metadata: Internal error: annotation[{budgets.OPERATIONS}] is invalid"
    replicas = said.get(budgets.REPLICAS)
    if replicas is not None and intstr.whole(replicas) is None:
        yield f"metadata: Internal error: annotation[{budgets.REPLICAS}] is invalid"


def _causes(obj: Object, old: Object | None, others: Iterable[Object]) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _which(spec)
    yield from _how_many(spec)
    before = (old or {}).get("spec") or {}
    if old is not None and any(spec.get(field) != before.get(field) for field in ("selector", "targetRef")):
        yield statuses.required(WHICH, "selector and targetRef cannot be modified")
    yield from _conflicts(spec, others)


def _which(spec: Object) -> Iterator[Cause]:
    selector, target = spec.get("selector"), spec.get("targetRef")
    if selector is None and target is None:
        yield statuses.required(WHICH, "no selector or targetRef defined in PodUnavailableBudget")
    elif selector is not None and target is not None:
        yield statuses.required(WHICH, "selector and targetRef are mutually exclusive")
    elif target is not None:
        if not all(target.get(field) for field in ("apiVersion", "kind", "name")):
            text = "empty TargetReference is not valid for PodUnavailableBudget."
            yield statuses.invalid_value("spec.TargetReference", target, text)
        version = target.get("apiVersion") or ""
        if version.count("/") > 1:
            yield statuses.invalid_value("spec.TargetReference", target, f"unexpected GroupVersion string: {version}")
    elif selector is not None:
        yield from validation.label_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            text = "empty selector is not valid for PodUnavailableBudget."
            yield statuses.invalid_value("spec.selector", selector, text)


def _how_many(spec: Object) -> Iterator[Cause]:
    given = [field for field in ("maxUnavailable", "minAvailable") if spec.get(field) is not None]
    if not given:
        yield statuses.required(HOW_MANY, "no maxUnavailable or minAvailable defined in PodUnavailableBudget")
    elif len(given) > 1:
        yield statuses.required(HOW_MANY, "maxUnavailable and minAvailable are mutually exclusive")
    else:
        yield from numbers.int_or_percent_causes(spec[given[0]], f"spec.{given[0]}", at_most_all=True)


def _conflicts(spec: Object, others: Iterable[Object]) -> Iterator[Cause]:
    """A pod is under one budget at most, as far as that can be seen."""
    for other in others:
        theirs, name = other.get("spec") or {}, objects.name(other)
        if spec.get("targetRef") and theirs.get("targetRef"):
            if budgets.is_reference(spec["targetRef"], theirs["targetRef"]):
                text = f"pub.spec.targetReference is in conflict with other PodUnavailableBudget {name}"
                yield statuses.invalid_value("spec.targetReference", spec["targetRef"], text)
                return
        elif spec.get("selector") and theirs.get("selector") and overlap(spec["selector"], theirs["selector"]):
            text = f"pub.spec.selector is in conflict with other PodUnavailableBudget {name}"
            yield statuses.invalid_value("spec.selector", spec["selector"], text)
            return


def overlap(first: Object, second: Object) -> bool:
    """Whether a pod may well match both: they speak of the same labels, and nowhere contradict each other."""
    terms, others = _terms(first), _terms(second)
    shared = terms.keys() & others.keys()
    return bool(shared) and all(_agree([*terms[key], *others[key]]) for key in shared)


Term = tuple[str, frozenset[str]]


def _terms(selector: Object) -> dict[str, list[Term]]:
    found: dict[str, list[Term]] = {}
    for key, value in (selector.get("matchLabels") or {}).items():
        found.setdefault(key, []).append(("In", frozenset((value,))))
    for each in selector.get("matchExpressions") or ():
        found.setdefault(each["key"], []).append((each["operator"], frozenset(each.get("values") or ())))
    return found


def _agree(terms: list[Term]) -> bool:
    """Whether a label can be as all of them say."""
    operators = {operator for operator, _ in terms}
    if "DoesNotExist" in operators:
        return not operators & {"In", "Exists"}
    allowed = [values for operator, values in terms if operator == "In"]
    if not allowed:
        return True
    excluded = frozenset[str]().union(*(values for operator, values in terms if operator == "NotIn"))
    return bool(frozenset.intersection(*allowed) - excluded)


REVIEWER = Reviewer(
    name="pod-unavailable-budget-rules",
    rules=(
        {
            "operations": ["CREATE", "UPDATE"],
            "apiGroups": [PODUNAVAILABLEBUDGET.group],
            "apiVersions": ["*"],
            "resources": [PODUNAVAILABLEBUDGET.plural],
            "scope": "*",
        },
    ),
    review=review,
    reads=(PODUNAVAILABLEBUDGET,),
)
