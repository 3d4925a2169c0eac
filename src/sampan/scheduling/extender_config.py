"""Extender configuration: what a KubeSchedulerConfiguration says of extenders, and what is wrong with it. Pure.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/#kubescheduler-config-k8s-io-v1-Extender
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import resource_names
from sampan.meta import names
from sampan.meta.status import Cause, invalid_value
from sampan.scheduling import plugin_args
from sampan.scheduling.extending import DEFAULT_SECONDS, Extender

Tree = Mapping[str, Any]

_FIELDS = frozenset(
    (
        "urlPrefix", "filterVerb", "prioritizeVerb", "preemptVerb", "bindVerb", "weight", "enableHTTPS", "tlsConfig",
        "httpTimeout", "nodeCacheCapable", "managedResources", "ignorable",
    )
)  # fmt: skip


def read(listed: Sequence[Tree]) -> tuple[Extender, ...]:
    """The extenders in the order in which they are asked: those that may be left out come last. Raises ValueError."""
    found = [_extender(tree, f"extenders[{at}]") for at, tree in enumerate(listed)]
    return tuple(sorted(found, key=lambda each: each.is_ignorable))


def ignored(listed: Sequence[Tree]) -> tuple[str, ...]:
    """The resources that only extenders look at."""
    managed = (each for tree in listed for each in tree.get("managedResources") or ())
    return tuple(str(each["name"]) for each in managed if each.get("ignoredByScheduler"))


def causes(listed: Sequence[Tree]) -> list[Cause]:
    """All that is wrong."""
    found: list[Cause] = []
    seen: set[str] = set()
    for at, tree in enumerate(listed):
        path, weight = f"extenders[{at}]", tree.get("weight") or 0
        if tree.get("prioritizeVerb") and weight <= 0:
            found.append(invalid_value(f"{path}.weight", weight, "must have a positive weight applied to it"))
        for number, each in enumerate(tree.get("managedResources") or ()):
            name, where = str(each.get("name") or ""), f"{path}.managedResources[{number}].name"
            found += _name_causes(name, where)
            if name in seen:
                found.append(invalid_value(where, name, "duplicate extender managed resource name"))
            seen.add(name)
    binders = sum(1 for tree in listed if tree.get("bindVerb"))
    if binders > 1:
        text = f"found {binders} extenders implementing bind"
        found.append(invalid_value("extenders", text, "only one extender can implement bind"))
    return found


def _name_causes(name: str, path: str) -> list[Cause]:
    wrong = [invalid_value(path, name, text) for text in names.qualified_name(name)]
    if wrong or resource_names.is_extended(name):
        return wrong
    return [invalid_value(path, name, "is an invalid extended resource name")]


def _extender(tree: Tree, path: str) -> Extender:
    for field in tree:
        if field not in _FIELDS:
            raise ValueError(f'unknown field "{path}.{field}"')
    tls = {key: value for key, value in (tree.get("tlsConfig") or {}).items() if value}
    if tree.get("enableHTTPS"):
        tls["enableHTTPS"] = True
    timeout = tree.get("httpTimeout")
    return Extender(
        url=str(tree.get("urlPrefix") or ""),
        filter_verb=str(tree.get("filterVerb") or ""),
        prioritize_verb=str(tree.get("prioritizeVerb") or ""),
        preempt_verb=str(tree.get("preemptVerb") or ""),
        bind_verb=str(tree.get("bindVerb") or ""),
        weight=int(tree.get("weight") or 0),
        seconds=(plugin_args.seconds(timeout) if timeout else 0.0) or DEFAULT_SECONDS,
        is_caching=bool(tree.get("nodeCacheCapable")),
        is_ignorable=bool(tree.get("ignorable")),
        resources=frozenset(str(each.get("name")) for each in tree.get("managedResources") or ()),
        tls=tuple(sorted(tls.items())),
    )
