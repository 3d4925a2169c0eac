"""ConfigMap: configuration by key, as text or bytes.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/config-map-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import keyed_data
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause


def count(obj: Object, now: float) -> int:
    """How many keys there are."""
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


CONFIGMAP = Kind(
    group="",
    versions=("v1",),
    name="ConfigMap",
    plural="configmaps",
    schema="io.k8s.api.core.v1.ConfigMap",
    short_names=("cm",),
    columns=(Column("Data", count), AGE),
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Keys are file names, in one of the two maps only, within 1 MiB; an immutable one stays as it is."""
    data, binary = new.get("data") or {}, new.get("binaryData") or {}
    causes = keyed_data.key_causes(data, "data", other=binary)
    causes += keyed_data.key_causes(binary, "binaryData", other=data)
    causes += keyed_data.size_causes(keyed_data.text_bytes(data) + keyed_data.base64_bytes(binary), "[]")
    if old is not None:
        causes += keyed_data.immutable_causes(new, old, ("data", "binaryData"))
    return causes
