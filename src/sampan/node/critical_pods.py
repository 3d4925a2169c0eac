"""Room for critical pods: which others make way when there is too little for one (pure).

As few as can be of the better classes of service; within a class those whose requests come closest to what is missing.

https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.parts import pod_resources
from sampan.node import admission
from sampan.node.admission import Shortage

Object = Mapping[str, Any]
Missing = dict[str, int]


class NoRoom(Exception):
    """Not even all that would have to make way have enough; the text is for the pod's status."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that may have to make way, and what it takes."""

    pod: Object
    needs: Mapping[str, int]


def victims(preemptor: Object, candidates: Iterable[Candidate], shortages: Sequence[Shortage]) -> Sequence[Candidate]:
    """Who makes way, the lesser first. Raises NoRoom."""
    classes: dict[str, list[Candidate]] = {"BestEffort": [], "Burstable": [], "Guaranteed": []}
    for candidate in candidates:
        if _yields(candidate.pod, preemptor):
            classes[pod_resources.qos_class(candidate.pod["spec"])].append(candidate)
    best_effort, burstable, guaranteed = classes.values()
    missing = {short.name: short.missing for short in shortages}
    if left := _less(missing, (*best_effort, *burstable, *guaranteed)):
        raise NoRoom(_no_set(left))
    from_guaranteed = _closest(guaranteed, _less(missing, (*best_effort, *burstable)))
    from_burstable = _closest(burstable, _less(missing, (*best_effort, *from_guaranteed)))
    from_best_effort = _closest(best_effort, _less(missing, (*from_burstable, *from_guaranteed)))
    return (*from_best_effort, *from_burstable, *from_guaranteed)


def _yields(pod: Object, preemptor: Object) -> bool:
    if admission.is_critical(preemptor) and not admission.is_critical(pod):
        return True
    mine, theirs = pod["spec"].get("priority"), preemptor["spec"].get("priority")
    return mine is not None and theirs is not None and theirs > mine


def _closest(candidates: Sequence[Candidate], missing: Missing) -> list[Candidate]:
    """Those that together free what is missing, taken one by one by their distance from it."""
    left, chosen = list(candidates), []
    while missing:
        if not left:
            raise NoRoom(_no_set(missing))
        best = min(left, key=lambda candidate: (_distance(missing, candidate), *_size(candidate)))
        left.remove(best)
        chosen.append(best)
        missing = _less(missing, (best,))
    return chosen


def _distance(missing: Missing, candidate: Candidate) -> float:
    parts = (max(amount - candidate.needs.get(name, 0), 0) / amount for name, amount in missing.items())
    return sum(part * part for part in parts)


def _size(candidate: Candidate) -> tuple[int, int]:
    return candidate.needs.get("memory", 0), candidate.needs.get("cpu", 0)


def _less(missing: Missing, freed: Iterable[Candidate]) -> Missing:
    """What is still missing when these are gone."""
    total: dict[str, int] = {}
    for candidate in freed:
        for name, amount in candidate.needs.items():
            total[name] = total.get(name, 0) + amount
    return {name: amount - total.get(name, 0) for name, amount in missing.items() if amount > total.get(name, 0)}


def _no_set(missing: Missing) -> str:
    listed = "".join(f"(res: {name}, q: {amount}), " for name, amount in missing.items())
    return f"no set of running pods found to reclaim resources: [{listed}]"
