"""Event of events.k8s.io: who did what to which object when. Stored as the event of the core group.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import event_columns, event_rules
from sampan.meta.status import Cause

_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

EVENTS_EVENT = Kind(
    group="events.k8s.io",
    versions=("v1",),
    name="Event",
    plural="events",
    schema="io.k8s.api.events.v1.Event",
    short_names=("ev",),
    put_creates=True,
    columns=event_columns.COLUMNS,
    selectable={
        **{f"regarding.{field}": f"regarding.{field}" for field in _ABOUT},
        "reason": "reason",
        "reportingController": "reportingController",
        "type": "type",
    },
    stored_as=("", "events"),
    bare_finalizers=True,
)

default = event_rules.default
convert = event_rules.convert


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """It is complete, and of an event that is told nothing changes but how often it happened."""
    return event_rules.newer_causes(new, old)
