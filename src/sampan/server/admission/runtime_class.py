"""A pod that names a RuntimeClass gets what the class costs, and goes where it is.

https://kubernetes.io/docs/concepts/containers/runtime-class/
"""

from typing import Any

from sampan.kinds.core.pod import POD
from sampan.kinds.node.runtime_class import RUNTIMECLASS
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

Tree = dict[str, Any]

CONCERNS = Concern(operations=(CREATE,), kinds=(POD,))
_MISMATCH = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
_ALONE = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 for an unknown class, or one that the pod contradicts."""
    pod = attributes.obj
    if pod is None or attributes.subresource:
        return
    found = _class_of(pod, attributes, lookup)
    if found is None:
        return
    spec, overhead = pod["spec"], _overhead(found)
    if overhead is not None:
        if spec.get("overhead") and spec["overhead"] != overhead:
            raise _forbidden(attributes, _MISMATCH)
        spec["overhead"] = overhead
    _place(spec, found.get("scheduling") or {}, attributes)


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 for an overhead that is not the class's."""
    pod = attributes.obj
    if pod is None or attributes.subresource:
        return
    found = _class_of(pod, attributes, lookup)
    overhead = None if found is None else _overhead(found)
    given = pod["spec"].get("overhead")
    if overhead is not None and (given or {}) != overhead:
        raise _forbidden(attributes, _MISMATCH)
    if overhead is None and given:
        raise _forbidden(attributes, _ALONE)


def _class_of(pod: Tree, attributes: Attributes, lookup: Lookup) -> Tree | None:
    name = pod["spec"].get("runtimeClassName")
    if name is None:
        return None
    item = lookup.get(RUNTIMECLASS, "", name)
    if item is None:
        raise _forbidden(attributes, f'pod rejected: RuntimeClass "{name}" not found')
    found: Tree = item.tree
    return found


def _overhead(found: Tree) -> Tree | None:
    """What a pod of the class costs beside its containers; None when nothing is said."""
    overhead = found.get("overhead")
    return None if overhead is None else objects.copy(overhead.get("podFixed") or {})


def _place(spec: Tree, scheduling: Tree, attributes: Attributes) -> None:
    """Adds the class's node labels and tolerations."""
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in sorted((scheduling.get("nodeSelector") or {}).items()):
        if selector.setdefault(key, value) != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
            raise _forbidden(attributes, why)
    if selector:
        spec["nodeSelector"] = selector
    tolerations = list(spec.get("tolerations") or ())
    tolerations += [t for t in objects.copy(scheduling.get("tolerations") or []) if t not in tolerations]
    if tolerations:
        spec["tolerations"] = tolerations


def _forbidden(attributes: Attributes, why: str) -> status.ApiError:
    return status.forbidden("", POD.plural, attributes.called, why)
