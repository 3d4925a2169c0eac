"""CSIStorageCapacity: how much storage of a class can be had in one part of the cluster.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/csi-storage-capacity-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import numbers, storage_rules
from sampan.meta import quantity, validation
from sampan.meta.status import Cause, invalid_value

CSISTORAGECAPACITY = Kind(
    group="storage.k8s.io",
    versions=("v1",),
    name="CSIStorageCapacity",
    plural="csistoragecapacities",
    schema="io.k8s.api.storage.v1.CSIStorageCapacity",
    columns=(
        Column("StorageClassName", "storageClassName"),
        Column("Capacity", lambda o, now: storage_rules.or_unset(o.get("capacity"))),
    ),
    unconditional=False,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A class, a selector of nodes, an amount; of these only the amount changes."""
    causes = [
        invalid_value(field, new.get(field), "field is immutable")
        for field in ("nodeTopology", "storageClassName")
        if old is not None and new.get(field) != old.get(field)
    ]
    causes += list(validation.label_selector(new.get("nodeTopology"), "nodeTopology"))
    causes += storage_rules.name_causes(new.get("storageClassName") or "", "storageClassName")
    capacity = new.get("capacity")
    if capacity is not None:
        complaint = quantity.validate(capacity)
        if complaint is None and quantity.parse(capacity).nanos < 0:
            complaint = numbers.NOT_NEGATIVE
        if complaint:
            causes.append(invalid_value("capacity", capacity, complaint))
    return causes
