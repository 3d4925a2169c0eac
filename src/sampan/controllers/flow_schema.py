"""A FlowSchema's condition Dangling: whether the priority level that it names is missing.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#flowschema
"""

from collections.abc import Iterable

from sampan.control import decorate
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan, plan
from sampan.control.view import View
from sampan.kinds.flowcontrol import flow_schema
from sampan.kinds.flowcontrol.flow_schema import DANGLING, FLOWSCHEMA
from sampan.kinds.flowcontrol.priority_level_configuration import PRIORITYLEVELCONFIGURATION
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Sets the condition where it is not what is so."""
    schema = view.get(FLOWSCHEMA, key)
    if schema is None or objects.is_deleting(schema):
        return Plan()
    level = str(objects.get_path(schema, "spec.priorityLevelConfiguration.name") or "")
    is_there = view.get(PRIORITYLEVELCONFIGURATION, ("", level)) is not None
    wanted = flow_schema.dangling(schema, now, is_there=is_there)
    if conditions.status_of(schema, DANGLING) == wanted["status"]:
        return Plan()
    others = [c for c in (schema.get("status") or {}).get("conditions") or () if c.get("type") != DANGLING]
    return plan(decorate.status(FLOWSCHEMA, schema, {"conditions": [*others, wanted]}))


def _schemas(view: View, level: Object) -> Iterable[Key]:
    for schema in view.list(FLOWSCHEMA):
        if objects.get_path(schema, "spec.priorityLevelConfiguration.name") == objects.name(level):
            yield objects.key(schema)


CONTROLLER = Controller(
    "flow-schema-status", FLOWSCHEMA, reconcile, watches=(Watch(PRIORITYLEVELCONFIGURATION, _schemas),)
)
