"""A local volume that nobody claims any more is deleted when its node has taken away the folder.

Also one that somebody deletes before its claim stays until then: a finalizer sees to that.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#delete
"""

from collections.abc import Iterable

from sampan.control import own
from sampan.control.controller import Controller, Watch
from sampan.control.plan import NOTHING, Delete, Key, Patch, Plan, plan
from sampan.control.view import View
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.kind import Object
from sampan.kinds.parts import local_volumes, volume_match
from sampan.meta import objects

ASKED = "sampan.dev/emptying"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Asks the node once; what it no longer lists is gone, as is a node that is no more."""
    volume = view.get(PERSISTENTVOLUME, key)
    if volume is None or objects.annotations(volume).get(volume_match.PROVISIONED_BY) != local_volumes.PROVISIONER:
        return NOTHING
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
        return _let_go(volume)
    if (volume.get("status") or {}).get("phase") != "Released":
        return NOTHING
    name, is_asked = objects.name(volume), ASKED in objects.annotations(volume)
    node = _node(view, volume)
    if node is None or (is_asked and name not in local_volumes.over(node)):
        gone = Delete(PERSISTENTVOLUME, key, objects.uid(volume))
        return _let_go(volume) if objects.is_deleting(volume) else plan([gone])
    if is_asked:
        return NOTHING
    noted = {"metadata": {"annotations": {ASKED: objects.name(node)}}}
    return plan(
        [Patch(NODE, objects.key(node), local_volumes.mark(name, is_over=True))],
        [Patch(PERSISTENTVOLUME, key, noted, uid=objects.uid(volume))],
    )


def _let_go(volume: Object) -> Plan:
    """Nothing of ours keeps it any more."""
    if local_volumes.FINALIZER not in objects.finalizers(volume):
        return NOTHING
    return plan([own.without_finalizers(PERSISTENTVOLUME, volume, (local_volumes.FINALIZER,))])


def _node(view: View, volume: Object) -> Object | None:
    hostname = local_volumes.node_name(volume)
    node = view.get(NODE, ("", hostname))
    if node is not None:
        return node
    return next((n for n in view.list(NODE) if objects.labels(n).get(local_volumes.HOSTNAME) == hostname), None)


def _of_node(view: View, node: Object) -> Iterable[Key]:
    for name in local_volumes.over(node):
        yield "", name


def _matters(old: Object | None, new: Object | None) -> bool:
    """Whether folders are gone, or the node."""
    before = local_volumes.over(old) if old is not None else []
    return bool(before) and (new is None or local_volumes.over(new) != before)


CONTROLLER = Controller(
    name="local-volume-reclaimer",
    component=local_volumes.PROVISIONER,
    parent=PERSISTENTVOLUME,
    reconcile=reconcile,
    watches=(Watch(NODE, _of_node, _matters),),
)
