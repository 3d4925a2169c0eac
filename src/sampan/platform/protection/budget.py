"""A PodUnavailableBudget: which pods it is about, and what it protects them from.

https://openkruise.io/docs/user-manuals/podunavailablebudget
"""

from pathlib import Path

from sampan.control.view import View
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects, selectors
from sampan.platform import definitions

DEFINITIONS = definitions.load(Path(__file__).parent / "definitions")
PODUNAVAILABLEBUDGET = definitions.kind(DEFINITIONS[0])

DELETE, EVICT, UPDATE, RESIZE = "DELETE", "EVICT", "UPDATE", "RESIZE"
USUAL = (DELETE, EVICT, UPDATE)
OPERATIONS = "kruise.io/pub-protect-operations"
REPLICAS = "pub.kruise.io/protect-total-replicas"
NO_PROTECTION = "pub.kruise.io/no-protect"
UNAVAILABLE = "unavailable-pod.fluid.io/"
"""A pod with a label that begins so is not available, whatever its conditions say."""


def of(p: Object, budgets: list[Object], view: View) -> Object | None:
    """The budget that the pod is under; the first by name if there are several."""
    return next((budget for budget in budgets if covers(budget, p, view)), None)


def covers(budget: Object, p: Object, view: View) -> bool:
    """Whether the budget is about the pod. An empty selector is about none, and so is one that cannot be read."""
    spec = budget.get("spec") or {}
    if (target := spec.get("targetRef")) is not None:
        return any(is_reference(target, owner) for owner in owners(p, view))
    try:
        selector = selectors.from_label_selector(spec.get("selector"))
    except ValueError:
        return False
    return not selector.is_empty and selector.matches(objects.labels(p))


def is_reference(target: Object, owner: Object) -> bool:
    """Whether both name the same workload, in whatever version."""
    first, second = ((ref.get("apiVersion") or "").rpartition("/")[0] for ref in (target, owner))
    return first == second and (target.get("kind"), target.get("name")) == (owner.get("kind"), owner.get("name"))


def owners(p: Object, view: View) -> list[Object]:
    """The pod's controller, and the controller of that if it is a ReplicaSet."""
    direct = objects.controller_of(p)
    if direct is None:
        return []
    if direct.get("kind") != REPLICASET.name:
        return [direct]
    found = view.get(REPLICASET, (objects.namespace(p), direct["name"]))
    above = objects.controller_of(found) if found is not None and objects.uid(found) == direct.get("uid") else None
    return [direct, above] if above is not None else [direct]


def is_available(p: Object) -> bool:
    """Whether the pod counts: it runs, is ready, and runs what it should."""
    is_running = (p.get("status") or {}).get("phase") == "Running" and pod.is_ready(p)
    return is_running and not is_marked(p) and not objects.is_deleting(p) and _is_consistent(p)


def is_marked(p: Object) -> bool:
    """Whether a label takes the pod out of what is available."""
    return any(label.startswith(UNAVAILABLE) for label in objects.labels(p))


def _is_consistent(p: Object) -> bool:
    """Whether containers whose images are named by digest run those."""
    running = {
        each["name"]: each.get("imageID") or "" for each in (p.get("status") or {}).get("containerStatuses") or ()
    }
    named = {each["name"]: each.get("image") or "" for each in p["spec"].get("containers") or ()}
    digests = {name: image.rpartition("@")[2] for name, image in named.items() if "@sha256:" in image}
    return all(running.get(name, "").rpartition("@")[2] == digest for name, digest in digests.items())


def protects(budget: Object, operation: str) -> bool:
    """Whether it is said to, or if nothing is said, whether it usually does."""
    said = objects.annotations(budget).get(OPERATIONS)
    return operation in (said.split(",") if said else USUAL)


def total(budget: Object) -> int | None:
    """How many pods there should be, where an annotation says it."""
    return intstr.whole(objects.annotations(budget).get(REPLICAS) or "")


def recorded(budget: Object) -> dict[str, str]:
    """Pods whose disruption was admitted, and when."""
    state = budget.get("status") or {}
    return {**(state.get("unavailablePods") or {}), **(state.get("disruptedPods") or {})}
