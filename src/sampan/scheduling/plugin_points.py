"""Plugin points: where plugins have their say, and what a profile's lists of plugins leave of that. Pure.

https://kubernetes.io/docs/reference/scheduling/config/#multipoint
"""

from collections.abc import Mapping
from typing import Any

Tree = Mapping[str, Any]
Enabled = dict[str, int]  # plugin -> weight, in order

POINTS = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit", "preBind",
    "bind", "postBind",
)  # fmt: skip
MULTIPLE = "multiPoint"
GROUPS = ("placementGenerate", "placementScore")
"""Those of scheduling by groups, which is off."""
_LOOKING = ("preFilter", "filter", "preScore", "score")
OF_PLUGINS: Mapping[str, tuple[str, ...]] = {
    "SchedulingGates": ("preEnqueue",),
    "PrioritySort": ("queueSort",),
    "NodeUnschedulable": ("filter",),
    "NodeName": ("filter",),
    "TaintToleration": ("filter", "preScore", "score"),
    "NodeAffinity": _LOOKING,
    "NodePorts": ("preFilter", "filter"),
    "NodeResourcesFit": _LOOKING,
    "VolumeRestrictions": ("preFilter", "filter"),
    "NodeVolumeLimits": ("preFilter", "filter"),
    "VolumeBinding": (*_LOOKING, "reserve", "preBind"),
    "VolumeZone": ("preFilter", "filter"),
    "PodTopologySpread": _LOOKING,
    "InterPodAffinity": _LOOKING,
    "DynamicResources": ("preEnqueue", "preFilter", "filter", "postFilter", "score", "reserve", "preBind"),
    "DefaultPreemption": ("preEnqueue", "postFilter"),
    "NodeResourcesBalancedAllocation": ("preScore", "score"),
    "ImageLocality": ("score",),
    "DefaultBinder": ("bind",),
    "NodeDeclaredFeatures": ("preFilter", "filter"),
}
OFF = ("GangScheduling",)
"""Known, and off by default upstream as here; they can be listed as disabled."""
GONE = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")


def enabled(plugins: Tree, weights: Mapping[str, int]) -> dict[str, Enabled]:
    """Point -> its plugins, by a profile's `plugins`, from the defaults with these weights. Raises ValueError."""
    everywhere = _everywhere(plugins.get(MULTIPLE) or {}, weights)
    found: dict[str, Enabled] = {}
    for point in POINTS:
        own = plugins.get(point) or {}
        names = _named(own)
        for name in names:
            if point not in OF_PLUGINS.get(name, ()):
                raise ValueError(f'plugin "{name}" does not extend {point[0].upper()}{point[1:]} plugin')
        off = {str(each.get("name")) for each in own.get("disabled") or ()}
        rest = {} if "*" in off else everywhere
        added = {
            name: weight
            for name, weight in rest.items()
            if point in OF_PLUGINS[name] and name not in off and name not in names
        }
        found[point] = added | names
    return found


def check(enabled: Mapping[str, Enabled], name: str) -> None:
    """Without these a pod is never placed. Raises ValueError."""
    sorters = len(enabled["queueSort"])
    if sorters != 1:
        raise ValueError(
            f'only one queue sort plugin required for profile with scheduler name "{name}", but got {sorters}'
        )
    if not enabled["bind"]:
        raise ValueError(f'at least one bind plugin is needed for profile with scheduler name "{name}"')


def _everywhere(own: Tree, weights: Mapping[str, int]) -> Enabled:
    off = {str(each.get("name")) for each in own.get("disabled") or ()}
    names = _named(own)
    kept = {} if "*" in off else {name: weights.get(name, 1) for name in OF_PLUGINS if name not in off}
    return kept | names


def _named(own: Tree) -> Enabled:
    """The plugins that are listed as enabled; one without a weight has weight 1."""
    return {str(each.get("name")): int(each.get("weight") or 1) for each in own.get("enabled") or ()}
