"""The end of a Namespace: its pods go first, then everything else in it, then its own finalizer.

What remains, and why, is told in the conditions.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sampan.control import decorate
from sampan.control.controller import Controller, Watch
from sampan.control.plan import AskKinds, AskList, DeleteCollection, Key, Plan, Update, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind, Object
from sampan.meta import conditions, objects, timestamps

FINALIZER = "kubernetes"
AGAIN_SECONDS = 1.0
BATCH_SECONDS = 0.05
NEEDED_VERBS = {"list", "deletecollection"}

Found = tuple[tuple[Kind, tuple[Object, ...]], ...]


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Asks what there is, deletes it, and lets go once there is nothing."""
    namespace = view.get(NAMESPACE, key)
    if namespace is None or not objects.is_deleting(namespace):
        return Plan()
    if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
        return Plan()
    pods = AskList(POD, key[1])
    discovered, found_pods = view.answer(AskKinds()), view.answer(pods)
    if discovered is UNANSWERED or found_pods is UNANSWERED:
        return Plan(ask=(AskKinds(), pods))
    questions = [pods]
    if not isinstance(found_pods, str) and not found_pods:
        questions = [AskList(kind, key[1]) for kind in discovered.kinds if _is_content(kind)]
        missing = tuple(question for question in questions if view.answer(question) is UNANSWERED)
        if missing:
            return Plan(ask=missing)
    answers = [(question.kind, view.answer(question)) for question in questions]
    found = tuple((kind, answer) for kind, answer in answers if not isinstance(answer, str) and answer)
    errors = [f"{kind.resource}: {answer}" for kind, answer in answers if isinstance(answer, str)]
    errors += [_unexpected(namespace, kind) for kind, items in found if _is_overdue(namespace, items, now)]
    return _step(view, namespace, found, _texts(view, discovered.failures, found, errors), now)


def _step(view: View, namespace: Object, found: Found, texts: dict[str, tuple[str, str, str]], now: float) -> Plan:
    deletions = [
        DeleteCollection(kind, objects.name(namespace))
        for kind, items in found
        if not all(objects.is_deleting(item) for item in items)
    ]
    if deletions and not view.refusals():
        return plan(deletions, again=0.0)  # what remains after it is told then
    status = namespace.get("status") or {}
    listed = list(status.get("conditions") or ())
    for type, text in texts.items():
        listed = conditions.set(listed, type, *text, now)
    told = decorate.status(NAMESPACE, namespace, {**status, "phase": "Terminating", "conditions": listed})
    is_failing = any(text[0] == "True" for text in texts.values())
    if found or is_failing:
        return plan(told, deletions, again=AGAIN_SECONDS)
    if told:
        return plan(told, again=0.0)
    spec = {**namespace["spec"], "finalizers": [f for f in namespace["spec"]["finalizers"] if f != FINALIZER]}
    return plan([Update(NAMESPACE, {**namespace, "spec": spec}, "finalize")])


def _is_overdue(namespace: Object, items: Sequence[Object], now: float) -> bool:
    """Whether objects that nothing holds back should be gone by now: pods have their grace."""
    if not all(objects.is_deleting(item) for item in items) or any(map(objects.finalizers, items)):
        return False
    grace = max(item["metadata"].get("deletionGracePeriodSeconds") or 0 for item in items)
    return now - timestamps.parse(namespace["metadata"]["deletionTimestamp"]) > grace + AGAIN_SECONDS


def _unexpected(namespace: Object, kind: Kind) -> str:
    what = f"{kind.api_version if kind.group else '/' + kind.api_version}, Resource={kind.plural}"
    return f"unexpected items still remain in namespace: {objects.name(namespace)} for gvr: {what}"


def _is_content(kind: Kind) -> bool:
    return kind.namespaced and set(kind.verbs) >= NEEDED_VERBS


def _texts(
    view: View, failures: Sequence[tuple[str, str]], found: Found, errors: Sequence[str]
) -> dict[str, tuple[str, str, str]]:
    """(status, reason, message) of each condition."""
    errors = [*errors, *(outcome.error for outcome in view.refusals() if isinstance(outcome.write, DeleteCollection))]
    finalizers = Counter(name for _, items in found for item in items for name in objects.finalizers(item))
    discovery = ("False", "ResourcesDiscovered", "All resources successfully discovered")
    if failures:
        listed = ", ".join(f"{group}: {error}" for group, error in failures)
        text = f"Discovery failed for some groups, {len(failures)} failing: {listed}"
        discovery = ("True", "DiscoveryFailed", text)
    content = ("False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization")
    if errors:
        text = f"Failed to delete all resource types, {len(errors)} remaining: {', '.join(sorted(errors))}"
        content = ("True", "ContentDeletionFailed", text)
    remaining = ("False", "ContentRemoved", "All content successfully removed")
    if found:
        counts = sorted(f"{kind.plural}.{kind.group} has {len(items)} resource instances" for kind, items in found)
        remaining = ("True", "SomeResourcesRemain", f"Some resources are remaining: {', '.join(counts)}")
    kept = ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    if finalizers:
        listed = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        text = f"Some content in the namespace has finalizers remaining: {listed}"
        kept = ("True", "SomeFinalizersRemain", text)
    return {
        "NamespaceDeletionDiscoveryFailure": discovery,
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": content,
        "NamespaceContentRemaining": remaining,
        "NamespaceFinalizersRemaining": kept,
    }


def _postpone(old: Object, new: Object, now: float) -> float | None:
    """What is told of an end that is under way, by us as a rule, is no reason to look again at once."""
    return AGAIN_SECONDS if objects.is_deleting(old) and objects.is_deleting(new) else None


def _ending(view: View, pod: Object) -> Iterable[Key]:
    """The namespace of a pod that is gone, if the rest of it is to go too."""
    namespace = view.get(NAMESPACE, ("", pod["metadata"]["namespace"]))
    if namespace is not None and objects.is_deleting(namespace):
        yield objects.key(namespace)


def _is_gone(old: Object | None, new: Object | None) -> bool:
    return new is None


CONTROLLER = Controller(
    name="namespace-controller",
    parent=NAMESPACE,
    reconcile=reconcile,
    watches=(Watch(POD, _ending, matters=_is_gone),),
    postpone=_postpone,
    batch_seconds=BATCH_SECONDS,
)
