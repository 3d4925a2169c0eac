"""matchLabelKeys and mismatchLabelKeys of a new pod become part of its selectors, with the pod's own labels.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#matchlabelkeys
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import names, objects
from sampan.meta.status import Cause, forbidden_field, invalid_value

Term = dict[str, Any]

_OPERATORS = {"matchLabelKeys": "In", "mismatchLabelKeys": "NotIn"}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def merge(pod: Object) -> None:
    """Adds a requirement for each key that the pod has a label of, in place."""
    spec, labels = pod["spec"], objects.labels(pod)
    if not (spec.get("affinity") or spec.get("topologySpreadConstraints")):
        return
    for term in _terms(spec):
        for field, operator in _OPERATORS.items():
            found = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for key in term.get(field) or ()
                if key in labels
            ]
            selector = term.get("labelSelector")
            if found and selector is not None:
                present = selector.get("matchExpressions") or []
                selector["matchExpressions"] = [*present, *(one for one in found if one not in present)]


def causes(term: Mapping[str, Any], path: str) -> list[Cause]:
    """Keys are label keys, of a selector that is there, and not in both lists."""
    found: list[Cause] = []
    for field in _OPERATORS:
        keys = term.get(field) or ()
        if keys and term.get("labelSelector") is None:
            found.append(forbidden_field(f"{path}.{field}", "must not be specified when labelSelector is not set"))
            continue
        for index, key in enumerate(keys):
            found += [invalid_value(f"{path}.{field}[{index}]", key, text) for text in names.qualified_name(key)]
    for index, key in enumerate(term.get("mismatchLabelKeys") or ()):
        if key in (term.get("matchLabelKeys") or ()):
            text = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(invalid_value(f"{path}.mismatchLabelKeys[{index}]", key, text))
    return found


def _terms(spec: Mapping[str, Any]) -> Iterator[Term]:
    """All that selects pods by label: affinity terms and spread constraints."""
    yield from spec.get("topologySpreadConstraints") or ()
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(kind) or {}
        yield from affinity.get(_REQUIRED) or ()
        for wish in affinity.get(_PREFERRED) or ():
            if wish.get("podAffinityTerm") is not None:
                yield wish["podAffinityTerm"]
