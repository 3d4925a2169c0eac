"""Every pod has a priority: 0, or that of the two system classes. Other classes do not exist yet."""

from sampan.kinds.core.pod import POD
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, Attributes, Lookup

SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 for an unknown class or a priority that is not the class's."""
    pod = attributes.obj
    if attributes.operation != CREATE or attributes.kind.resource != POD.resource or pod is None:
        return
    if attributes.subresource:
        return
    spec = pod["spec"]
    name = spec.get("priorityClassName", "")
    if name and name not in SYSTEM_CLASSES:
        raise status.forbidden("", POD.plural, objects.name(pod), f"no PriorityClass with name {name} was found")
    priority = SYSTEM_CLASSES.get(name, 0)
    if spec.get("priority", priority) != priority:
        raise status.forbidden(
            "",
            POD.plural,
            objects.name(pod),
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name",
        )
    spec["priority"] = priority
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
