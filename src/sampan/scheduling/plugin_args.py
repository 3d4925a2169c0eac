"""Plugin arguments: what is wrong with those of a configuration. Pure.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.cel import times
from sampan.kinds.parts import node_selector_rules
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

Tree = Mapping[str, Any]

LEAST, MOST, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
SYSTEM, LIST = "System", "List"
_MAX_POINTS = 10
_HUNDRED = "not in valid range [0, 100]"
_OPEN = "not in valid range [0, inf)"


def causes(plugin: str, args: Tree, path: str) -> list[Cause]:
    """All that is wrong with the arguments of a plugin. Raises ValueError for fields that there are not."""
    fields, check = _OF.get(plugin, ((), _nothing))
    for field in args:
        if field not in (*fields, "apiVersion", "kind"):
            raise ValueError(f'unknown field "{path}.{field}"')
    kind = args.get("kind")
    if kind not in (None, f"{plugin}Args"):
        return [invalid_value(path, kind, "has to match plugin args")]
    return check(args, path)


def _nothing(args: Tree, path: str) -> list[Cause]:
    return []


def _preemption(args: Tree, path: str) -> list[Cause]:
    share, number = args.get("minCandidateNodesPercentage"), args.get("minCandidateNodesAbsolute")
    share, number = 10 if share is None else share, 100 if number is None else number
    at_share, at_number = f"{path}.minCandidateNodesPercentage", f"{path}.minCandidateNodesAbsolute"
    found = [] if 0 <= share <= 100 else [invalid_value(at_share, share, _HUNDRED)]
    found += [] if number >= 0 else [invalid_value(at_number, number, _OPEN)]
    if not share and not number:
        both = "cannot be zero at the same time as"
        found.append(invalid_value(at_share, share, f"{both} minCandidateNodesAbsolute"))
        found.append(invalid_value(at_number, number, f"{both} minCandidateNodesPercentage"))
    return found


def _inter_pod(args: Tree, path: str) -> list[Cause]:
    weight = args.get("hardPodAffinityWeight")
    if weight is None or 0 <= weight <= 100:
        return []
    return [invalid_value(f"{path}.hardPodAffinityWeight", weight, _HUNDRED)]


def _node_affinity(args: Tree, path: str) -> list[Cause]:
    added, where = args.get("addedAffinity") or {}, f"{path}.addedAffinity"
    found: list[Cause] = []
    wanted = added.get("requiredDuringSchedulingIgnoredDuringExecution")
    if wanted is not None:
        found += node_selector_rules.causes(wanted, f"{where}.requiredDuringSchedulingIgnoredDuringExecution")
    for at, each in enumerate(added.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        place = f"{where}.preferredDuringSchedulingIgnoredDuringExecution[{at}].preference"
        found += node_selector_rules.term_causes(each.get("preference") or {}, place)
    return found


def _balanced(args: Tree, path: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for at, each in enumerate(args.get("resources") or ()):
        name, weight = str(each.get("name") or ""), each.get("weight") or 1
        if name in seen:
            found.append(duplicate(f"{path}.resources[{at}].name", name))
        seen.add(name)
        if weight != 1:
            found.append(invalid_value(f"{path}.resources[{at}].weight", weight, "must be 1"))
    return found


def _fit(args: Tree, path: str) -> list[Cause]:
    found: list[Cause] = []
    for at, each in enumerate(args.get("ignoredResources") or ()):
        found += [invalid_value(f"{path}.ignoredResources[{at}]", each, text) for text in names.qualified_name(each)]
    for at, each in enumerate(args.get("ignoredResourceGroups") or ()):
        where = f"{path}.ignoredResourceGroups[{at}]"
        if "/" in each:
            found.append(invalid_value(where, each, "resource group name can't contain '/'"))
        found += [invalid_value(where, each, text) for text in names.qualified_name(each)]
    if args.get("scoringStrategy") is not None:
        found += _strategy(args["scoringStrategy"], f"{path}.scoringStrategy")
    return found


def _strategy(strategy: Tree, path: str) -> list[Cause]:
    kind, ratio = strategy.get("type") or LEAST, strategy.get("requestedToCapacityRatio")
    found = [] if kind in (LEAST, MOST, RATIO) else [not_supported(f"{path}.type", kind, (LEAST, MOST, RATIO))]
    for at, each in enumerate(strategy.get("resources") or ()):
        weight = each.get("weight") or 1
        if not 0 < weight <= 100:
            text = f"resource weight of {each.get('name')} not in valid range (0, 100]"
            found.append(invalid_value(f"{path}.resources[{at}].weight", weight, text))
    where = f"{path}.requestedToCapacityRatio"
    if kind != RATIO:
        only = "must be nil when type is not RequestedToCapacityRatio"
        return found if ratio is None else [*found, forbidden_field(where, only)]
    if ratio is None:
        return [*found, required(where, "must be specified when type is RequestedToCapacityRatio")]
    return found + _shape(ratio.get("shape") or (), f"{where}.shape")


def _shape(shape: Sequence[Tree], path: str) -> list[Cause]:
    if not shape:
        return [required(path, "at least one point must be specified")]
    used = [int(each.get("utilization") or 0) for each in shape]
    scores = [int(each.get("score") or 0) for each in shape]
    found: list[Cause] = []
    falls = next((at for at in range(1, len(used)) if used[at - 1] >= used[at]), 0)
    if falls:
        text = "values must be sorted in increasing order"
        found.append(invalid_value(f"{path}[{falls}].utilization", used[falls], text))
    for at, (one, score) in enumerate(zip(used, scores, strict=True)):
        if not 0 <= one <= 100:
            found.append(invalid_value(f"{path}[{at}].utilization", one, _HUNDRED))
        if not 0 <= score <= _MAX_POINTS:
            found.append(invalid_value(f"{path}[{at}].score", score, f"not in valid range [0, {_MAX_POINTS}]"))
    return found


def _spread(args: Tree, path: str) -> list[Cause]:
    kind, constraints = args.get("defaultingType") or SYSTEM, args.get("defaultConstraints") or ()
    found: list[Cause] = []
    if kind not in (SYSTEM, LIST):
        found.append(not_supported(f"{path}.defaultingType", kind, (SYSTEM, LIST), in_order=True))
    elif kind == SYSTEM and constraints:
        found.append(invalid_value(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty"))
    seen: set[tuple[str, str]] = set()
    for at, each in enumerate(constraints):
        found += _constraint(each, f"{path}.defaultConstraints[{at}]")
        both = (str(each.get("topologyKey") or ""), str(each.get("whenUnsatisfiable") or ""))
        if both in seen:
            found.append(duplicate(f"{path}.defaultConstraints[{at}]", f"{{{both[0]}, {both[1]}}}"))
        seen.add(both)
    return found


def _constraint(constraint: Tree, path: str) -> list[Cause]:
    skew, key, action = (constraint.get(field) for field in ("maxSkew", "topologyKey", "whenUnsatisfiable"))
    found: list[Cause] = []
    if (skew or 0) <= 0:
        found.append(invalid_value(f"{path}.maxSkew", skew or 0, "not in valid range (0, inf)"))
    if not key:
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    else:
        found += [invalid_value(f"{path}.topologyKey", key, text) for text in names.qualified_name(key)]
    actions = ("DoNotSchedule", "ScheduleAnyway")
    if not action:
        found.append(required(f"{path}.whenUnsatisfiable", "can not be empty"))
    elif action not in actions:
        found.append(not_supported(f"{path}.whenUnsatisfiable", action, actions))
    if constraint.get("labelSelector") is not None:
        text = "constraint must not define a selector, as they deduced for each pod"
        found.append(forbidden_field(f"{path}.labelSelector", text))
    return found


def _volume_binding(args: Tree, path: str) -> list[Cause]:
    seconds, shape = args.get("bindTimeoutSeconds"), args.get("shape")
    found: list[Cause] = []
    if seconds is not None and seconds < 0:
        text = "invalid BindTimeoutSeconds, should not be a negative value"
        found.append(invalid_value(f"{path}.bindTimeoutSeconds", seconds, text))
    if shape is not None:
        text = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        found.append(invalid_value(f"{path}.shape", shape, text))
    return found


def _devices(args: Tree, path: str) -> list[Cause]:
    found: list[Cause] = []
    for field, least, text in (
        ("filterTimeout", 0.0, "must be zero or positive"),
        ("bindingTimeout", 1.0, "must be at least 1 second"),
    ):
        given = args.get(field)
        if given is not None and seconds(given) < least:
            found.append(invalid_value(f"{path}.{field}", given, text))
    return found


def seconds(text: str) -> float:
    """A duration as Go writes it. Raises ValueError."""
    return times.parse_duration(text).nanos / times.SECOND


_OF: Mapping[str, tuple[tuple[str, ...], Callable[[Tree, str], list[Cause]]]] = {
    "DefaultPreemption": (("minCandidateNodesPercentage", "minCandidateNodesAbsolute"), _preemption),
    "InterPodAffinity": (("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"), _inter_pod),
    "NodeAffinity": (("addedAffinity",), _node_affinity),
    "NodeResourcesBalancedAllocation": (("resources",), _balanced),
    "NodeResourcesFit": (("ignoredResources", "ignoredResourceGroups", "scoringStrategy"), _fit),
    "PodTopologySpread": (("defaultConstraints", "defaultingType"), _spread),
    "VolumeBinding": (("bindTimeoutSeconds", "shape"), _volume_binding),
    "DynamicResources": (("filterTimeout", "bindingTimeout"), _devices),
}
