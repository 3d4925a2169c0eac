"""A pod gets the ResourceClaims that are made for it alone; one that nobody scheduled gets its claims reserved.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#resourceclaims-templates
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sampan.control import own
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Create, Key, Patch, Plan, Update, Write, plan, warning
from sampan.control.view import View
from sampan.kinds.core import pod as pods
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_devices
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.kinds.resource.resource_claim_template import RESOURCECLAIMTEMPLATE
from sampan.meta import objects

NAMED = "spec.resourceClaims.resourceClaimName"
MADE_FROM = "spec.resourceClaims.resourceClaimTemplateName"
LONGEST_BASE = 57
"""A name has 63 characters, of which six are a hyphen and what is left to chance."""
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 1000.0


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Makes what is missing, then tells the pod its names, then reserves. Memory: how often in a row it could not."""
    pod = view.get(POD, key)
    if pod is None or not pods.is_active(pod):
        return Plan(memory={})
    creations: list[Write] = []
    names: dict[str, str] = {}
    for entry in pod_devices.entries(pod):
        if not _is_wanting(view, pod, entry):
            continue
        claim = _found(view, pod, entry)
        if claim is not None:
            names[entry["name"]] = objects.name(claim)
            continue
        template = view.get(RESOURCECLAIMTEMPLATE, (key[0], entry["resourceClaimTemplateName"]))
        if template is None:
            return _without_template(view, entry, creations)
        text = f"PodResourceClaim {entry['name']}: create ResourceClaim : {{error}}"
        told = warning("FailedResourceClaimCreation", text)
        creations.append(Create(RESOURCECLAIM, _claim(pod, entry, template), refused=told))
    if creations:
        return replace(plan(creations), memory={})
    if names:
        return replace(plan([_named(pod, names)]), memory={})
    return replace(plan(_reservations(view, pod)), memory={})


def _is_wanting(view: View, pod: Object, entry: Object) -> bool:
    """Whether the pod has not got what the entry says, or has lost it."""
    if not pod_devices.is_made(entry):
        return False
    name = pod_devices.name_of(pod, entry)
    if name == pod_devices.NOT_NEEDED:
        return False
    claim = view.get(RESOURCECLAIM, (objects.namespace(pod), name)) if name else None
    return claim is None or not pod_devices.is_for(pod, claim)


def _found(view: View, pod: Object, entry: Object) -> Object | None:
    """What was made for the entry though the pod does not tell of it yet; of several the first."""
    for claim in view.owned(pod, RESOURCECLAIM):
        made_for = objects.annotations(claim).get(pod_devices.CLAIM_ANNOTATION)
        if made_for == entry["name"]:
            return claim
        if made_for is None and objects.name(claim) == f"{objects.name(pod)}-{entry['name']}":
            return claim
    return None


def _without_template(view: View, entry: Object, creations: Sequence[Write]) -> Plan:
    name, failures = entry["resourceClaimTemplateName"], view.memory.get("failures", 0)
    why = f'resource claim template "{name}": resourceclaimtemplate.resource.k8s.io "{name}" not found'
    told = warning("FailedResourceClaimCreation", f"PodResourceClaim {entry['name']}: {why}")
    pause = min(FIRST_PAUSE_SECONDS * 2 ** min(failures, 64), LONGEST_PAUSE_SECONDS)
    return replace(plan(creations, events=(told,), again=pause), memory={"failures": failures + 1})


def _claim(pod: Object, entry: Object, template: Object) -> Object:
    described = template["spec"].get("metadata") or {}
    annotations = {**(described.get("annotations") or {}), pod_devices.CLAIM_ANNOTATION: entry["name"]}
    metadata: Object = {
        "generateName": _base(objects.name(pod), entry["name"]),
        "namespace": objects.namespace(pod),
        "annotations": annotations,
        "ownerReferences": [objects.owner_reference(own.typed(pod, POD))],
    }
    if described.get("labels"):
        metadata["labels"] = described["labels"]
    kind = {"apiVersion": RESOURCECLAIM.api_version, "kind": RESOURCECLAIM.name}
    return {**kind, "metadata": metadata, "spec": template["spec"]["spec"]}


def _base(pod: str, entry: str) -> str:
    """Of a name that gets too long, both parts are cut, each by its share."""
    base = f"{pod}-{entry}-"
    if len(base) <= LONGEST_BASE:
        return base
    return f"{pod[: len(pod) * LONGEST_BASE // len(base)]}-{entry[: len(entry) * LONGEST_BASE // len(base)]}"


def _named(pod: Object, names: dict[str, str]) -> Patch:
    """The pod is told the names of what was made for it."""
    statuses = [{"name": entry, "resourceClaimName": name} for entry, name in names.items()]
    patch = {"metadata": {"uid": objects.uid(pod)}, "status": {"resourceClaimStatuses": statuses}}
    return Patch(POD, objects.key(pod), patch, "strategic", "status")


def _reservations(view: View, pod: Object) -> Iterable[Write]:
    """A pod that somebody else has put on a node: what is allocated becomes its own, too."""
    if not pod["spec"].get("nodeName"):
        return
    for entry in pod_devices.entries(pod):
        name = pod_devices.name_of(pod, entry)
        claim = view.get(RESOURCECLAIM, (objects.namespace(pod), name)) if name else None
        if claim is None or (pod_devices.is_made(entry) and not pod_devices.is_for(pod, claim)):
            return
        if pod_devices.allocation(claim) is not None and not pod_devices.is_reserved(pod, claim):
            reserved = [*pod_devices.reservations(claim), pod_devices.reservation(pod)]
            yield Update(RESOURCECLAIM, {**claim, "status": {**claim["status"], "reservedFor": reserved}}, "status")


def _matters(old: Object | None, new: Object | None) -> bool:
    """Pods that are there and claim something."""
    return new is not None and bool(new["spec"].get("resourceClaims"))


def _of_claim(view: View, claim: Object) -> Iterable[Key]:
    """The pods that name it."""
    for pod in view.indexed(POD, NAMED, objects.name(claim)):
        if objects.namespace(pod) == objects.namespace(claim):
            yield objects.key(pod)


def _of_template(view: View, template: Object) -> Iterable[Key]:
    """The pods that wait for it."""
    for pod in view.indexed(POD, MADE_FROM, objects.name(template)):
        if objects.namespace(pod) == objects.namespace(template):
            yield objects.key(pod)


CONTROLLER = Controller(
    name="resource-claim-controller",
    component="resource_claim",
    parent=POD,
    reconcile=reconcile,
    owns=(RESOURCECLAIM,),
    watches=(Watch(RESOURCECLAIM, _of_claim), Watch(RESOURCECLAIMTEMPLATE, _of_template, lambda old, new: old is None)),
    indexes=(Index(POD, NAMED), Index(POD, MADE_FROM)),
    workers=10,
    matters=_matters,
)
