"""Expected pods: how many there should be, as the controllers of those that there are want it.

https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.control.plan import AskScale, Question
from sampan.control.view import UNANSWERED, View
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core.replication_controller import REPLICATIONCONTROLLER
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects

READS = (REPLICATIONCONTROLLER, DEPLOYMENT, REPLICASET, STATEFULSET)
_GROUPS = {
    REPLICATIONCONTROLLER: ("",),
    DEPLOYMENT: ("apps", "extensions"),
    REPLICASET: ("apps", "extensions"),
    STATEFULSET: ("apps",),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """The number, the names of pods that nobody controls; or why it isn't known, or what must be asked first."""

    count: int = 0
    unmanaged: tuple[str, ...] = ()
    failure: str = ""
    ask: tuple[Question, ...] = ()


def expected(view: View, pods: Sequence[Object]) -> Expected:
    """The sum of the scales of all controllers of these pods."""
    scales: dict[str, int] = {}
    questions: dict[str, AskScale] = {}
    first_of: dict[str, str] = {}
    unmanaged: list[str] = []
    for p in pods:
        reference = objects.controller_of(p)
        if reference is None:
            unmanaged.append(objects.name(p))
        elif first_of.setdefault(reference["uid"], objects.name(p)) == objects.name(p):
            known = _known(view, reference, objects.namespace(p))
            if known is not None:
                scales[objects.uid(known)] = _replicas(known)
            else:
                key = objects.namespace(p), reference["name"]
                questions[reference["uid"]] = AskScale(reference.get("apiVersion", ""), reference["kind"], key)
    answers = {uid: view.answer(question) for uid, question in questions.items()}
    if UNANSWERED in answers.values():
        return Expected(ask=tuple(questions.values()))
    for uid, answer in answers.items():
        if isinstance(answer, str):
            return Expected(failure=answer)
        if answer is None or objects.uid(answer) != uid:
            return Expected(failure=f'found no controllers for pod "{first_of[uid]}"')
        scales[uid] = (answer.get("spec") or {}).get("replicas") or 0
    return Expected(sum(scales.values()), tuple(unmanaged))


def _known(view: View, reference: Object, namespace: str) -> Object | None:
    """The built-in workload that is referred to; a ReplicaSet's Deployment stands for it."""
    kind = next((k for k in (REPLICATIONCONTROLLER, REPLICASET, STATEFULSET) if _is_of(k, reference)), None)
    found = _referred(view, kind, reference, namespace) if kind is not None else None
    above = objects.controller_of(found) if found is not None and kind is REPLICASET else None
    if above is None or above["kind"] != DEPLOYMENT.name:
        return found
    return _referred(view, DEPLOYMENT, above, namespace) if _is_of(DEPLOYMENT, above) else None


def _referred(view: View, kind: Kind, reference: Object, namespace: str) -> Object | None:
    found = view.get(kind, (namespace, reference["name"]))
    return found if found is not None and objects.uid(found) == reference["uid"] else None


def _is_of(kind: Kind, reference: Object) -> bool:
    group = reference.get("apiVersion", "").rpartition("/")[0]
    return bool(reference["kind"] == kind.name and group in _GROUPS[kind])


def _replicas(workload: Object) -> int:
    wanted = (workload.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)
