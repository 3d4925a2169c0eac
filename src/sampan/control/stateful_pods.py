"""Stateful pods: a StatefulSet's pods by their ordinals, what they are made of, and how far they are.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity
"""

import re
from dataclasses import dataclass
from typing import Any

from sampan.control import pods, revisions
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.kit.texts import Texts
from sampan.meta import conditions, objects

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
HIGHEST = 2**31 - 1
_NAME = re.compile(r"(.*)-([0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Line:
    """The pods of a set in order: `replicas` are its ordinals' pods, None where there is none; `condemned` are beyond.

    Condemned pods go from the highest ordinal down.
    """

    replicas: tuple[Object | None, ...]
    condemned: tuple[Object, ...]

    @property
    def pods(self) -> list[Object]:
        """Those that are there."""
        return [*(p for p in self.replicas if p is not None), *self.condemned]


def start(stateful_set: Object) -> int:
    """The first ordinal."""
    return int((stateful_set["spec"].get("ordinals") or {}).get("start") or 0)


def size(stateful_set: Object) -> int:
    """How many pods are wanted."""
    return int(stateful_set["spec"].get("replicas", 1))


def is_ordered(stateful_set: Object) -> bool:
    """Whether pods are made and ended one after the other."""
    return bool(stateful_set["spec"].get("podManagementPolicy") != "Parallel")


def min_ready(stateful_set: Object) -> int:
    """For how many seconds a pod must have been ready to be available."""
    return int(stateful_set["spec"].get("minReadySeconds") or 0)


def ordinal(p: Object) -> int:
    """The number at the end of the pod's name, -1 when there is none."""
    return _READ[objects.name(p)][1]


def is_member(stateful_set: Object, p: Object) -> bool:
    """Whether the pod's name is one that the set gives."""
    return _READ[objects.name(p)][0] == objects.name(stateful_set)


def _read(name: str) -> tuple[str | None, int]:
    """The set's name and the ordinal that a pod's name says; None and -1 for one that says none."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None, -1
    number = int(found[2])
    return found[1], number if number <= HIGHEST else -1


_READ = Texts(_read, 4096)


def is_wanted(stateful_set: Object, p: Object) -> bool:
    """Whether the pod's ordinal is among those that the set has now."""
    first = start(stateful_set)
    return first <= ordinal(p) < first + size(stateful_set)


def line(stateful_set: Object, found: list[Object]) -> Line:
    """The set's pods, sorted by what becomes of them."""
    first = start(stateful_set)
    replicas: list[Object | None] = [None] * size(stateful_set)
    condemned = []
    for p in found:
        if is_wanted(stateful_set, p):
            replicas[ordinal(p) - first] = p
        elif ordinal(p) >= 0:
            condemned.append(p)
    return Line(tuple(replicas), tuple(sorted(condemned, key=ordinal, reverse=True)))


def new(stateful_set: Object, number: int, revision: Object) -> Object:
    """The pod of an ordinal, from the template of a revision."""
    made = pod.from_template(stateful_set, STATEFULSET, revisions.template(revision))
    name = f"{objects.name(stateful_set)}-{number}"
    made["metadata"]["name"] = name
    made["metadata"]["labels"] = {
        **objects.labels(made),
        **_identity(name, number),
        revisions.POD_LABEL: objects.name(revision),
    }
    made["spec"]["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        made["spec"]["subdomain"] = stateful_set["spec"]["serviceName"]
    return with_storage(stateful_set, made)


def with_storage(stateful_set: Object, p: Object) -> Object:
    """The pod with a volume for each of its claims, in place of others of the same name."""
    wanted = _volumes(stateful_set, ordinal(p))
    others = [v for v in p["spec"].get("volumes") or () if v["name"] not in wanted]
    volumes = [*wanted.values(), *others]
    return {**p, "spec": {**p["spec"], "volumes": volumes}} if volumes else p


def corrected(stateful_set: Object, p: Object) -> Object:
    """The pod with the labels and the storage that it must have; the same object when it has them."""
    if objects.labels(p).get(NAME_LABEL) != objects.name(p):
        labels = {**objects.labels(p), **_identity(objects.name(p), ordinal(p))}
        p = {**p, "metadata": {**p["metadata"], "labels": labels}}
    return p if _has_storage(stateful_set, p) else with_storage(stateful_set, p)


def claim_name(stateful_set: Object, claim: Object, number: int) -> str:
    """The name of the PersistentVolumeClaim that an ordinal has for a template."""
    return f"{objects.name(claim)}-{objects.name(stateful_set)}-{number}"


def revision_of(p: Object) -> str:
    """The name of the revision that the pod is of."""
    return objects.labels(p).get(revisions.POD_LABEL, "")


def is_ready(p: Object) -> bool:
    """Whether the pod runs and is ready."""
    return (p.get("status") or {}).get("phase") == "Running" and conditions.is_true(p, "Ready")


def is_available(stateful_set: Object, p: Object, now: float) -> bool:
    """Whether the pod has been ready for minReadySeconds."""
    return pods.is_available(p, min_ready(stateful_set), now)


def is_unavailable(stateful_set: Object, p: Object | None, now: float) -> bool:
    """Whether the set can't count on the pod: not there, not available, or on its way out."""
    return p is None or not is_available(stateful_set, p, now) or objects.is_deleting(p)


def _identity(name: str, number: int) -> dict[str, str]:
    return {NAME_LABEL: name, INDEX_LABEL: str(number)}


def _volumes(stateful_set: Object, number: int) -> dict[str, Any]:
    found = {}
    for claim in stateful_set["spec"].get("volumeClaimTemplates") or ():
        name = claim_name(stateful_set, claim, number)
        found[objects.name(claim)] = {"name": objects.name(claim), "persistentVolumeClaim": {"claimName": name}}
    return found


def _has_storage(stateful_set: Object, p: Object) -> bool:
    if not stateful_set["spec"].get("volumeClaimTemplates"):
        return True
    there = {v["name"]: v.get("persistentVolumeClaim") or {} for v in p["spec"].get("volumes") or ()}
    wanted = _volumes(stateful_set, ordinal(p)).items()
    return all(there.get(n, {}).get("claimName") == v["persistentVolumeClaim"]["claimName"] for n, v in wanted)
