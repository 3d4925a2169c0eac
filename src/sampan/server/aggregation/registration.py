"""The APIServices of what is served here: one for each group and version, made and kept by the server.

Built-in ones are looked after once, at the start; those of custom resources come and go with their
definitions. An APIService without the label is somebody else's and is left alone.

https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sampan.kinds.apiregistration.api_service import name_of
from sampan.kinds.kind import Kind
from sampan.meta import objects
from sampan.server.aggregation import priorities

Tree = dict[str, Any]

LABEL = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"


def wanted(kinds: Iterable[Kind]) -> dict[str, Tree]:
    """The APIServices of these kinds by name. The group of APIServices itself has none."""
    custom: dict[tuple[str, str], bool] = {}
    for kind in kinds:
        if not kind.plural or kind.group == priorities.FIRST:
            continue
        for version in kind.versions:
            key = (kind.group, version)
            custom[key] = custom.get(key, True) and kind.custom
    return {name_of(*key): _service(*key, ALWAYS if custom[key] else ON_START) for key in sorted(custom)}


def changes(live: Mapping[str, Tree], desired: Mapping[str, Tree], *, starting: bool) -> Iterator[tuple[str, Tree]]:
    """What is to be done: ("create" | "update" | "delete", object)."""
    for name, service in desired.items():
        how = objects.labels(service)[LABEL]
        if how == ON_START and not starting:
            continue
        now = live.get(name)
        if now is None:
            yield "create", service
        elif objects.labels(now).get(LABEL) in (ON_START, ALWAYS) and _differs(now, service):
            metadata = {**now["metadata"], "labels": {**objects.labels(now), LABEL: how}}
            yield "update", {**now, "metadata": metadata, "spec": service["spec"]}
    for name, now in live.items():
        how = objects.labels(now).get(LABEL, "")
        if name not in desired and (how == ALWAYS or (how == ON_START and starting)):
            yield "delete", now


def _differs(now: Tree, service: Tree) -> bool:
    return bool(now.get("spec") != service["spec"] or objects.labels(now).get(LABEL) != objects.labels(service)[LABEL])


def _service(group: str, version: str, how: str) -> Tree:
    group_priority, version_priority = priorities.of(group, version)
    spec: Tree = {"version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority}
    if group:
        spec = {"group": group, **spec}
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": name_of(group, version), "labels": {LABEL: how}},
        "spec": spec,
    }
