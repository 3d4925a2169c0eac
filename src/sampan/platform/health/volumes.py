"""Volumes: PersistentVolumeClaims that nothing fits, and PersistentVolumes."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.meta import objects
from sampan.platform.health import words
from sampan.platform.health.at import told
from sampan.platform.health.lookup import Lookup, events, warnings
from sampan.platform.health.verdict import FAILED, HEALTHY, PROGRESSING, STUCK, Verdict, about

DEFAULT = "storageclass.kubernetes.io/is-default-class"


def claim(obj: Mapping[str, Any], look: Lookup) -> Verdict:
    """A PersistentVolumeClaim."""
    phase = (obj.get("status") or {}).get("phase")
    if phase == "Bound":
        return about(obj, HEALTHY, "Bound", f"is bound to {obj['spec'].get('volumeName')}")
    if phase == "Lost":
        message = f"has lost its volume {obj['spec'].get('volumeName')}: it does not exist any more"
        return about(obj, FAILED, "Lost", message, next=("restore the volume, or make the claim anew",))
    name = obj["spec"].get("storageClassName")
    classes = look.list(STORAGECLASS)
    if name:
        return _of_class(obj, str(name), look)
    defaults = sorted(objects.name(c) for c in classes if objects.annotations(c).get(DEFAULT) == "true")
    shown = _shown(obj, look)
    size = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage", "")
    message = f"has no storage class, and there is no volume that fits ({size} {_modes(obj)})"
    known = sorted(objects.name(c) for c in classes)
    steps: tuple[str, ...] = (f"make a PersistentVolume of at least {size} with {_modes(obj)}",)
    if known:
        use = (defaults or known)[0]
        steps = (f"make the claim anew with storageClassName: {use} (its class can't be changed)", *steps)
    return about(obj, STUCK, "NoVolume", message, evidence=shown, next=steps)


def volume(obj: Mapping[str, Any], look: Lookup) -> Verdict:
    """A PersistentVolume."""
    status = obj.get("status") or {}
    phase = str(status.get("phase", ""))
    if phase == "Failed":
        text = f"could not be reclaimed: {status.get('message', '')}"
        return about(
            obj,
            FAILED,
            "ReclaimFailed",
            text,
            evidence=_shown(obj, look),
            next=(f"kubectl delete pv {objects.name(obj)}",),
        )
    if phase == "Released":
        patch = f'kubectl patch pv {objects.name(obj)} --type=merge -p \'{{"spec":{{"claimRef":null}}}}\''
        return about(obj, HEALTHY, "Released", f"is kept after its claim is gone; to use it again: {patch}")
    if phase in ("Available", "Bound"):
        return about(obj, HEALTHY, phase, f"is {phase.lower()}")
    return about(obj, PROGRESSING, phase or "Pending", "is not available yet")


def _of_class(obj: Mapping[str, Any], name: str, look: Lookup) -> Verdict:
    found = look.get(STORAGECLASS, name)
    shown = _shown(obj, look)
    is_hidden = look.is_hidden(STORAGECLASS, name=name)
    if found is None and not _fitting(obj, name, look) and not is_hidden and not look.is_hidden(PERSISTENTVOLUME):
        known = sorted(objects.name(c) for c in look.list(STORAGECLASS))
        better = words.nearest(name, known)
        message = f"names the storage class {name}, which does not exist{words.meant(better)}"
        has = f"there are {words.listed(known)}" if known else "there is none at all"
        steps: tuple[str, ...] = (
            f"make the claim anew with another storageClassName: {has}",
            f"or make a StorageClass {name}",
        )
        return about(obj, STUCK, "StorageClassMissing", message, evidence=shown, next=steps)
    if (found or {}).get("volumeBindingMode") == "WaitForFirstConsumer" and not _is_wanted(obj):
        return about(
            obj, PROGRESSING, "WaitForFirstConsumer", "waits for a pod that uses it, as its storage class says"
        )
    if shown:
        message = f"gets no volume of the storage class {name}: {shown[0].text}"
        steps = (f"kubectl describe storageclass {name}", "look at the logs of its provisioner")
        return about(obj, STUCK, "ProvisioningFailed", message, evidence=shown, next=steps)
    by = (found or {}).get("provisioner") or "a provisioner"
    if by == "kubernetes.io/no-provisioner":
        message = f"fits no volume, and nobody makes one for the storage class {name}"
        return about(obj, STUCK, "NoVolume", message, next=("make a PersistentVolume of that class that fits",))
    waited = words.since(obj, look.now)
    if waited > 60:
        message = f"waits for {by} to make a volume since {words.duration(waited)}"
        steps = (f"look whether {by} runs: kubectl get pods -A",)
        return about(obj, STUCK, "WaitsForProvisioner", message, next=steps)
    return about(obj, PROGRESSING, "Provisioning", f"waits for {by} to make a volume")


def _fitting(obj: Mapping[str, Any], name: str, look: Lookup) -> bool:
    """Whether there is a volume of that class, which needs no StorageClass object."""
    found = look.list(PERSISTENTVOLUME)
    return any(
        v["spec"].get("storageClassName") == name and (v.get("status") or {}).get("phase") == "Available" for v in found
    )


def _is_wanted(obj: Mapping[str, Any]) -> bool:
    return "volume.kubernetes.io/selected-node" in objects.annotations(obj)


def _shown(obj: Mapping[str, Any], look: Lookup) -> tuple[Any, ...]:
    found = warnings(look, obj) or [e for e in events(look, obj) if e.get("reason") == "FailedBinding"]
    return tuple(told(event, look) for event in found[:1])


def _modes(obj: Mapping[str, Any]) -> str:
    return " ".join(obj["spec"].get("accessModes") or ())
