"""Configuration: a KubeSchedulerConfiguration, as kube-scheduler takes it with --config, made into profiles. Pure.

What only concerns how upstream's process runs (leader election, connections, parallelism, percentageOfNodesToScore)
is checked and means nothing here: every node is looked at.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduling import profile
from sampan.scheduling.demand import SCHEDULER
from sampan.scheduling.profile import DEFAULT, FILTERING, PREEMPTION, WEIGHTS, Choice, Profile

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
_IGNORED = frozenset(
    (
        "parallelism", "leaderElection", "clientConnection", "healthzBindAddress", "metricsBindAddress",
        "enableProfiling", "enableContentionProfiling", "percentageOfNodesToScore", "delayCacheUntilActive",
    )
)  # fmt: skip
_KNOWN = _IGNORED | {"apiVersion", "kind", "profiles", "podInitialBackoffSeconds", "podMaxBackoffSeconds", "extenders"}
# Plugins that are always there, or that are not here yet: naming them is no mistake.
_OTHERS = frozenset(
    (
        "PrioritySort", "SchedulingGates", "DefaultBinder", PREEMPTION, "VolumeRestrictions", "NodeVolumeLimits",
        "VolumeBinding", "VolumeZone", "DynamicResources", "NodeDeclaredFeatures", "GangScheduling",
    )
)  # fmt: skip
_PLUGINS = FILTERING | frozenset(WEIGHTS) | _OTHERS
_POINTS = frozenset(
    (
        "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
        "preBind", "bind", "postBind", "multiPoint", "placementGenerate", "placementScore",
    )
)  # fmt: skip
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


class ConfigError(ValueError):
    """What is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Profiles by schedulerName, and how long a pod that found no node is left alone."""

    profiles: Mapping[str, Profile] = field(default_factory=lambda: {SCHEDULER: DEFAULT})
    first_backoff_seconds: float = 1.0
    last_backoff_seconds: float = 10.0


DEFAULTS = Configuration()


def read(tree: Any) -> Configuration:
    """The configuration of a document. Raises ConfigError."""
    if not isinstance(tree, Mapping) or (tree.get("apiVersion"), tree.get("kind")) != (API_VERSION, KIND):
        raise ConfigError(f"this is no {KIND} of {API_VERSION}")
    if unknown := sorted(set(tree) - _KNOWN):
        raise ConfigError(f'unknown field "{unknown[0]}"')
    if tree.get("extenders"):
        raise ConfigError("extenders: not supported by this version of Sampan")
    choices = [_choice(each, f"profiles[{at}]") for at, each in enumerate(tree.get("profiles") or ({},))]
    names = [choice.name for choice in choices]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ConfigError(f'profiles[{at}].schedulerName: Duplicate value: "{name}"')
    first = _positive(tree, "podInitialBackoffSeconds", 1)
    last = _positive(tree, "podMaxBackoffSeconds", 10)
    if last < first:
        why = "must be greater than or equal to PodInitialBackoffSeconds"
        raise ConfigError(f"podMaxBackoffSeconds: Invalid value: {last:g}: {why}")
    return Configuration({choice.name: profile.make(choice) for choice in choices}, first, last)


def _positive(tree: Mapping[str, Any], name: str, default: int) -> float:
    value = tree.get(name, default)
    if not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{name}: Invalid value: {value}: must be greater than 0")
    return float(value)


def _choice(tree: Any, path: str) -> Choice:
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path}: must be an object")
    if unknown := sorted(set(tree) - {"schedulerName", "plugins", "pluginConfig", "percentageOfNodesToScore"}):
        raise ConfigError(f'{path}: unknown field "{unknown[0]}"')
    plugins = tree.get("plugins") or {}
    if unknown := sorted(set(plugins) - _POINTS):
        raise ConfigError(f'{path}.plugins: unknown field "{unknown[0]}"')
    filtering, scoring, preempts = set(FILTERING), dict(WEIGHTS), True
    for point in ("multiPoint", "filter", "score", "postFilter"):
        disabled, enabled = _listed(plugins.get(point) or {}, f"{path}.plugins.{point}")
        if point in ("multiPoint", "filter"):
            filtering = _chosen(filtering, FILTERING, disabled, enabled)
        if point in ("multiPoint", "score"):
            scoring = _weighed(scoring, disabled, enabled)
        if point in ("multiPoint", "postFilter"):
            preempts = PREEMPTION in enabled or (preempts and not {PREEMPTION, "*"} & set(disabled))
    return Choice(
        name=str(tree.get("schedulerName") or SCHEDULER),
        filtering=frozenset(filtering),
        scoring=scoring,
        args=_args(tree.get("pluginConfig") or (), f"{path}.pluginConfig"),
        preempts=preempts,
    )


def _listed(tree: Mapping[str, Any], path: str) -> tuple[list[str], dict[str, int]]:
    """Names that are disabled, and those that are enabled with their weights (0: the default)."""
    disabled = [str(each.get("name")) for each in tree.get("disabled") or ()]
    enabled = {str(each.get("name")): int(each.get("weight") or 0) for each in tree.get("enabled") or ()}
    for name in (*disabled, *enabled):
        if name != "*" and name not in _PLUGINS:
            raise ConfigError(f'{path}: plugin "{name}" does not exist')
    return disabled, enabled


def _chosen(now: set[str], possible: frozenset[str], disabled: Sequence[str], enabled: Mapping[str, int]) -> set[str]:
    left = set() if "*" in disabled else now - set(disabled)
    return left | (possible & set(enabled))


def _weighed(now: dict[str, int], disabled: Sequence[str], enabled: Mapping[str, int]) -> dict[str, int]:
    left = {} if "*" in disabled else {name: weight for name, weight in now.items() if name not in disabled}
    added = {name: weight or now.get(name) or WEIGHTS[name] for name, weight in enabled.items() if name in WEIGHTS}
    return left | added


def _args(listed: Any, path: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for at, each in enumerate(listed):
        name = str(each.get("name") or "")
        if name not in _PLUGINS:
            raise ConfigError(f'{path}[{at}]: plugin "{name}" does not exist')
        if name in found:
            raise ConfigError(f'{path}[{at}]: Duplicate value: "{name}"')
        found[name] = each.get("args") or {}
    _check(found, path)
    return found


def _check(args: Mapping[str, Mapping[str, Any]], path: str) -> None:
    """The arguments that plugins would stumble over."""
    strategy = (args.get("NodeResourcesFit") or {}).get("scoringStrategy") or {}
    kind = strategy.get("type", _STRATEGIES[0])
    if kind not in _STRATEGIES:
        supported = ", ".join(f'"{each}"' for each in _STRATEGIES)
        raise ConfigError(f'{path}: scoringStrategy.type: Unsupported value: "{kind}": supported values: {supported}')
    if kind == _STRATEGIES[2] and not (strategy.get("requestedToCapacityRatio") or {}).get("shape"):
        raise ConfigError(f"{path}: scoringStrategy.requestedToCapacityRatio.shape: Required value")
    weight = (args.get("InterPodAffinity") or {}).get("hardPodAffinityWeight", 1)
    if not isinstance(weight, int) or not 0 <= weight <= 100:
        raise ConfigError(f"{path}: hardPodAffinityWeight: Invalid value: {weight}: not in valid range [0, 100]")
    spread = args.get("PodTopologySpread") or {}
    if spread.get("defaultConstraints") and spread.get("defaultingType", "System") != "List":
        why = 'when .defaultingType is "System", .defaultConstraints must be empty'
        raise ConfigError(f"{path}: defaultingType: Invalid value: {why}")
