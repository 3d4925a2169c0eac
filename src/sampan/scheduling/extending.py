"""Extending: what programs outside say of a pod and its nodes: how they are asked, and how their answers are read. Pure.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/#kubescheduler-config-k8s-io-v1-Extender
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.scheduling.demand import Demand
from sampan.scheduling.snapshot import Snapshot
from sampan.scheduling.steps import Steps
from sampan.scheduling.verdict import Verdict

NAME = "Extender"
DEFAULT_SECONDS = 5.0
SCALE = 10
"""Extenders give up to 10 points, plugins up to 100."""

Tree = Mapping[str, Any]


class ExtenderError(Exception):
    """What an extender says is wrong, or why it could not be asked."""


@dataclass(frozen=True, slots=True)
class Extender:
    """One of the configuration's. `resources` are those that it manages: only pods that want one concern it.

    A verb is the last part of the URL where that is asked; "" for what it has no say in. `tls` is as configured.
    """

    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 0
    seconds: float = DEFAULT_SECONDS
    is_caching: bool = False
    is_ignorable: bool = False
    resources: frozenset[str] = frozenset()
    tls: tuple[tuple[str, Any], ...] = ()

    def is_interested(self, pod: Demand) -> bool:
        """Whether it is to be asked about the pod."""
        return not self.resources or not self.resources.isdisjoint(_named(pod.spec))


@dataclass(frozen=True, slots=True)
class Question:
    """To be asked under a verb; `nodes` are the names of those that it is about, with their objects if `is_full`."""

    extender: Extender
    verb: str
    body: Tree
    nodes: Sequence[str] = ()
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class Victims:
    """Whom to push out of a node, the most important first, and how many of them violate a budget."""

    pods: tuple[Demand, ...]
    violations: int


def filtered(extender: Extender, pod: Demand, names: Sequence[str]) -> Steps[dict[str, Verdict]]:
    """The nodes that it refuses. Raises ExtenderError."""
    try:
        answer = yield from _ask(extender, extender.filter_verb, pod, names)
        if error := _field(answer, "Error"):
            raise ExtenderError(str(error))
        kept = _kept(extender, answer, names)
    except ExtenderError:
        if extender.is_ignorable:
            return {}
        raise
    failed, final = _field(answer, "FailedNodes") or {}, _field(answer, "FailedAndUnresolvableNodes") or {}
    found: dict[str, Verdict] = {}
    for name in names:
        if name in kept:
            continue
        if name in final:
            found[name] = Verdict(NAME, (str(final[name]),))
        elif name in failed:
            found[name] = Verdict(NAME, (str(failed[name]),), is_final=False)
        else:
            found[name] = Verdict(NAME, ())
    return found


def points(extender: Extender, pod: Demand, names: Sequence[str]) -> Steps[dict[str, int]]:
    """How much it likes nodes, as plugins count; nothing when it cannot be asked."""
    try:
        answer = yield from _ask(extender, extender.prioritize_verb, pod, names)
    except ExtenderError:
        return {}
    listed = answer if isinstance(answer, Sequence) else ()
    factor = extender.weight * SCALE
    return {str(_field(each, "Host")): int(_field(each, "Score") or 0) * factor for each in listed}


def narrowed(
    extender: Extender, pod: Demand, found: Mapping[str, Victims], snapshot: Snapshot
) -> Steps[dict[str, Victims]]:
    """The nodes with victims that it agrees to. Raises ExtenderError."""
    whole = {name: _whole(victims) for name, victims in found.items()}
    brief = {name: _brief(victims) for name, victims in found.items()}
    body = {
        "Pod": pod.pod,
        "NodeNameToVictims": None if extender.is_caching else whole,
        "NodeNameToMetaVictims": brief if extender.is_caching else None,
    }
    try:
        answer = _checked((yield Question(extender, extender.preempt_verb, body)))
        listed = _field(answer, "NodeNameToMetaVictims") or {}
        return {str(name): _victims(extender, str(name), tree, snapshot) for name, tree in listed.items()}
    except ExtenderError:
        if extender.is_ignorable:
            return dict(found)
        raise


def binding(extender: Extender, pod: Demand, node: str) -> Question:
    """The question whether it binds the pod."""
    name, namespace = pod.pod["metadata"]["name"], pod.namespace
    body = {"PodName": name, "PodNamespace": namespace, "PodUID": pod.uid, "Node": node}
    return Question(extender, extender.bind_verb, body)


def check_bound(answer: Any) -> None:
    """Raises ExtenderError when the pod is not bound."""
    if error := _field(_checked(answer), "Error"):
        raise ExtenderError(str(error))


def _ask(extender: Extender, verb: str, pod: Demand, names: Sequence[str]) -> Steps[Any]:
    body = {"Pod": pod.pod, "Nodes": None, "NodeNames": list(names) if extender.is_caching else None}
    return _checked((yield Question(extender, verb, body, names, is_full=not extender.is_caching)))


def _checked(answer: Any) -> Any:
    """The answer. Raises another error like it when it is one: whoever holds the answer would be held by the error's traceback."""
    if isinstance(answer, ExtenderError):
        raise ExtenderError(*answer.args)
    return {} if answer is None else answer


def _kept(extender: Extender, answer: Any, names: Sequence[str]) -> set[str]:
    listed = _field(answer, "NodeNames")
    if extender.is_caching and listed is not None:
        asked = set(names)
        for name in listed:
            if name not in asked:
                raise ExtenderError(
                    f'extender "{extender.url}" claims a filtered node "{name}" which is not found in the input node list'
                )
        return set(listed)
    items = _field(_field(answer, "Nodes") or {}, "items") or ()
    return {each["metadata"]["name"] for each in items}


def _victims(extender: Extender, name: str, tree: Tree, snapshot: Snapshot) -> Victims:
    if name not in snapshot.index:
        raise ExtenderError(f'nodeinfo not found for node name "{name}"')
    there = snapshot.usage[snapshot.index[name]].pods
    uids = [str(_field(each, "UID") or "") for each in _field(tree, "Pods") or ()]
    for uid in uids:
        if uid not in there:
            raise ExtenderError(
                f"extender: {extender.url} claims to preempt pod (UID: {uid}) on node: {name}, but the pod is not found on that node"
            )
    if not uids:
        raise ExtenderError(f'expected at least one victim pod on node "{name}"')
    return Victims(tuple(there[uid] for uid in uids), int(_field(tree, "NumPDBViolations") or 0))


def _whole(victims: Victims) -> Tree:
    return {"Pods": [victim.pod for victim in victims.pods], "NumPDBViolations": victims.violations}


def _brief(victims: Victims) -> Tree:
    return {"Pods": [{"UID": victim.uid} for victim in victims.pods], "NumPDBViolations": victims.violations}


def _field(tree: Any, name: str) -> Any:
    """By its name in any case, as Go's decoders have it."""
    if not isinstance(tree, Mapping):
        return None
    if name in tree:
        return tree[name]
    return next((value for key, value in tree.items() if key.lower() == name.lower()), None)


def _named(spec: Tree) -> set[str]:
    """The resources that containers request or are limited in."""
    return {
        resource
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for part in ("requests", "limits")
        for resource in (container.get("resources") or {}).get(part) or ()
    }
