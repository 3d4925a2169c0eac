"""Event: something that happened to an object, for people to read.

One storage serves core/v1 and events.k8s.io/v1: the same facts under older and newer field names.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import event_columns, event_rules
from sampan.meta import names
from sampan.meta.status import Cause

_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

EVENT = Kind(
    group="",
    versions=("v1",),
    name="Event",
    plural="events",
    schema="io.k8s.api.core.v1.Event",
    short_names=("ev",),
    put_creates=True,
    columns=event_columns.COLUMNS,
    selectable={
        **{f"involvedObject.{field}": f"involvedObject.{field}" for field in _ABOUT},
        "reason": "reason",
        "reportingComponent": "reportingComponent",
        "source": "source.component|reportingComponent",
        "type": "type",
    },
    name_check=names.path_segment,
    bare_finalizers=True,
)

default = event_rules.default
convert = event_rules.convert


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """It lies in the namespace of what it is about (default, for objects of the whole cluster)."""
    return event_rules.older_causes(new)
