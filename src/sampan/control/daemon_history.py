"""Daemon history: the ControllerRevisions of a DaemonSet, the one of its present template among them, and their number.

https://kubernetes.io/docs/tasks/manage-daemon/rollback-daemon-set/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.control import revisions
from sampan.control.plan import Delete, Patch, Update, Write
from sampan.control.view import View
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects

STYLE = revisions.Style(DAEMONSET, revisions.POD_LABEL)


@dataclass(frozen=True, slots=True)
class History:
    """`code` is what pods of the present template are labelled with. `collisions` names of new revisions were taken."""

    code: str
    old: tuple[Object, ...]
    collisions: int
    writes: tuple[Write, ...] = ()


def unlabelled(owned: Iterable[Object]) -> list[Write]:
    """A revision without a code takes its name for one."""
    bare = [r for r in owned if STYLE.label not in objects.labels(r)]
    return [Update(CONTROLLERREVISION, _labelled(r, objects.name(r))) for r in bare]


def read(view: View, daemon_set: Object, owned: Sequence[Object]) -> History:
    """Which revision is the present one, once `writes` are done; all of them have a code."""
    count = (daemon_set.get("status") or {}).get("collisionCount", 0)
    settled = revisions.settle(view, STYLE, daemon_set, owned, count)
    same = revisions.matching(owned, daemon_set["spec"]["template"])
    old = tuple(r for r in owned if r not in same)
    code = objects.labels(settled.revision).get(STYLE.label, "")
    return History(code, old, settled.collisions, settled.writes)


def twins(daemon_set: Object, owned: Sequence[Object], pods: Iterable[Object]) -> tuple[list[Write], list[Write]]:
    """Of several revisions of the present template only the highest stays: pods take its code before the others go."""
    *others, kept = revisions.matching(owned, daemon_set["spec"]["template"]) or [{}]
    code = objects.labels(kept).get(STYLE.label) if kept else ""
    codes = {objects.labels(r)[STYLE.label] for r in others} - {code}
    patch = {"metadata": {"labels": {revisions.POD_LABEL: code}}}
    labels = [
        Patch(POD, objects.key(p), patch, "strategic", uid=objects.uid(p))
        for p in pods
        if objects.labels(p).get(revisions.POD_LABEL) in codes
    ]
    return list[Write](labels), [_delete(r) for r in others]


def surplus(daemon_set: Object, old: Sequence[Object], pods: Iterable[Object]) -> list[Write]:
    """Old revisions beyond the limit, the oldest first; those that a pod still has stay, but count."""
    codes = {objects.labels(p).get(revisions.POD_LABEL) for p in pods}

    def is_live(revision: Object) -> bool:
        return objects.labels(revision)[STYLE.label] in codes

    limit = int(daemon_set["spec"].get("revisionHistoryLimit", 10)) - sum(map(is_live, old))
    return [_delete(r) for r in revisions.surplus(old, is_live, max(limit, 0))]


def _labelled(revision: Object, code: str) -> Object:
    metadata = revision["metadata"]
    return {**revision, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), STYLE.label: code}}}


def _delete(revision: Object) -> Delete:
    return Delete(CONTROLLERREVISION, objects.key(revision), objects.uid(revision))
