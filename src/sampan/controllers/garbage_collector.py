"""Garbage: objects whose owners are gone, and owners that wait for their dependents.

An owner is gone only when the server told of its end, or a live read says so. Background: dependents go after the owner. Foreground: the
owner waits until the dependents that block it are gone. Orphan: dependents lose the reference first.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sampan.control import own
from sampan.control.everywhere import Everywhere, Ref
from sampan.control.plan import Ask, Delete, Event, Plan, Question, Write, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
LINKS = ("uid", "ownerReferences", "finalizers", "deletionTimestamp")


@dataclass(slots=True)
class Owners:
    """An object's references, sorted by what their owners are doing."""

    solid: list[Object] = field(default_factory=list)
    waiting: list[Object] = field(default_factory=list)
    gone: list[Object] = field(default_factory=list)
    ask: list[Question] = field(default_factory=list)
    invalid: list[Object] = field(default_factory=list)


def reconcile(view: View, ref: Ref, now: float) -> Plan:
    """What an object's own deletion needs comes first, then what its owners mean for it."""
    kind = view.kinds[ref.resource]
    obj = view.get(kind, ref.key)
    if obj is None:
        return Plan()
    if objects.is_deleting(obj) and ORPHAN in objects.finalizers(obj):
        released = [own.without_owners(k, d, (objects.uid(obj),)) for k, d in _dependents(view, obj)]
        return plan(released, [own.without_finalizers(kind, obj, (ORPHAN,))])
    if _is_waiting(obj):
        return _foreground(view, kind, obj)
    if objects.is_deleting(obj) or not objects.owner_references(obj):
        return Plan()
    owners = _owners(view, obj)
    if owners.ask:
        return Plan(ask=tuple(owners.ask))
    if owners.invalid:  # such an owner can't be looked up, so nothing is known about it
        return Plan(events=tuple(_invalid(kind, obj, reference) for reference in owners.invalid))
    elsewhere = [_invalid(kind, obj, reference) for reference in owners.gone if _is_elsewhere(view, reference)]
    decided = _decided(view, kind, obj, owners)
    return replace(decided, events=tuple(elsewhere)) if elsewhere else decided


def _is_elsewhere(view: View, reference: Object) -> bool:
    """Whether the owner that is not in the object's namespace is in another one."""
    kind, namespaces = _kind_of(view, reference), view.sources.get(NAMESPACE.resource)
    if kind is None or namespaces is None or not kind.namespaced:
        return False
    found = (view.get(kind, (objects.name(n), reference["name"])) for n in namespaces.items())
    return any(owner is not None and objects.uid(owner) == reference["uid"] for owner in found)


def _invalid(kind: Kind, obj: Object, reference: Object) -> Event:
    namespace = objects.namespace(obj)
    where = f"[{reference['apiVersion']}/{reference['kind']}, namespace: {namespace}, name: {reference['name']}"
    message = f'ownerRef {where}, uid: {reference["uid"]}] does not exist in namespace "{namespace}"'
    about = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": obj["metadata"]}
    return warning("OwnerRefInvalidNamespace", message, about)


def _decided(view: View, kind: Kind, obj: Object, owners: Owners) -> Plan:
    if owners.solid:
        leaving = [r["uid"] for r in (*owners.gone, *owners.waiting)]
        return plan([own.without_owners(kind, obj, leaving)] if leaving else ())
    if owners.waiting and (dependents := _dependents(view, obj)):
        # A circle of owners that all block each other would never end.
        unblocked = [_unblocked(kind, obj)] if any(_is_waiting(d) for _, d in dependents) else ()
        return plan(unblocked, [_delete(kind, obj, "Foreground")] if not unblocked else ())
    policy = "Orphan" if ORPHAN in objects.finalizers(obj) else "Background"
    if FOREGROUND in objects.finalizers(obj):
        policy = "Foreground"
    return plan([_delete(kind, obj, policy)])


def _foreground(view: View, kind: Kind, obj: Object) -> Plan:
    """Lets a waiting owner go once no dependent blocks it."""
    blocking = [d for _, d in _dependents(view, obj) if _blocks(d, objects.uid(obj))]
    return plan(() if blocking else [own.without_finalizers(kind, obj, (FOREGROUND,))])


def _owners(view: View, obj: Object) -> Owners:
    found = Owners()
    for reference in objects.owner_references(obj):
        kind = _kind_of(view, reference)
        if kind is None:
            found.solid.append(reference)  # an unknown kind can't be shown to be absent
            continue
        if kind.namespaced and not objects.namespace(obj):
            found.invalid.append(reference)
            continue
        namespace = objects.namespace(obj) if kind.namespaced else ""
        owner = view.get(kind, (namespace, reference["name"]))
        if owner is None or objects.uid(owner) != reference["uid"]:
            if view.saw_go(kind, reference["uid"]):
                found.gone.append(reference)
                continue
            question = Ask(kind, (namespace, reference["name"]))
            owner = view.answer(question)
            if owner is UNANSWERED:
                found.ask.append(question)
                continue
        _sort_in(found, reference, owner)
    return found


def _sort_in(found: Owners, reference: Object, owner: Object | None) -> None:
    if owner is None or objects.uid(owner) != reference["uid"]:
        found.gone.append(reference)
    elif _is_waiting(owner):
        found.waiting.append(reference)
    else:
        found.solid.append(reference)


def _kind_of(view: View, reference: Object) -> Kind | None:
    group = reference.get("apiVersion", "").rpartition("/")[0]
    name = reference["kind"]
    for kind in view.kinds.values():  # a hundred, asked for each owner of each change: no generator
        if kind.name == name and kind.group == group:
            return kind
    return None


def _dependents(view: View, obj: Object) -> list[tuple[Kind, Object]]:
    uid, namespace = objects.uid(obj), objects.namespace(obj)
    found = view.any_dependents(uid)
    return [(kind, d) for kind, d in found if not namespace or objects.namespace(d) == namespace]


def _is_waiting(obj: Object) -> bool:
    return objects.is_deleting(obj) and FOREGROUND in objects.finalizers(obj)


def _blocks(dependent: Object, uid: str) -> bool:
    return any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in objects.owner_references(dependent))


def _unblocked(kind: Kind, obj: Object) -> Write:
    references = [{**r, "blockOwnerDeletion": False} for r in objects.owner_references(obj)]
    patched = own.without_owners(kind, obj, ())
    return own.replaced(patched, {"ownerReferences": references})


def _delete(kind: Kind, obj: Object, policy: str) -> Delete:
    version = objects.resource_version(obj)
    return Delete(kind, objects.key(obj), objects.uid(obj), resource_version=version, propagation=policy)


def _due(view: View, resource: str, old: Object | None, new: Object | None) -> Iterable[Ref]:
    """The object itself, its dependents when it goes or waits, and owners that wait for it."""
    obj = new if new is not None else old
    if obj is None or (old is not None and new is not None and _is_linked_alike(old, new)):
        return
    if new is not None and (objects.is_deleting(new) or _is_in_doubt(view, new)):
        yield Ref(resource, *objects.key(new))
    if new is None or _is_waiting(new):
        for kind, dependent in _dependents(view, obj):
            yield Ref(kind.resource, *objects.key(dependent))
    yield from _waiting_owners(view, [o for o in (old, new) if o is not None])


def _is_in_doubt(view: View, obj: Object) -> bool:
    """Whether any of its owners is not known to stay; when one that is goes, it makes its dependents due."""
    return not all(_stays(view, objects.namespace(obj), reference) for reference in objects.owner_references(obj))


def _stays(view: View, namespace: str, reference: Object) -> bool:
    kind = _kind_of(view, reference)
    owner = view.get(kind, (namespace if kind.namespaced else "", reference["name"])) if kind is not None else None
    return owner is not None and objects.uid(owner) == reference["uid"] and not _is_waiting(owner)


def _is_linked_alike(old: Object, new: Object) -> bool:
    """Whether all is the same that garbage depends on, as after most changes."""
    before, now = old["metadata"], new["metadata"]
    for name in LINKS:  # noqa: SIM110 (asked of each change: no generator)
        if before.get(name) != now.get(name):
            return False
    return True


def _waiting_owners(view: View, seen: Sequence[Object]) -> Iterable[Ref]:
    for obj in seen:
        for reference in objects.owner_references(obj):
            kind = _kind_of(view, reference)
            key = (objects.namespace(obj) if kind is not None and kind.namespaced else "", reference["name"])
            owner = view.get(kind, key) if kind is not None else None
            if kind is not None and owner is not None and _is_waiting(owner):
                yield Ref(kind.resource, *key)


CONTROLLER = Everywhere(
    name="garbage-collector-controller", reconcile=reconcile, due=_due, without=("events", "events.events.k8s.io")
)
