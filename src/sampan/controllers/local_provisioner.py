"""A claim of a class of local volumes gets a folder of the node that its pod goes to, and grows when it asks to.

A folder has no limit of its own: its size is what is written down. A block volume is a file there, of its size.

https://kubernetes.io/docs/concepts/storage/dynamic-provisioning/
"""

from collections.abc import Iterable

from sampan.control import decorate, volume_binding
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import NOTHING, Create, Key, Plan, Update, normal, plan, warning
from sampan.control.view import View
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.kind import Object
from sampan.kinds.parts import claim_rules, local_volumes, volume_match
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.meta import objects, quantity

ASKED = "volume.kubernetes.io/storage-provisioner"
MODES = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))
LOOK_AGAIN_SECONDS = 15.0


def reconcile(view: View, key: Key, now: float) -> Plan:
    """A volume for a claim that we were asked for, or more room for one that has a volume of ours."""
    claim = view.get(PERSISTENTVOLUMECLAIM, key)
    if claim is None or objects.is_deleting(claim):
        return NOTHING
    if volume_match.is_bound(claim):
        return _grow(view, claim)
    if claim["spec"].get("volumeName") or objects.annotations(claim).get(ASKED) != local_volumes.PROVISIONER:
        return NOTHING
    found = view.get(STORAGECLASS, ("", volume_match.storage_class(claim)))
    if found is None or found.get("provisioner") != local_volumes.PROVISIONER:
        return NOTHING
    if view.get(PERSISTENTVOLUME, ("", _name(claim))) is not None:
        return NOTHING  # the binder goes on
    return _provide(view, claim, found)


def _provide(view: View, claim: Object, known: Object) -> Plan:
    selected = objects.annotations(claim).get(volume_match.SELECTED_NODE, "")
    if not selected and volume_match.is_delayed(known):
        return NOTHING
    node = view.get(NODE, ("", selected)) if selected else None
    why = _refusal(claim, selected, node)
    if not why:
        assert node is not None
        begun = f'External provisioner is provisioning volume for claim "{"/".join(objects.key(claim))}"'
        done = normal("ProvisioningSucceeded", "Successfully provisioned volume {name}")
        failed = warning("ProvisioningFailed", _failure(known, "{error}"))
        made = Create(PERSISTENTVOLUME, _volume(claim, known, node), done=done, refused=failed, may_exist=True)
        return plan([made], events=[normal("Provisioning", begun)])
    told = [warning("ProvisioningFailed", _failure(known, why))]
    if selected and node is None:  # the scheduler looks for another one
        left = {n: v for n, v in objects.annotations(claim).items() if n != volume_match.SELECTED_NODE}
        return plan(decorate.metadata(PERSISTENTVOLUMECLAIM, claim, annotations=left), events=told)
    return plan(events=told, again=LOOK_AGAIN_SECONDS)


def _refusal(claim: Object, selected: str, node: Object | None) -> str:
    if not selected:
        return "configuration error, no node was specified"
    if node is None:
        return f'failed to get target node: node "{selected}" not found'
    if not local_volumes.root(node):
        return f'node "{selected}" has no folder for volumes'
    if not set(claim["spec"].get("accessModes") or ()) <= MODES:
        return "only the access modes ReadWriteOnce and ReadWriteOncePod are supported"
    if claim["spec"].get("selector") is not None:
        return "a claim's selector is not supported"
    return "data sources are not supported" if claim["spec"].get("dataSourceRef") is not None else ""


def _failure(known: Object, why: str) -> str:
    return f'failed to provision volume with StorageClass "{objects.name(known)}": {why}'


def _volume(claim: Object, known: Object, node: Object) -> Object:
    name, spec = _name(claim), claim["spec"]
    wanted: Object = {
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
        "accessModes": spec["accessModes"],
        "claimRef": volume_binding.reference(claim),
        "persistentVolumeReclaimPolicy": known.get("reclaimPolicy") or "Delete",
        "storageClassName": objects.name(known),
        "volumeMode": spec.get("volumeMode") or "Filesystem",
        "local": {"path": f"{local_volumes.root(node)}/{name}"},
        "nodeAffinity": local_volumes.affinity(_hostname(node)),
    }
    if known.get("mountOptions"):
        wanted["mountOptions"] = known["mountOptions"]
    metadata: Object = {"name": name, "annotations": {volume_match.PROVISIONED_BY: local_volumes.PROVISIONER}}
    if wanted["persistentVolumeReclaimPolicy"] == "Delete":
        metadata["finalizers"] = [local_volumes.FINALIZER]
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": wanted}


def _hostname(node: Object) -> str:
    return objects.labels(node).get(local_volumes.HOSTNAME) or objects.name(node)


def _name(claim: Object) -> str:
    return f"pvc-{objects.uid(claim)}"


def _grow(view: View, claim: Object) -> Plan:
    """First the volume, then what the claim has."""
    volume = view.get(PERSISTENTVOLUME, ("", claim["spec"]["volumeName"]))
    if volume is None or objects.annotations(volume).get(volume_match.PROVISIONED_BY) != local_volumes.PROVISIONER:
        return NOTHING
    status = claim.get("status") or {}
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    has = quantity.parse((status.get("capacity") or {}).get("storage") or "0")
    if status.get("phase") != "Bound" or claim_rules.size(claim["spec"]).nanos <= has.nanos:
        return NOTHING
    if quantity.parse(volume["spec"]["capacity"]["storage"]).nanos < claim_rules.size(claim["spec"]).nanos:
        grown = {**volume, "spec": {**volume["spec"], "capacity": {**volume["spec"]["capacity"], "storage": wanted}}}
        begun = normal("Resizing", f"External resizer is resizing volume {objects.name(volume)}")
        return plan([Update(PERSISTENTVOLUME, grown)], events=[begun])
    reached = {**status, "capacity": {**(status.get("capacity") or {}), "storage": wanted}}
    write = Update(
        PERSISTENTVOLUMECLAIM,
        {**claim, "status": reached},
        "status",
        done=normal("VolumeResizeSuccessful", "Resize volume succeeded"),
    )
    return plan([write])


def _of_volume(view: View, volume: Object) -> Iterable[Key]:
    reference = volume["spec"].get("claimRef") or {}
    if reference.get("name"):
        yield reference.get("namespace") or "", reference["name"]


def _of_class(view: View, changed: Object) -> Iterable[Key]:
    for claim in view.indexed(PERSISTENTVOLUMECLAIM, "status.phase", "Pending"):
        if volume_match.storage_class(claim) == objects.name(changed):
            yield objects.key(claim)


CONTROLLER = Controller(
    name="local-volume-provisioner",
    component=local_volumes.PROVISIONER,
    parent=PERSISTENTVOLUMECLAIM,
    reconcile=reconcile,
    watches=(Watch(PERSISTENTVOLUME, _of_volume), Watch(STORAGECLASS, _of_class)),
    reads=(NODE,),
    indexes=(Index(PERSISTENTVOLUMECLAIM, "status.phase"),),
)
