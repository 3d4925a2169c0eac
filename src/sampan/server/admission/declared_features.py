"""NodeDeclaredFeatureValidator: a bound pod is changed only in ways that its node says it can follow.

Of the features that nodes declare, one is needed for a change that the API lets through: resizing the resources
of the pod as a whole.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-declared-features/
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.meta import quantity, status
from sampan.server.admission.chain import UPDATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(UPDATE,), kinds=(POD,))
POD_LEVEL_RESIZE = "InPlacePodLevelResourcesVerticalScaling"

Tree = dict[str, Any]


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 with the features that are missing."""
    new, old = attributes.obj, attributes.old
    if attributes.subresource not in ("", "resize") or new is None or old is None:
        return
    name = new["spec"].get("nodeName")
    needed = _needed(new["spec"].get("resources"), old["spec"].get("resources")) if name else []
    if not needed:
        return
    node = lookup.get(NODE, "", name)
    if node is None:
        raise _refusal(attributes, f"node {status.show(name)} not found")
    declared = (node.tree.get("status") or {}).get("declaredFeatures") or ()
    missing = ", ".join(feature for feature in needed if feature not in declared)
    if missing:
        why = f"pod update requires features {missing} which are not available on node {status.show(name)}"
        raise _refusal(attributes, why)


def _needed(new: Tree | None, old: Tree | None) -> list[str]:
    """The features that it takes to follow the change of the pod's own resources."""
    if new == old:
        return []
    changed = new is None or old is None or any(_differ(new.get(p), old.get(p)) for p in {*new, *old})
    return [POD_LEVEL_RESIZE] if changed else []


def _differ(one: Any, other: Any) -> bool:
    """Whether two parts of resources are not the same amounts, however these are written."""
    one, other = one or {}, other or {}
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return bool(one != other)
    return one.keys() != other.keys() or any(quantity.compare(one[name], other[name]) != 0 for name in one)


def _refusal(attributes: Attributes, why: str) -> status.ApiError:
    return status.forbidden(attributes.kind.group, attributes.kind.plural, attributes.name, why)
