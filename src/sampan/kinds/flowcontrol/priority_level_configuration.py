"""PriorityLevelConfiguration: how many requests of a level run at once, and what becomes of the others.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/priority-level-configuration-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, flow_defaults, flow_rules
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value

_QUEUING = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
_SHARES = 30


def _limited(path: str) -> Any:
    def cell(obj: Object, now: float) -> Any:
        return objects.get_path(obj, f"spec.limited.{path}", cells.NONE)

    return cell


PRIORITYLEVELCONFIGURATION = Kind(
    group="flowcontrol.apiserver.k8s.io",
    versions=("v1",),
    name="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    scope=CLUSTER,
    schema="io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(
        Column("Type", "spec.type"),
        Column("NominalConcurrencyShares", _limited("nominalConcurrencyShares")),
        Column("Queues", _limited("limitResponse.queuing.queues")),
        Column("HandSize", _limited("limitResponse.queuing.handSize")),
        Column("QueueLengthLimit", _limited("limitResponse.queuing.queueLengthLimit")),
        cells.AGE,
    ),
    has_generation=True,
)


def default(obj: Object) -> None:
    """Shares, what may be lent, and queues."""
    spec = obj.setdefault("spec", {})
    if spec.get("type") == "Exempt":
        exempt = spec.get("exempt")
        if exempt is None:
            exempt = spec["exempt"] = {}
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    limited = spec.get("limited")
    if limited is None:
        return
    limited.setdefault("nominalConcurrencyShares", _SHARES)
    limited.setdefault("lendablePercent", 0)
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        queuing.update({field: value for field, value in _QUEUING.items() if not queuing.get(field)})


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no status yet."""
    if old is None:
        new["status"] = {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Exempt or limited, queued or rejected; the mandatory ones keep their values."""
    conditions_causes = flow_rules.condition_causes(new)
    if subresource == "status":
        return conditions_causes
    name, spec = objects.name(new), new.get("spec") or {}
    found = flow_rules.level_causes(name, spec)
    if name in flow_defaults.MANDATORY:
        fixed = flow_defaults.PRIORITY_LEVELS[name]
        if name == "exempt" and {**spec, "exempt": None} != {**fixed, "exempt": None}:
            text = f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
            found.append(invalid_value("spec", spec, text))
        elif name != "exempt" and spec != fixed:
            found.append(invalid_value("spec", spec, f"spec of '{name}' must equal the fixed value"))
    return found + conditions_causes
