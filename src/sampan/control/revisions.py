"""Revisions: the past pod templates of a StatefulSet or DaemonSet, kept as ControllerRevisions.

Each holds a patch that puts its template back. The one of the present template has the highest number; going
back to an older template raises that one's number instead of making another.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.control.plan import Create, Update, Write
from sampan.control.view import View
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import pod_template
from sampan.meta import hashing, objects

POD_LABEL = "controller-revision-hash"
REVISION_LABEL = "controller.kubernetes.io/hash"
LONGEST_PREFIX = 223
REPLACE = {"$patch": "replace"}


@dataclass(frozen=True, slots=True)
class Style:
    """How one kind of owner keeps its revisions: `label` is that of the revision's hash on the revision."""

    owner: Kind
    label: str = REVISION_LABEL


@dataclass(frozen=True, slots=True)
class Settled:
    """The revision of the present template as it will be once `writes` are done, and how often names collided."""

    revision: Object
    collisions: int
    writes: tuple[Write, ...] = ()


def settle(view: View, style: Style, owner: Object, owned: Sequence[Object], collisions: int | None) -> Settled:
    """Finds, renumbers or makes the revision of the owner's present template, among those that it owns."""
    ordered, same = in_order(owned), matching(owned, owner["spec"]["template"])
    if same and same[-1] is ordered[-1]:
        return Settled(same[-1], collisions or 0)
    number = next_number(owned)
    if same:
        raised = {**same[-1], "revision": number}
        return Settled(raised, collisions or 0, (Update(CONTROLLERREVISION, raised),))
    count = collisions or 0
    while True:
        made = new(style, owner, number, count)
        there = view.get(CONTROLLERREVISION, objects.key(made))
        if there is None:
            return Settled(made, count, (Create(CONTROLLERREVISION, made),))
        if there.get("data") == made["data"]:  # somebody else's until it is collected
            return Settled(there, count)
        count += 1


def new(style: Style, owner: Object, number: int, collisions: int) -> Object:
    """The ControllerRevision of the owner's present template; another name for each count of collisions."""
    template = owner["spec"]["template"]
    code = hashing.revision_hash(template, collisions or None)
    metadata: dict[str, Any] = {
        "name": name(owner, code),
        "namespace": objects.namespace(owner),
        "labels": {**objects.labels(template), style.label: code},
        "ownerReferences": [objects.owner_reference(_typed(owner, style.owner))],
    }
    if objects.annotations(owner):
        metadata["annotations"] = dict(objects.annotations(owner))
    data = {"spec": {"template": _in_key_order({**template, **REPLACE})}}
    kind = {"apiVersion": CONTROLLERREVISION.api_version, "kind": CONTROLLERREVISION.name}
    return {**kind, "metadata": metadata, "data": data, "revision": number}


def name(owner: Object, code: str) -> str:
    """That of the owner's revision with this hash."""
    return f"{objects.name(owner)[:LONGEST_PREFIX]}-{code}"


def template(revision: Object) -> Object:
    """The pod template that the revision holds; empty when it holds something else."""
    held = objects.get_path(revision, "data.spec.template", {})
    return {field: value for field, value in held.items() if field not in REPLACE}


def number(revision: Object) -> int:
    """Its place in the history, from 1."""
    return int(revision.get("revision") or 0)


def next_number(owned: Sequence[Object]) -> int:
    """One more than the highest."""
    return max(map(number, owned), default=0) + 1


def in_order(revisions: Sequence[Object]) -> list[Object]:
    """Oldest first: by number, then by age, then by name."""
    return sorted(revisions, key=lambda r: (number(r), r["metadata"].get("creationTimestamp", ""), objects.name(r)))


def matching(revisions: Sequence[Object], wanted: Object) -> list[Object]:
    """Those that hold this template, oldest first. Defaults that came later make no difference."""
    ordered = in_order(revisions)
    same = [r for r in ordered if template(r) == wanted]
    return same or [r for r in ordered if _complete(template(r)) == wanted]


def surplus(revisions: Sequence[Object], is_live: Callable[[Object], bool], limit: int) -> list[Object]:
    """Those that nobody uses beyond the limit, oldest first; none when it is negative."""
    unused = [r for r in in_order(revisions) if not is_live(r)]
    return unused[: max(len(unused) - limit, 0)] if limit >= 0 else []


def _in_key_order(tree: Any) -> Any:
    """The tree written as Go writes it: kubectl compares texts to know whether a rollback would change anything."""
    if isinstance(tree, Mapping):
        return {name: _in_key_order(tree[name]) for name in sorted(tree)}
    return [_in_key_order(each) for each in tree] if isinstance(tree, list | tuple) else tree


def _complete(held: Object) -> Object:
    if not held.get("spec"):
        return held
    made: Object = objects.copy(held)
    pod_template.default(made)
    return made


def _typed(owner: Object, kind: Kind) -> Object:
    return owner if "kind" in owner else {"apiVersion": kind.api_version, "kind": kind.name, **owner}
