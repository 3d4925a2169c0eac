"""FlowSchema: which requests belong together, and to which priority level.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/flow-schema-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, flow_defaults, flow_rules
from sampan.meta import conditions, objects
from sampan.meta.status import Cause, invalid_value

DANGLING = "Dangling"
PRECEDENCE = 1000


def distinguisher_text(obj: Object, now: float) -> str:
    """ByUser, ByNamespace or <none>."""
    return str(objects.get_path(obj, "spec.distinguisherMethod.type", cells.NONE))


def missing_text(obj: Object, now: float) -> str:
    """Whether its priority level is missing: True, False or ?."""
    return conditions.status_of(obj, DANGLING) or "?"


FLOWSCHEMA = Kind(
    group="flowcontrol.apiserver.k8s.io",
    versions=("v1",),
    name="FlowSchema",
    plural="flowschemas",
    scope=CLUSTER,
    schema="io.k8s.api.flowcontrol.v1.FlowSchema",
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(
        Column("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        Column("MatchingPrecedence", "spec.matchingPrecedence"),
        Column("DistinguisherMethod", distinguisher_text),
        cells.AGE,
        Column("MissingPL", missing_text, description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    has_generation=True,
)


def dangling(obj: Object, now: float, *, is_there: bool) -> Object:
    """The condition that says whether its priority level is there."""
    level = objects.get_path(obj, "spec.priorityLevelConfiguration.name") or ""
    text = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if is_there:
        return conditions.make(DANGLING, "False", "Found", f"{text} and it exists", now)
    return conditions.make(DANGLING, "True", "NotFound", f"{text} but there is no such object", now)


def default(obj: Object) -> None:
    """A precedence in the middle."""
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = PRECEDENCE


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no status yet."""
    if old is None:
        new["status"] = {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Rules with subjects; a level that is named; the mandatory ones keep their values."""
    conditions_causes = flow_rules.condition_causes(new)
    if subresource == "status":
        return conditions_causes
    name, spec = objects.name(new), new.get("spec") or {}
    found = flow_rules.schema_causes(name, spec)
    if name in flow_defaults.MANDATORY and spec != flow_defaults.FLOW_SCHEMAS[name]:
        found.append(invalid_value("spec", spec, f"spec of '{name}' must equal the fixed value"))
    return found + conditions_causes
