"""Rights: what a layer does in a cluster beside following what its controllers follow, as rules of RBAC (pure).

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.kinds.kind import Kind, Object

FOLLOW = ("list", "watch")
APPLY = ("create", "patch")
"""Both are asked for where what is applied may not be there yet; both may be limited to names."""
SCALE_TARGETS = (("apps", ("deployments", "replicasets", "statefulsets")), ("", ("replicationcontrollers",)))
"""The workloads that every cluster has and that can be scaled."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Rules that hold `everywhere`, and such as hold in the namespace where layers keep what is theirs. `follows` are
    kinds that a service lists and watches.
    """

    everywhere: tuple[Object, ...] = ()
    at_home: tuple[Object, ...] = ()
    follows: tuple[Kind, ...] = ()


def rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Object:
    """Of one API group; for all objects, or those of these names."""
    made: Object = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**made, "resourceNames": list(names)} if names else made


def following(kinds: Iterable[Kind]) -> list[Object]:
    """To list and watch these kinds: a rule for each group."""
    by_group: dict[str, set[str]] = {}
    for kind in kinds:
        by_group.setdefault(kind.group, set()).add(kind.plural)
    return [rule(group, sorted(plurals), FOLLOW) for group, plurals in sorted(by_group.items())]


def covers(one: Object, other: Object) -> bool:
    """Whether who has the one rule has the other one too; not all such are seen."""
    parts = ("apiGroups", "resources", "verbs")
    is_wider = all(set(other[part]) <= set(one[part]) for part in parts)
    names = one.get("resourceNames")
    return is_wider and (not names or set(other.get("resourceNames") or ("",)) <= set(names))


def needed(rules: Iterable[Object]) -> list[Object]:
    """The rules without those that another one covers."""
    kept: list[Object] = []
    for one in rules:
        if not any(covers(other, one) for other in kept):
            kept = [*(other for other in kept if not covers(one, other)), one]
    return kept


def scaling() -> tuple[Object, ...]:
    """To read workloads, and to read and set how many replicas anything has."""
    targets = (rule(group, resources, ("get",)) for group, resources in SCALE_TARGETS)
    return rule("*", ("*/scale",), ("get", "update")), *targets
