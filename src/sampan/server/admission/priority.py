"""Every pod has the priority of its class, or of the class for all others, or 0; there is one such class at most.

https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from typing import Any

from sampan.kinds.core.pod import POD
from sampan.kinds.scheduling.priority_class import PRIORITYCLASS, SYSTEM_CLASSES
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, DELETE, Attributes, Concern, Lookup

CONCERNS = Concern(kinds=(POD, PRIORITYCLASS))
PREEMPT = "PreemptLowerPriority"
SYSTEM_NAMES = frozenset(objects.name(found) for found in SYSTEM_CLASSES)

Tree = dict[str, Any]


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Writes a new pod's priority. Raises ApiError 403 for an unknown class, or a value that is not the class's."""
    pod = attributes.obj
    if attributes.operation == DELETE or attributes.kind != POD or attributes.subresource or pod is None:
        return
    spec = pod["spec"]
    if attributes.operation != CREATE:
        # Replaced by clients that do not know these fields: what was computed stays.
        before = (attributes.old or {}).get("spec") or {}
        for field in ("priority", "preemptionPolicy"):
            if field in before:
                spec.setdefault(field, before[field])
        return
    priority, policy = _of_class(pod, attributes, lookup)
    if spec.get("priority") is not None and spec["priority"] != priority:
        raise _forbidden(
            attributes,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name",
        )
    if spec.get("preemptionPolicy") is not None and spec["preemptionPolicy"] != policy:
        raise _forbidden(
            attributes,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name",
        )
    spec["priority"], spec["preemptionPolicy"] = priority, policy


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 when there would be a second class for all others, or none of the system's."""
    made = attributes.obj
    if attributes.kind != PRIORITYCLASS:
        return
    if attributes.operation == DELETE and attributes.name in SYSTEM_NAMES:
        raise _forbidden(attributes, "this is a system priority class and cannot be deleted")
    if made is None:
        return
    usual = _usual(lookup)
    if made.get("globalDefault") and usual is not None and objects.name(usual) != objects.name(made):
        text = f"PriorityClass {objects.name(usual)} is already marked as default. Only one default can exist"
        raise _forbidden(attributes, text)


def _of_class(pod: Tree, attributes: Attributes, lookup: Lookup) -> tuple[int, str]:
    """Priority and preemption policy; writes the name of the class into a pod that has none."""
    name = pod["spec"].get("priorityClassName") or ""
    if name:
        item = lookup.get(PRIORITYCLASS, "", name)
        if item is None:
            raise _forbidden(attributes, f"no PriorityClass with name {name} was found")
        found = item.tree
    else:
        usual = _usual(lookup)
        if usual is None:
            return 0, PREEMPT
        found = usual
        pod["spec"]["priorityClassName"] = objects.name(found)
    return found.get("value") or 0, found.get("preemptionPolicy") or PREEMPT


def _usual(lookup: Lookup) -> Tree | None:
    """The class for all others; of several, the least."""
    marked = [item.tree for item in lookup.all(PRIORITYCLASS) if item.tree.get("globalDefault")]
    return min(marked, key=lambda tree: tree.get("value") or 0, default=None)


def _forbidden(attributes: Attributes, why: str) -> status.ApiError:
    return status.forbidden(attributes.kind.group, attributes.kind.plural, attributes.called, why)
