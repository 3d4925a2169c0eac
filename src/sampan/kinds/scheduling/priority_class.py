"""PriorityClass: how much a pod matters when there is not room for all.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/priority-class-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells
from sampan.meta import objects
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

PRIORITYCLASS = Kind(
    group="scheduling.k8s.io",
    versions=("v1",),
    name="PriorityClass",
    plural="priorityclasses",
    scope=CLUSTER,
    schema="io.k8s.api.scheduling.v1.PriorityClass",
    short_names=("pc",),
    columns=(
        Column("Value", lambda o, now: o.get("value") or 0, kind="integer"),
        Column("Global-Default", lambda o, now: bool(o.get("globalDefault")), kind="boolean"),
        cells.AGE,
        Column("PreemptionPolicy", "preemptionPolicy"),
    ),
)

SYSTEM_PREFIX = "system-"
HIGHEST_OF_USERS = 1_000_000_000
SYSTEM_CLASSES: tuple[Object, ...] = (
    {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": "system-node-critical"},
        "value": 2_000_001_000,
        "description": "Used for system critical pods that must not be moved from their current node.",
        "preemptionPolicy": "PreemptLowerPriority",
    },
    {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": "system-cluster-critical"},
        "value": 2_000_000_000,
        "description": (
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
        ),
        "preemptionPolicy": "PreemptLowerPriority",
    },
)
PREEMPTION_POLICIES = ("Never", "PreemptLowerPriority")

_SYSTEM_VALUES = {objects.name(obj): obj["value"] for obj in SYSTEM_CLASSES}


def default(obj: Object) -> None:
    """Pods of the class may take the place of lesser ones."""
    if obj.get("preemptionPolicy") is None:
        obj["preemptionPolicy"] = "PreemptLowerPriority"


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """It is of the first generation, and stays so: nothing that counts ever changes."""
    if old is None:
        new["metadata"]["generation"] = 1


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Users' classes are below the system's; value and policy stay."""
    value, policy = new.get("value") or 0, new.get("preemptionPolicy")
    if old is not None:
        causes = []
        if value != (old.get("value") or 0):
            causes.append(forbidden_field("value", "may not be changed in an update."))
        if policy != old.get("preemptionPolicy"):
            causes.append(invalid_value("preemptionPolicy", policy, "field is immutable"))
        return causes
    causes = _value_causes(objects.name(new), value, is_default=bool(new.get("globalDefault")))
    if not policy:
        causes.append(required("preemptionPolicy"))
    elif policy not in PREEMPTION_POLICIES:
        causes.append(not_supported("preemptionPolicy", policy, PREEMPTION_POLICIES))
    return causes


def _value_causes(name: str, value: int, *, is_default: bool) -> list[Cause]:
    if not name.startswith(SYSTEM_PREFIX):
        if value <= HIGHEST_OF_USERS:
            return []
        text = f"maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}"
        return [forbidden_field("value", text)]
    wanted = _SYSTEM_VALUES.get(name)
    if wanted is None:
        why = f"{name} is not a known system priority class"
    elif value != wanted:
        why = f"value of {name} PriorityClass must be {wanted}"
    elif is_default:
        why = f"globalDefault of {name} PriorityClass must be false"
    else:
        return []
    text = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
    return [forbidden_field("metadata.name", text)]
