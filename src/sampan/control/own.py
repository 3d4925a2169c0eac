"""Own: the objects that a parent controls. Which are its, which it adopts, which it lets go.

A child that matches the selector and has no controller is adopted; one that is controlled but matches no
more is released. The parent's existence is confirmed by a live read before anything is adopted.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from sampan.control.controller import Keys
from sampan.control.plan import Ask, Key, Patch, Question, Write
from sampan.control.view import UNANSWERED, View
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects, selectors


class Children(NamedTuple):
    """The children there are, the writes that claim or release others, and what must be asked first."""

    objects: tuple[Object, ...]
    writes: tuple[Write, ...] = ()
    ask: tuple[Question, ...] = ()


class Claim(NamedTuple):
    """What a parent claims: children of `kind` by `selector`. `finalizers` go into an adoption's metadata.

    Who does not count any more, such as a pod that has ended, is neither adopted nor let go.
    """

    parent_kind: Kind
    kind: Kind
    selector: selectors.Selector
    finalizers: tuple[str, ...] = ()
    counts: Callable[[Object], bool] = lambda child: not objects.is_deleting(child)


def children(view: View, parent: Object, claim: Claim) -> Children:
    """Splits the namespace's objects into ours, to adopt and to release."""
    selector, namespace = claim.selector, parent["metadata"].get("namespace", "")
    owned = view.owned(parent, claim.kind)
    ours = tuple(o for o in owned if selector.matches(objects.labels(o)))
    if objects.is_deleting(parent):
        return Children(ours)
    strays = [o for o in owned if not selector.matches(objects.labels(o)) and claim.counts(o)]
    found = (o for o in view.orphans(claim.kind, namespace) if selector.matches(objects.labels(o)))
    orphans = [o for o in found if claim.counts(o)]
    releases = tuple(release(claim.kind, o, parent, claim.finalizers) for o in strays)
    if not orphans:
        return Children(ours, releases)
    question = Ask(claim.parent_kind, objects.key(parent))
    live = view.answer(question)
    if live is UNANSWERED:
        return Children(ours, releases, (question,))
    if live is None or objects.uid(live) != objects.uid(parent) or objects.is_deleting(live):
        return Children(ours, releases)
    return Children(ours, (*(adopt(claim, o, parent) for o in orphans), *releases))


def adopt(claim: Claim, orphan: Object, parent: Object) -> Patch:
    """Makes the parent the orphan's controller."""
    reference = objects.owner_reference(typed(parent, claim.parent_kind))
    metadata: Object = {"ownerReferences": [*(orphan["metadata"].get("ownerReferences") or ()), reference]}
    if claim.finalizers:
        metadata["finalizers"] = list(dict.fromkeys((*objects.finalizers(orphan), *claim.finalizers)))
    return _metadata_patch(claim.kind, orphan, metadata)


def release(kind: Kind, child: Object, parent: Object, finalizers: Iterable[str] = ()) -> Patch:
    """Removes the parent's reference from a child, and the finalizers that its adoption has put there."""
    patch, gone = without_owners(kind, child, (objects.uid(parent),)), set(finalizers)
    if not gone:
        return patch
    kept = [name for name in objects.finalizers(child) if name not in gone]
    return replaced(patch, {**patch.patch["metadata"], "finalizers": kept or None})


def without_owners(kind: Kind, child: Object, uids: Iterable[str]) -> Patch:
    """Removes the references to these uids."""
    gone = set(uids)
    kept = [r for r in child["metadata"].get("ownerReferences") or () if r.get("uid") not in gone]
    return _metadata_patch(kind, child, {"ownerReferences": kept or None})


def without_finalizers(kind: Kind, obj: Object, gone: Iterable[str]) -> Patch:
    """Removes finalizers."""
    dropped = set(gone)
    kept = [name for name in objects.finalizers(obj) if name not in dropped]
    return _metadata_patch(kind, obj, {"finalizers": kept or None})


def label_selector(parent: Object) -> selectors.Selector:
    """What spec.selector picks, where it has the structure of a LabelSelector."""
    return selectors.from_label_selector(parent["spec"].get("selector"))


def orphan_keys(parent: Kind, selector: Callable[[Object], selectors.Selector] = label_selector) -> Keys:
    """A child without a controller -> every parent whose selector matches it."""

    def keys(view: View, child: Object) -> Iterable[Key]:
        if objects.controller_of(child) is not None:
            return
        for candidate in view.list(parent, objects.namespace(child)):
            if selector(candidate).matches(objects.labels(child)):
                yield objects.key(candidate)

    return keys


def typed(obj: Object, kind: Kind) -> Object:
    """The object with apiVersion and kind."""
    return obj if "kind" in obj else {"apiVersion": kind.api_version, "kind": kind.name, **obj}


def _metadata_patch(kind: Kind, obj: Object, metadata: Object) -> Patch:
    """Lists are replaced whole by a merge patch, so it must meet the version it was made from."""
    version = objects.resource_version(obj)
    return Patch(kind, objects.key(obj), {"metadata": metadata}, uid=objects.uid(obj), resource_version=version)


def replaced(patch: Patch, metadata: Object) -> Patch:
    """The same guarded patch with other metadata."""
    return replace(patch, patch={"metadata": metadata})
