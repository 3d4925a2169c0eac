"""What a pod's status keeps when who writes it leaves it out: its QoS class, and the generations it told of.

https://kubernetes.io/docs/concepts/workloads/pods/#pod-generation
"""

from collections import defaultdict
from typing import Any

Status = dict[str, Any]

_GENERATION = "observedGeneration"


def keep(new: Status, old: Status) -> None:
    """Puts them back, in place. Of several conditions of one type the first takes after the first, and so on."""
    if old.get("qosClass"):
        new["qosClass"] = old["qosClass"]
    _keep_generation(new, old.get(_GENERATION))
    told = defaultdict[Any, list[Any]](list)
    for condition in old.get("conditions") or ():
        told[condition.get("type")].append(condition.get(_GENERATION))
    for condition in new.get("conditions") or ():
        before = told[condition.get("type")]
        _keep_generation(condition, before.pop(0) if before else None)


def _keep_generation(part: dict[str, Any], before: int | None) -> None:
    if before and not part.get(_GENERATION):
        part[_GENERATION] = before
