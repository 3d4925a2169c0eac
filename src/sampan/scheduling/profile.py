"""Profile: which plugins place pods, with which weights: the default one, and what a configuration makes of it. Pure.

https://kubernetes.io/docs/reference/scheduling/config/#profiles
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduling.demand import SCHEDULER
from sampan.scheduling.framework import FieldPlugin, Filter, Local, Score, Signs, Weigh
from sampan.scheduling.plugins import (
    image_locality,
    inter_pod_affinity,
    node_affinity,
    node_declared_features,
    node_name,
    node_ports,
    node_resources_balanced,
    node_resources_fit,
    node_unschedulable,
    taint_toleration,
    topology_spread,
)

Args = Mapping[str, Any]

PREEMPTION = "DefaultPreemption"
FIT = node_resources_fit.NAME
# In upstream's order: a node counts under the first plugin that refuses it.
_LOCAL = (
    node_unschedulable,
    node_name,
    taint_toleration,
    node_affinity,
    node_ports,
    node_resources_fit,
    node_declared_features,
    node_resources_balanced,
    image_locality,
)
_FIELD = (topology_spread, inter_pod_affinity)
WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
}
"""Of the plugins that score, as they are by default."""
FILTERING = frozenset(
    (
        "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
        "NodeDeclaredFeatures", "PodTopologySpread", "InterPodAffinity",
    )
)  # fmt: skip
"""The plugins that refuse nodes."""
EXTRAS = frozenset(("VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "DynamicResources"))
"""Those that know other objects."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a profile is made of: the plugins that filter, those that score with their weights, and their arguments."""

    name: str = SCHEDULER
    filtering: frozenset[str] = FILTERING
    scoring: Mapping[str, int] = field(default_factory=lambda: dict(WEIGHTS))
    args: Mapping[str, Args] = field(default_factory=dict)
    preempts: bool = True
    extras: frozenset[str] = EXTRAS


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The plugins by what they do. `pod_filters` are those of the filters whose word depends on the node's pods.

    `enabled` are the names of those that know other objects; `args` are all plugins' arguments.
    """

    name: str
    filters: Sequence[Filter]
    pod_filters: Sequence[Filter]
    scores: Sequence[tuple[Score, int]]
    signs: Sequence[tuple[Signs, Weigh, int]]
    fields: Sequence[tuple[FieldPlugin, int]]
    preempts: bool = True
    candidates: tuple[int, int] = (10, 100)
    """Of how many nodes preemption weighs the victims: at least so many per cent, and so many."""
    enabled: frozenset[str] = EXTRAS
    args: Mapping[str, Args] = field(default_factory=dict)


def make(choice: Choice) -> Profile:
    """The profile of a choice."""
    local = [module.plugin(choice.args.get(module.NAME) or {}) for module in _LOCAL]
    scoring = choice.scoring
    filters = [each for each in local if each.filter is not None and each.name in choice.filtering]
    preemption = choice.args.get(PREEMPTION) or {}
    return Profile(
        name=choice.name,
        filters=[each.filter for each in filters if each.filter],
        pod_filters=[each.filter for each in filters if each.filter and each.reads_pods],
        scores=[(each.score, scoring[each.name]) for each in local if each.score and scoring.get(each.name)],
        signs=[_signs(each, scoring[each.name]) for each in local if each.sign and scoring.get(each.name)],
        fields=[plugin for module in _FIELD if (plugin := _field(module, choice)) is not None],
        preempts=choice.preempts,
        candidates=(
            int(preemption.get("minCandidateNodesPercentage", 10)),
            int(preemption.get("minCandidateNodesAbsolute", 100)),
        ),
        enabled=choice.extras,
        args=choice.args,
    )


def _signs(each: Local, weight: int) -> tuple[Signs, Weigh, int]:
    assert each.sign is not None
    assert each.weigh is not None
    return each.sign, each.weigh, weight


def _field(module: Any, choice: Choice) -> tuple[FieldPlugin, int] | None:
    """A plugin that is only to filter has no weight; one that is only to score is told so."""
    filters, weight = module.NAME in choice.filtering, choice.scoring.get(module.NAME, 0)
    if not filters and not weight:
        return None
    return module.plugin(choice.args.get(module.NAME) or {}, filters), weight


DEFAULT = make(Choice())
