"""Delete protection: an object that says so by its label is not deleted, or not while there is something in it.

The label is policy.kruise.io/delete-protection. `Always` protects an object of any kind until the label is taken away,
`Cascading` a namespace with pods at work or bound claims, a definition with objects, a workload with replicas. A value
that is neither, in whatever case, protects as `Always` does: somebody meant something by it. What is being deleted
already goes on.

Templates and owners hand labels down (to pods, jobs, endpoints). So but for the kinds that are named here, only what
nobody controls is protected, and not from components of the cluster.

https://openkruise.io/docs/user-manuals/deletionprotection
"""

from collections.abc import Callable
from typing import Any

from sampan.control.plan import AskList
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.platform import definitions
from sampan.platform.protection import components
from sampan.platform.review import ALLOWED, Attempt, Refusal, Review, Reviewer

LABEL = "policy.kruise.io/delete-protection"
ALWAYS, CASCADING = "Always", "Cascading"

Told = str | Review | None  # what is still in an object, as a refusal ends; or a question


def review(attempt: Attempt, view: View) -> Review:
    """Whether the object may be deleted."""
    obj = attempt.old
    if obj is None or attempt.subresource or objects.is_deleting(obj):
        return ALLOWED
    said = objects.labels(obj).get(LABEL)
    if not said or not _is_own(attempt, obj):
        return ALLOWED
    wish = next((value for value in (ALWAYS, CASCADING) if value.lower() == said.lower()), said)
    if wish != CASCADING:
        return _refused(attempt, wish)
    if attempt.resource not in _CONTENTS:
        return ALLOWED
    found = _CONTENTS[attempt.resource](obj, view)
    if isinstance(found, Review):
        return found
    return _refused(attempt, wish, found) if found else ALLOWED


def _is_own(attempt: Attempt, obj: Object) -> bool:
    """Whether the label is meant for the object itself, as far as can be told."""
    if attempt.resource in _NAMED:
        return True
    return objects.controller_of(obj) is None and not components.is_component(attempt.user)


def _refused(attempt: Attempt, wish: str, contents: str = "") -> Review:
    """The refusal in upstream's words; how to lift it, as a warning."""
    text = f"forbidden by ResourcesProtectionDeletion for {LABEL}={wish}"
    group, plural = attempt.resource
    what = f"{plural}.{group}" if group else plural
    where = f" -n {attempt.namespace}" if attempt.namespace and plural != "namespaces" else ""
    mend = f"to delete it all the same, take the label away first: kubectl label {what} {attempt.name}{where} {LABEL}-"
    odd = () if wish in (ALWAYS, CASCADING) else (f"{LABEL}={wish} is taken as {ALWAYS}: it is not {CASCADING} either",)
    return Review(Refusal(f"{text} and {contents}" if contents else text), (*odd, mend))


def _of_namespace(obj: Object, view: View) -> Told:
    name = objects.name(obj)
    active = sum(pod.is_active(p) for p in view.list(POD, name))
    if active:
        return f"active pods {active}>0"
    bound = sum(_is_bound(claim) for claim in view.list(PERSISTENTVOLUMECLAIM, name))
    return f'"Bound" status pvc {bound}>0' if bound else None


def _is_bound(claim: Object) -> bool:
    return not objects.is_deleting(claim) and (claim.get("status") or {}).get("phase") == "Bound"


def _of_definition(obj: Object, view: View) -> Told:
    """How many objects there are of the kind that it defines."""
    try:
        kind = definitions.kind(obj)
    except LookupError:
        return None
    asked = AskList(kind, "")
    found: Any = view.answer(asked)
    if found is UNANSWERED:
        return Review(ask=(asked,))
    if isinstance(found, str):
        named = f"{kind.api_version}, Kind={kind.name}"
        return Review(Refusal(f"failed to list CRs of {named}: {found}"))
    active = sum(not objects.is_deleting(each) for each in found)
    return f"active CRs {active}>0" if active else None


def _of_workload(obj: Object, view: View) -> Told:
    replicas = (obj.get("spec") or {}).get("replicas")
    return f"replicas {replicas}>0" if isinstance(replicas, int) and replicas > 0 else None


def _of_daemon_set(obj: Object, view: View) -> Told:
    wanted = (obj.get("status") or {}).get("desiredNumberScheduled") or 0
    return f"replicas {wanted}>0" if wanted > 0 else None


_WORKLOADS = (
    ("", "replicationcontrollers"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "replicasets"),
    ("apps.kruise.io", "clonesets"),
    ("apps.kruise.io", "statefulsets"),
    ("apps.kruise.io", "uniteddeployments"),
    ("argoproj.io", "rollouts"),
)
_CONTENTS: dict[tuple[str, str], Callable[[Object, View], Told]] = {
    ("", "namespaces"): _of_namespace,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _of_definition,
    **dict.fromkeys(_WORKLOADS, _of_workload),
    ("apps", "daemonsets"): _of_daemon_set,
}
_NAMED = {*_CONTENTS, ("batch", "cronjobs"), ("", "services"), ("networking.k8s.io", "ingresses")}

REVIEWER = Reviewer(
    name="delete-protection",
    rules=({"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "*"},),
    review=review,
    reads=(POD, PERSISTENTVOLUMECLAIM),
)
