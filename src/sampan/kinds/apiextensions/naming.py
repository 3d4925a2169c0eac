"""Which names a CustomResourceDefinition gets in its group, and the conditions that tell.

First come, first served: a name that another definition of the group holds is not accepted.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.apiextensions import crd_rules, crd_spec
from sampan.meta import conditions, objects

Node = dict[str, Any]

_APPROVAL_CONDITION = "KubernetesAPIApprovalPolicyConformant"
_APPROVAL_REASONS = {
    "Approved": ("True", "ApprovedAnnotation"),
    "Bypassed": ("False", "UnapprovedAnnotation"),
    "Missing": ("False", "MissingAnnotation"),
    "Invalid": ("False", "InvalidAnnotation"),
}


def status(crd: Node, others: Sequence[Node], now: float) -> Node:
    """The definition's status with the names it has and the conditions; `others` are all other definitions."""
    before = crd.get("status") or {}
    group = crd["spec"]["group"]
    used = _used([o for o in others if (o.get("spec") or {}).get("group") == group])
    names, fault = _names(crd["spec"]["names"], before.get("acceptedNames") or {}, used)
    found = before.get("conditions") or []
    verdict = ("True", "NoConflicts", "no conflicts found") if fault is None else ("False", *fault)
    found = conditions.set(found, crd_spec.NAMES_ACCEPTED, *verdict, now)
    found = _established(found, accepted=fault is None, now=now)
    if crd_rules.is_protected(group):
        state, why = crd_rules.approval(objects.annotations(crd))
        found = conditions.set(found, _APPROVAL_CONDITION, *_APPROVAL_REASONS[state], why, now)
    return {**before, "conditions": found, "acceptedNames": names}


def _established(found: Sequence[Node], *, accepted: bool, now: float) -> list[Node]:
    """Once true it stays so."""
    kind = crd_spec.ESTABLISHED
    if conditions.is_true({"conditions": found}, kind):
        return list(found)
    if accepted:
        text = "the initial names have been accepted"
        return conditions.set(found, kind, "True", "InitialNamesAccepted", text, now)
    return conditions.set(found, kind, "False", "NotAccepted", "not all names are accepted", now)


def _used(others: Sequence[Node]) -> tuple[set[str], set[str]]:
    """Resource names and kinds that are taken."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources.update(filter(None, [names.get("plural"), names.get("singular"), *(names.get("shortNames") or ())]))
        kinds.update(filter(None, [names.get("kind"), names.get("listKind")]))
    return resources, kinds


_REASONS = (
    ("plural", "PluralConflict"),
    ("singular", "SingularConflict"),
    ("shortNames", "ShortNamesConflict"),
    ("kind", "KindConflict"),
    ("listKind", "ListKindConflict"),
)


def _names(wanted: Node, accepted: Node, used: tuple[set[str], set[str]]) -> tuple[Node, tuple[str, str] | None]:
    """The names it has from now on, and the last conflict (reason, message)."""
    names = {key: value for key, value in accepted.items() if value}
    fault: tuple[str, str] | None = None
    for name, reason in _REASONS:
        taken = used[1] if name in ("kind", "listKind") else used[0]
        asked = wanted.get(name) or ()
        had = set(accepted.get(name) or ()) if name == "shortNames" else set()
        new = [n for n in asked if n not in had] if name == "shortNames" else [asked]
        conflicts = [n for n in new if n and n != accepted.get(name) and n in taken]
        if conflicts:
            texts = [f'"{n}" is already in use' for n in conflicts]
            fault = (reason, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        elif asked:
            names[name] = asked
        else:
            names.pop(name, None)
    if wanted.get("categories"):
        names["categories"] = wanted["categories"]
    else:
        names.pop("categories", None)
    return {"plural": "", "kind": "", **names}, fault
