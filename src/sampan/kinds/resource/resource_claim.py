"""ResourceClaim: a wish for devices, and the devices that fulfil it.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import allocation_rules, cells, device_rules
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value


def state_text(obj: Object, now: float) -> str:
    """pending, or deleted, allocated, reserved: those that hold."""
    status = obj.get("status") or {}
    is_deleted = bool(obj["metadata"].get("deletionTimestamp"))
    states = ["deleted"] if is_deleted else []
    if status.get("allocation") is None:
        states += [] if is_deleted else ["pending"]
    else:
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    return ",".join(states)


RESOURCECLAIM = Kind(
    group="resource.k8s.io",
    versions=("v1",),
    name="ResourceClaim",
    plural="resourceclaims",
    schema="io.k8s.api.resource.v1.ResourceClaim",
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(
        Column("State", state_text, description="A summary of the current state (allocated, pending, reserved, etc.)."),
        cells.AGE,
    ),
    answers_deleted=True,
)


def default(obj: Object) -> None:
    """A request is for one device."""
    device_rules.default(obj.setdefault("spec", {}))


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has nothing yet; a device that is given back has no state any more."""
    if old is None:
        new["status"] = {}
    elif subresource == "status":
        allocation_rules.drop_released(new.setdefault("status", {}), old.get("status") or {})


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The wish stays; what was allocated stays until it is given back."""
    if old is None:
        return device_rules.claim_causes(new.get("spec") or {}, "spec")
    if subresource == "status":
        return allocation_rules.causes(new, old)
    if not objects.same(new.get("spec"), old.get("spec")):
        return [invalid_value("spec", new.get("spec"), "field is immutable")]
    return ()
