"""The default flow schemas and priority levels as objects, levels first.

Those that carry apf.kubernetes.io/autoupdate-spec: "true" are brought up to date at each start; the
mandatory ones always have their values.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#maintenance-of-the-mandatory-and-suggested-configuration-objects
"""

from collections.abc import Iterator

from sampan.kinds.flowcontrol.flow_schema import FLOWSCHEMA
from sampan.kinds.flowcontrol.priority_level_configuration import PRIORITYLEVELCONFIGURATION
from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import flow_defaults
from sampan.meta import objects as trees

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"


def objects() -> Iterator[tuple[Kind, Object]]:
    """Each with its kind."""
    for name, spec in flow_defaults.PRIORITY_LEVELS.items():
        yield PRIORITYLEVELCONFIGURATION, _object(PRIORITYLEVELCONFIGURATION, name, spec)
    for name, spec in flow_defaults.FLOW_SCHEMAS.items():
        yield FLOWSCHEMA, _object(FLOWSCHEMA, name, spec)


def follows(obj: Object) -> bool:
    """Whether a stored object is still ours to bring up to date."""
    name = trees.name(obj)
    if name in flow_defaults.MANDATORY:
        return True
    told = trees.annotations(obj).get(AUTOUPDATE)
    return told == "true" if told is not None else trees.generation(obj) <= 1


def _object(kind: Kind, name: str, spec: Object) -> Object:
    metadata = {"name": name, "annotations": {AUTOUPDATE: "true"}}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": trees.copy(spec)}
