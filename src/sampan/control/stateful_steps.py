"""Stateful steps: what is done next for a StatefulSet's pods, in order or all at once.

OrderedReady takes the pods from the lowest ordinal up and stops at the first that is not available; only when all
are, those beyond the size go, from the highest ordinal down, one by one, and only then old ones are replaced.
Parallel waits for nobody, except that an update replaces one pod at a time, or few.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees
"""

from dataclasses import dataclass, field

from sampan.control import stateful_claims, stateful_pods, stateful_rollout
from sampan.control.plan import Create, Delete, Event, Update, Write, normal, warning
from sampan.control.stateful_pods import Line
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects


@dataclass(frozen=True, slots=True)
class Work:
    """A set as it is observed, with the revision that it comes from and the one that it goes to.

    `by_budget`: whether as many pods are replaced at a time as may be unavailable, or only one.
    """

    view: View
    set: Object
    line: Line
    current: Object
    update: Object
    now: float
    by_budget: bool = False

    @property
    def is_ordered(self) -> bool:
        return stateful_pods.is_ordered(self.set)


@dataclass(slots=True)
class Steps:
    """Writes by stage: what needs nothing, then claims, then their pods; claims of those beyond, then their ends.

    `replaced` are the pods that go because of their revision.
    """

    at_once: list[Write] = field(default_factory=list)
    claims: list[Write] = field(default_factory=list)
    pods: list[Write] = field(default_factory=list)
    last_claims: list[Write] = field(default_factory=list)
    ends: list[Write] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    replaced: list[Object] = field(default_factory=list)

    @property
    def stages(self) -> tuple[list[Write], ...]:
        return self.at_once, self.claims, self.pods, self.last_claims, self.ends


def steps(work: Work) -> Steps:
    """All that can be done now."""
    made = Steps()
    first = stateful_pods.start(work.set)
    for number, p in enumerate(work.line.replicas, first):
        must_wait = _missing(work, number, made) if p is None else _present(work, p, made)
        if must_wait:
            return made
    for p in work.line.condemned:
        made.last_claims.extend(_owner_updates(work, p))
    if _scaled_down(work, made) and work.is_ordered:
        return made
    find = stateful_rollout.outdated_by_budget if work.by_budget else stateful_rollout.outdated
    made.replaced = find(work.set, work.line, objects.name(work.update), work.now)
    made.ends.extend(_delete(work, p) for p in made.replaced if not pod.is_terminal(p))  # else it goes already
    return made


def _missing(work: Work, number: int, made: Steps) -> bool:
    """Makes the pod of an ordinal with its claims, unless old ones are still in the way."""
    if stateful_claims.is_stale(work.view, work.set, number):
        return work.is_ordered
    revision = work.current if stateful_rollout.is_of_current(work.set, number) else work.update
    p = stateful_pods.new(work.set, number, revision)
    claims = _claim_creates(work, p)
    made.claims.extend(claims)
    made.events.extend(_conflicts(work, p))
    going = _going_claims(work, number)
    if going:
        made.events.append(warning("FailedCreate", f"{_about('create', work, p)} failed error: {joined(going)}"))
        return True
    told = normal("SuccessfulCreate", f"{_about('create', work, p)} successful")
    refused = warning("FailedCreate", f"{_about('create', work, p)} failed error: {{error}}")
    (made.pods if claims else made.at_once).append(Create(POD, p, told, refused))
    return work.is_ordered


def _present(work: Work, p: Object, made: Steps) -> bool:
    """Sees to a pod that is there; an ended one goes, and comes again once it is gone."""
    if pod.is_terminal(p):
        if not objects.is_deleting(p):
            made.at_once.append(_delete(work, p))
        return work.is_ordered
    if _is_pending(p):
        made.claims.extend(_claim_creates(work, p))
        made.events.extend(_conflicts(work, p))
        if _going_claims(work, stateful_pods.ordinal(p)):
            return True
        made.at_once.extend(_owner_updates(work, p))
    if work.is_ordered and not _is_settled(work, p):
        return True
    made.at_once.extend(_corrections(work, p))
    return False


def _corrections(work: Work, p: Object) -> list[Write]:
    """Gives the pod what it must have: its labels, its volumes, and its claims their owners."""
    right = stateful_pods.corrected(work.set, p)
    if right is p:
        return [] if _is_pending(p) else _owner_updates(work, p, is_told=True)
    told = normal("SuccessfulUpdate", f"{_about('update', work, p)} successful")
    refused = warning("FailedUpdate", f"{_about('update', work, p)} failed error: {{error}}")
    update = Update(POD, right, done=told, refused=refused)
    if _is_pending(p):
        return [update]
    claims = _claim_creates(work, p) if right["spec"] is not p["spec"] else []
    return [*claims, *_owner_updates(work, p), update]


def _scaled_down(work: Work, made: Steps) -> bool:
    """Ends pods beyond the size, in order from the last; returns whether there are any."""
    for p in work.line.condemned:
        if objects.is_deleting(p):
            if work.is_ordered:
                return True
            continue
        if work.is_ordered and not _is_settled(work, p) and p is not _first_unavailable(work):
            return True
        made.ends.append(_delete(work, p))
        if work.is_ordered:
            return True
    return bool(work.line.condemned)


def _first_unavailable(work: Work) -> Object | None:
    """The lowest pod that can't be counted on."""
    candidates = [*work.line.replicas, *reversed(work.line.condemned)]
    return next((p for p in candidates if stateful_pods.is_unavailable(work.set, p, work.now)), None)


def _is_settled(work: Work, p: Object) -> bool:
    is_stable = stateful_pods.is_ready(p) and not objects.is_deleting(p)
    return is_stable and stateful_pods.is_available(work.set, p, work.now)


def _is_pending(p: Object) -> bool:
    return bool((p.get("status") or {}).get("phase") == "Pending")


def _claim_creates(work: Work, p: Object) -> list[Write]:
    return [
        Create(
            PERSISTENTVOLUMECLAIM,
            claim,
            normal("SuccessfulCreate", f"create Claim {objects.name(claim)} {_pod(work, p)} success"),
            warning("FailedCreate", f"create Claim {objects.name(claim)} for {_pod(work, p)} failed error: {{error}}"),
        )
        for claim in stateful_claims.missing(work.view, work.set, stateful_pods.ordinal(p))
    ]


def _owner_updates(work: Work, p: Object, *, is_told: bool = False) -> list[Write]:
    """Gives claims the owners that they should have; if `is_told`, the pod counts as updated when the last of them has."""
    wrong = stateful_claims.wrong(work.view, work.set, p)
    if not wrong:
        return []
    told = normal("SuccessfulUpdate", f"{_about('update', work, p)} successful") if is_told else None
    error = f"{_about('update', work, p)} failed error: could not update claim"
    return [
        Update(
            PERSISTENTVOLUMECLAIM,
            claim,
            done=told if claim is wrong[-1] else None,
            refused=warning("FailedUpdate", f"{error} {objects.name(claim)} for delete policy ownerRefs: {{error}}"),
        )
        for claim in wrong
    ]


def _conflicts(work: Work, p: Object) -> list[Event]:
    text = "has a conflicting OwnerReference that acts as a manging controller"
    end = "the retention policy is ignored for this claim"
    found = stateful_claims.conflicting(work.view, work.set, p)
    return [warning("ConflictingController", f"PersistentVolumeClaim {name} {text}, {end}") for name in found]


def _going_claims(work: Work, number: int) -> list[str]:
    found = stateful_claims.existing(work.view, work.set, number)
    return [f"pvc {objects.name(claim)} is being deleted" for claim in found if objects.is_deleting(claim)]


def _delete(work: Work, p: Object) -> Delete:
    told = normal("SuccessfulDelete", f"{_about('delete', work, p)} successful")
    refused = warning("FailedDelete", f"{_about('delete', work, p)} failed error: {{error}}")
    return Delete(POD, objects.key(p), objects.uid(p), done=told, refused=refused)


def _about(verb: str, work: Work, p: Object) -> str:
    return f"{verb} {_pod(work, p)}"


def _pod(work: Work, p: Object) -> str:
    return f"Pod {objects.name(p)} in StatefulSet {objects.name(work.set)}"


def joined(errors: list[str]) -> str:
    """As several errors are told in one text."""
    return errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
