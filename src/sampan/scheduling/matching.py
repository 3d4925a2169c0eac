"""Matching: which placed pods a term about other pods means, and in which domains they are. Pure."""

from collections.abc import Mapping
from typing import Any

from sampan.meta import objects, selectors
from sampan.scheduling.demand import Demand, Object
from sampan.scheduling.snapshot import Snapshot


def means(term: Mapping[str, Any], owner: Object, other: Object) -> bool:
    """Whether an affinity term of `owner` is about the pod `other`: its namespaces and its labels."""
    return _in_namespace(term, owner, objects.namespace(other)) and _selector(term, owner).matches(
        objects.labels(other)
    )


def counts(term: Mapping[str, Any], pod: Demand, snapshot: Snapshot) -> dict[str, int]:
    """How many pods that are meant each domain of the term's topologyKey has; domains without one are absent."""
    key, found = str(term["topologyKey"]), dict[str, int]()
    for n, usage in enumerate(snapshot.usage):
        domain = snapshot.labels[n].get(key)
        if domain is None:
            continue
        here = sum(1 for other in usage.pods.values() if _counts(term, pod, other.pod))
        if here:
            found[domain] = found.get(domain, 0) + here
    return found


def _counts(term: Mapping[str, Any], pod: Demand, other: Object) -> bool:
    return not objects.is_deleting(other) and means(term, pod.pod, other)


def _selector(term: Mapping[str, Any], owner: Object) -> selectors.Selector:
    selector = term.get("labelSelector")
    extra = {
        key: objects.labels(owner)[key] for key in term.get("matchLabelKeys") or () if key in objects.labels(owner)
    }
    if selector is None or not extra:
        return selectors.from_label_selector(selector)
    return selectors.from_label_selector({**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **extra}})


def _in_namespace(term: Mapping[str, Any], owner: Object, namespace: str) -> bool:
    """A namespaceSelector counts as all namespaces: their labels are not known here, and {} is the usual one."""
    if term.get("namespaceSelector") is not None:
        return True
    listed = term.get("namespaces")
    return namespace in listed if listed else namespace == objects.namespace(owner)
