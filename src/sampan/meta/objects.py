"""Objects: reading what every object's metadata holds, and who owns whom.

Objects are JSON trees and are never changed here; `copy` makes one that may be. What is asked of nearly every
object, all the time, reads metadata by itself instead of calling `metadata`.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from collections.abc import Mapping
from typing import Any

import orjson

Object = dict[str, Any]

_NOTHING: Mapping[str, Any] = {}
_CONTAINERS = (dict, list)
_SORTED = orjson.OPT_SORT_KEYS


def metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's metadata, empty when it has none."""
    return obj.get("metadata") or _NOTHING


def name(obj: Mapping[str, Any]) -> str:
    """metadata.name, "" when absent."""
    return (obj.get("metadata") or _NOTHING).get("name") or ""


def namespace(obj: Mapping[str, Any]) -> str:
    """metadata.namespace, "" for a cluster-scoped object."""
    return (obj.get("metadata") or _NOTHING).get("namespace") or ""


def key(obj: Mapping[str, Any]) -> tuple[str, str]:
    """(namespace, name): what names an object among its kind."""
    meta = obj.get("metadata") or _NOTHING
    return meta.get("namespace") or "", meta.get("name") or ""


def uid(obj: Mapping[str, Any]) -> str:
    """metadata.uid, "" when not yet created."""
    return (obj.get("metadata") or _NOTHING).get("uid") or ""


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    """metadata.labels, empty when absent. Not to be changed."""
    return (obj.get("metadata") or _NOTHING).get("labels") or {}


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    """metadata.annotations, empty when absent. Not to be changed."""
    return (obj.get("metadata") or _NOTHING).get("annotations") or {}


def resource_version(obj: Mapping[str, Any]) -> str:
    """metadata.resourceVersion, "" when absent."""
    return (obj.get("metadata") or _NOTHING).get("resourceVersion") or ""


def generation(obj: Mapping[str, Any]) -> int:
    """metadata.generation, 0 when absent."""
    return (obj.get("metadata") or _NOTHING).get("generation") or 0


def is_deleting(obj: Mapping[str, Any]) -> bool:
    """Whether deletion was asked for (metadata.deletionTimestamp is set)."""
    return bool((obj.get("metadata") or _NOTHING).get("deletionTimestamp"))


def finalizers(obj: Mapping[str, Any]) -> list[str]:
    """metadata.finalizers, empty when absent. Not to be changed."""
    return (obj.get("metadata") or _NOTHING).get("finalizers") or []


def owner_references(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    """metadata.ownerReferences, empty when absent. Not to be changed."""
    return (obj.get("metadata") or _NOTHING).get("ownerReferences") or []


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The owner reference with controller=true, if there is one."""
    for owner in owner_references(obj):
        if owner.get("controller"):
            return owner
    return None


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether `owner` (by uid) is the object's controller."""
    controller = controller_of(obj)
    return controller is not None and controller.get("uid") == uid(owner)


def owner_reference(owner: Mapping[str, Any], *, controller: bool = True, block: bool = True) -> dict[str, Any]:
    """A reference to `owner`, for a child's metadata.ownerReferences."""
    reference: dict[str, Any] = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
    }
    if controller:
        reference["controller"] = True
    if block:
        reference["blockOwnerDeletion"] = True
    return reference


def get_path(tree: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path of object fields, `default` where any step is absent or null."""
    for step in path.split("."):
        if not isinstance(tree, dict):
            return default
        tree = tree.get(step)
    return default if tree is None else tree


def copy(tree: Any) -> Any:
    """A deep copy in plain dicts and lists, which may be changed."""
    if not isinstance(tree, _CONTAINERS):
        return tree
    try:
        return orjson.loads(orjson.dumps(tree))  # twice as fast as `_copied`
    except TypeError:  # what JSON has no word for, such as a number of 70 bits
        return _copied(tree)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _copied(v) for k, v in tree.items()}
    return [_copied(v) for v in tree] if isinstance(tree, list) else tree


def same(one: Any, other: Any) -> bool:
    """Equality as JSON has it, in which true is not 1, as it is to Python; the order of names does not matter."""
    if one is other:
        return True
    if one != other:
        return False
    if not isinstance(one, _CONTAINERS):
        return isinstance(one, bool) == isinstance(other, bool)
    try:
        if orjson.dumps(one) == orjson.dumps(other):  # much faster than a look at each value
            return True
        if orjson.dumps(one, option=_SORTED) == orjson.dumps(other, option=_SORTED):
            return True
    except TypeError:
        pass
    return _alike(one, other)


def _alike(one: Any, other: Any) -> bool:
    """Of equal trees, whether none has true or false where the other has a number."""
    if isinstance(one, dict):
        return all(_alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return all(map(_alike, one, other))
    return isinstance(one, bool) == isinstance(other, bool)
