"""A CSI volume is attached to the nodes of the pods that use it: a VolumeAttachment each, for the driver's attacher.

What the attacher has done is told to the node in its status, and to the pods by an event. Attachments of other names
than this controller gives are somebody else's, and are left alone.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume-attachment-v1/
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

from sampan.control import own
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import NOTHING, Create, Delete, Event, Key, Patch, Plan, normal, plan, warning
from sampan.control.view import View
from sampan.kinds.core import pod as pods
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_claims, volume_match
from sampan.kinds.storage.csi_driver import CSIDRIVER
from sampan.kinds.storage.volume_attachment import VOLUMEATTACHMENT
from sampan.meta import objects

ELSEWHERE = "Volume is already exclusively attached to one node and can't be attached to another"
_NODE, _VOLUME = "spec.nodeName", "spec.source.persistentVolumeName"
_NAME = re.compile(r"csi-[0-9a-f]{64}")
_SEVERAL = frozenset(("ReadOnlyMany", "ReadWriteMany"))

Wanted = Mapping[str, tuple[Object, list[Object]]]  # by the volume's name: the volume, and the pods that use it


def reconcile(view: View, key: Key, now: float) -> Plan:
    """What a node lacks is attached, what none of its pods uses is detached."""
    name = key[1]
    node = view.get(NODE, key)
    there = {_volume(a): a for a in _made(view, _NODE, name) if _volume(a)}
    wanted = _wanted(view, name) if node is not None else {}
    if not there and not wanted:
        return plan(_told(node, [])) if node is not None else NOTHING
    creates, events = [], list[Event]()
    for each in sorted(wanted.keys() - there.keys()):
        volume, users = wanted[each]
        if _is_exclusive(volume) and _made(view, _VOLUME, each):
            others = _users_elsewhere(view, volume)
            events += [_elsewhere(volume, user, others) for user in users]
        else:
            creates.append(Create(VOLUMEATTACHMENT, _attachment(volume, name), may_exist=True))
    deletes = [
        _detach(there[each]) for each in sorted(there.keys() - wanted.keys()) if _may_go(node, there[each], view)
    ]
    attached = [wanted[each] for each in sorted(wanted) if each in there and _is_attached(there[each])]
    known = {entry.get("name", "") for entry in _attached(node)}
    for volume, users in attached:
        if _device(volume) not in known:
            text = f'AttachVolume.Attach succeeded for volume "{objects.name(volume)}" '
            events += [normal("SuccessfulAttachVolume", text, own.typed(user, POD)) for user in users]
    for each in sorted(wanted.keys() & there.keys()):
        volume, users = wanted[each]
        if why := _attach_error(there[each]):
            text = f'AttachVolume.Attach failed for volume "{objects.name(volume)}" : {why}'
            events += [warning("FailedAttachVolume", text, own.typed(user, POD)) for user in users]
    told = _told(node, [_device(volume) for volume, _ in attached]) if node is not None else ()
    return plan(told, (*creates, *deletes), events=events)


def _made(view: View, index: str, value: str) -> list[Object]:
    """The attachments of this controller, by their names, about a node or a volume."""
    return [a for a in view.indexed(VOLUMEATTACHMENT, index, value) if _NAME.fullmatch(objects.name(a))]


def _wanted(view: View, node: str) -> Wanted:
    """The CSI volumes of the node's pods that have to be attached."""
    found: dict[str, tuple[Object, list[Object]]] = {}
    for pod in view.indexed(POD, _NODE, node):
        if pods.is_terminal(pod):
            continue
        for _, name in pod_claims.of(pod):
            claim = view.get(PERSISTENTVOLUMECLAIM, (objects.namespace(pod), name))
            if claim is None or not volume_match.is_bound(claim):
                continue
            volume = view.get(PERSISTENTVOLUME, ("", claim["spec"]["volumeName"]))
            if volume is not None and _is_attachable(view, volume):
                found.setdefault(objects.name(volume), (volume, []))[1].append(pod)
    return found


def _users_elsewhere(view: View, volume: Object) -> list[Object]:
    """Pods on the nodes that the volume is attached to."""
    claim = volume["spec"].get("claimRef") or {}
    nodes = [a["spec"].get("nodeName") for a in _made(view, _VOLUME, objects.name(volume))]
    found = [pod for node in nodes for pod in view.indexed(POD, _NODE, str(node))]
    return [
        pod
        for pod in found
        if objects.namespace(pod) == claim.get("namespace")
        and claim.get("name") in pod_claims.names(pod)
        and not pods.is_terminal(pod)
    ]


def _elsewhere(volume: Object, pod: Object, others: Iterable[Object]) -> Event:
    names = ", ".join(map(objects.name, others))
    why = f"Volume is already used by pod(s) {names}" if names else ELSEWHERE
    text = f'Multi-Attach error for volume "{objects.name(volume)}" {why}'
    return warning("FailedAttachVolume", text, own.typed(pod, POD))


def _is_attachable(view: View, volume: Object) -> bool:
    source = volume["spec"].get("csi")
    if not source:
        return False
    driver = view.get(CSIDRIVER, ("", source["driver"]))
    return driver is None or (driver.get("spec") or {}).get("attachRequired") is not False


def _is_exclusive(volume: Object) -> bool:
    return _SEVERAL.isdisjoint(volume["spec"].get("accessModes") or ())


def _attachment(volume: Object, node: str) -> Object:
    source = volume["spec"]["csi"]
    digest = hashlib.sha256(f"{source['volumeHandle']}{source['driver']}{node}".encode()).hexdigest()
    spec = {"attacher": source["driver"], "nodeName": node, "source": {"persistentVolumeName": objects.name(volume)}}
    kind = {"apiVersion": VOLUMEATTACHMENT.api_version, "kind": VOLUMEATTACHMENT.name}
    return {**kind, "metadata": {"name": f"csi-{digest}"}, "spec": spec}


def _detach(attachment: Object) -> Delete:
    return Delete(VOLUMEATTACHMENT, objects.key(attachment), objects.uid(attachment))


def _may_go(node: Object | None, attachment: Object, view: View) -> bool:
    """Not while the node says that it has it mounted."""
    if objects.is_deleting(attachment):
        return False
    volume = view.get(PERSISTENTVOLUME, ("", _volume(attachment)))
    if node is None or volume is None or not volume["spec"].get("csi"):
        return True
    return _device(volume) not in ((node.get("status") or {}).get("volumesInUse") or ())


def _volume(attachment: Object) -> str:
    return str((attachment["spec"].get("source") or {}).get("persistentVolumeName") or "")


def _is_attached(attachment: Object) -> bool:
    return bool((attachment.get("status") or {}).get("attached"))


def _attach_error(attachment: Object) -> str:
    """What the attacher says went wrong, while it is not attached."""
    status = attachment.get("status") or {}
    return "" if status.get("attached") else str((status.get("attachError") or {}).get("message") or "")


def _device(volume: Object) -> str:
    """The volume's name in a node's status."""
    source = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{source['driver']}^{source['volumeHandle']}"


def _attached(node: Object | None) -> list[Object]:
    return list(((node or {}).get("status") or {}).get("volumesAttached") or ())


def _told(node: Object | None, devices: Iterable[str]) -> list[Patch]:
    """What is attached, in the node's status."""
    wanted = [{"name": name, "devicePath": ""} for name in devices]
    if node is None or [entry.get("name", "") for entry in _attached(node)] == [entry["name"] for entry in wanted]:
        return []
    patch = {"status": {"volumesAttached": wanted or None}}
    return [Patch(NODE, objects.key(node), patch, subresource="status")]


def _of_pod(view: View, pod: Object) -> Iterable[Key]:
    node = (pod.get("spec") or {}).get("nodeName")
    if node and pod_claims.names(pod):
        yield "", node


def _of_attachment(view: View, attachment: Object) -> Iterable[Key]:
    """Its node, and those on which somebody waits that it goes."""
    yield "", str(attachment["spec"].get("nodeName") or "")
    volume = view.get(PERSISTENTVOLUME, ("", _volume(attachment)))
    claim = (volume or {}).get("spec", {}).get("claimRef") or {}
    for pod in view.list(POD, claim["namespace"]) if claim.get("namespace") else ():
        if claim.get("name") in pod_claims.names(pod):
            yield from _of_pod(view, pod)


def _matters(old: Object | None, new: Object | None) -> bool:
    """A node comes or goes, or its status says otherwise what is attached or in use: not its signs of life."""
    return old is None or new is None or _said(old) != _said(new)


def _said(node: Object) -> tuple[object, ...]:
    status = node.get("status") or {}
    return status.get("volumesAttached"), status.get("volumesInUse")


CONTROLLER = Controller(
    name="attachdetach-controller",
    parent=NODE,
    reconcile=reconcile,
    matters=_matters,
    watches=(Watch(POD, _of_pod), Watch(VOLUMEATTACHMENT, _of_attachment)),
    reads=(PERSISTENTVOLUMECLAIM, PERSISTENTVOLUME, CSIDRIVER),
    indexes=(
        Index(POD, _NODE),
        Index(VOLUMEATTACHMENT, _NODE),
        Index(VOLUMEATTACHMENT, _VOLUME),
    ),
)
