"""Configuration: a KubeSchedulerConfiguration, as kube-scheduler takes it with --config, made into profiles. Pure.

What only concerns how upstream's process runs (leader election, connections, parallelism) is checked and means
nothing here. Nor does percentageOfNodesToScore: every node is looked at, at no cost that it could spare.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.meta.status import Cause, duplicate, invalid_value, required
from sampan.scheduling import extender_config, plugin_args, plugin_points, profile
from sampan.scheduling.demand import SCHEDULER
from sampan.scheduling.extending import Extender
from sampan.scheduling.plugin_points import GONE, GROUPS, MULTIPLE, OF_PLUGINS, OFF, POINTS
from sampan.scheduling.profile import DEFAULT, FIT, PREEMPTION, WEIGHTS, Choice, Profile

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
_IGNORED = frozenset(
    (
        "leaderElection", "clientConnection", "healthzBindAddress", "metricsBindAddress", "enableProfiling",
        "enableContentionProfiling", "delayCacheUntilActive",
    )
)  # fmt: skip
_KNOWN = _IGNORED | {
    "apiVersion", "kind", "profiles", "podInitialBackoffSeconds", "podMaxBackoffSeconds", "extenders", "parallelism",
    "percentageOfNodesToScore",
}  # fmt: skip
_OF_PROFILE = ("schedulerName", "plugins", "pluginConfig", "percentageOfNodesToScore")
_OF_PLUGIN = ("name", "weight")

Tree = Mapping[str, Any]


class ConfigError(ValueError):
    """What is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Profiles by schedulerName, how long a pod that found no node is left alone, and who else is asked."""

    profiles: Mapping[str, Profile] = field(default_factory=lambda: {SCHEDULER: DEFAULT})
    first_backoff_seconds: float = 1.0
    last_backoff_seconds: float = 10.0
    extenders: tuple[Extender, ...] = ()


DEFAULTS = Configuration()


def read(tree: Any) -> Configuration:
    """The configuration of a document. Raises ConfigError with all that is wrong."""
    if not isinstance(tree, Mapping) or (tree.get("apiVersion"), tree.get("kind")) != (API_VERSION, KIND):
        raise ConfigError(f"this is no {KIND} of {API_VERSION}")
    try:
        return _read(tree)
    except ConfigError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(f"strict decoding error: {error}") from error


def _read(tree: Tree) -> Configuration:
    _strict(tree, _KNOWN, "")
    given: Sequence[Tree] = tree.get("profiles") or ({},)
    listed = [dict(each) for each in given]
    if len(listed) == 1:
        listed[0].setdefault("schedulerName", SCHEDULER)
    outside = tree.get("extenders") or ()
    extenders = extender_config.read(outside)
    first, last = _seconds(tree, "podInitialBackoffSeconds", 1), _seconds(tree, "podMaxBackoffSeconds", 10)
    found = _number(tree, "parallelism", 16, "should be an integer value greater than zero")
    for at, each in enumerate(listed):
        found += _profile_causes(each, f"profiles[{at}]")
    found += _name_causes([str(each.get("schedulerName") or "") for each in listed])
    found += _share_causes(tree, "percentageOfNodesToScore")
    found += _number(tree, "podInitialBackoffSeconds", 1, "must be greater than 0")
    if last < first:
        text = "must be greater than or equal to PodInitialBackoffSeconds"
        found.append(invalid_value("podMaxBackoffSeconds", int(last), text))
    found += extender_config.causes(outside)
    if found:
        texts = list(dict.fromkeys(cause.text for cause in found))
        raise ConfigError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    ignored = extender_config.ignored(outside)
    profiles = {str(each["schedulerName"]): profile.make(_choice(each, ignored)) for each in listed}
    return Configuration(profiles, first, last, extenders)


def _strict(tree: Tree, known: Any, path: str) -> None:
    for name in sorted(set(tree) - set(known)):
        raise ValueError(f'unknown field "{path}{name}"')


def _seconds(tree: Tree, name: str, default: int) -> float:
    value = tree.get(name)
    return float(default if value is None else value)


def _number(tree: Tree, name: str, default: int, text: str) -> list[Cause]:
    value = tree.get(name)
    value = default if value is None else value
    return [] if value > 0 else [invalid_value(name, value, text)]


def _share_causes(tree: Tree, path: str) -> list[Cause]:
    value = tree.get("percentageOfNodesToScore")
    return [] if value is None or 0 <= value <= 100 else [invalid_value(path, value, "not in valid range [0-100]")]


def _name_causes(names: Sequence[str]) -> list[Cause]:
    found: list[Cause] = []
    for at, name in enumerate(names):
        if name in names[:at]:
            where, first = f"profiles[{at}].schedulerName", f"profiles[{names.index(name)}].schedulerName"
            found.append(Cause(where, duplicate(where, "").type, f"Duplicate value: {first}"))
    return found


def _profile_causes(tree: Tree, path: str) -> list[Cause]:
    _strict(tree, _OF_PROFILE, f"{path}.")
    found = [] if tree.get("schedulerName") else [required(f"{path}.schedulerName")]
    found += _share_causes(tree, f"{path}.percentageOfNodesToScore")
    plugins = tree.get("plugins") or {}
    _strict(plugins, (*POINTS, *GROUPS, MULTIPLE), f"{path}.plugins.")
    for point, lists in plugins.items():
        found += _list_causes(lists or {}, f"{path}.plugins.{point}")
    seen: set[str] = set()
    for at, each in enumerate(tree.get("pluginConfig") or ()):
        where, name = f"{path}.pluginConfig[{at}]", str(each.get("name") or "")
        _strict(each, ("name", "args"), f"{where}.")
        if name in seen:
            found.append(duplicate(where, name))
        seen.add(name)
        found += _plugin_causes(name, where) or plugin_args.causes(name, each.get("args") or {}, f"{where}.args")
    return found


def _list_causes(lists: Tree, path: str) -> list[Cause]:
    _strict(lists, ("enabled", "disabled"), f"{path}.")
    found: list[Cause] = []
    for kind in ("enabled", "disabled"):
        for at, each in enumerate(lists.get(kind) or ()):
            where = f"{path}.{kind}[{at}]"
            _strict(each, _OF_PLUGIN, f"{where}.")
            name = str(each.get("name") or "")
            if kind == "enabled" or name not in ("*", *OFF, *GONE):
                found += _plugin_causes(name, where)
    return found


def _plugin_causes(name: str, path: str) -> list[Cause]:
    if name in GONE:
        text = f'was invalid in version "{API_VERSION}" (KubeSchedulerConfiguration is version "{API_VERSION}")'
        return [invalid_value(path, name, text)]
    if name not in OF_PLUGINS:
        return [invalid_value(path, name, f'plugin "{name}" does not exist')]
    return []


def _choice(tree: Tree, ignored: Sequence[str]) -> Choice:
    """What a profile, in which nothing is wrong, makes of the plugins. Raises ConfigError for what cannot be done."""
    name = str(tree["schedulerName"])
    try:
        enabled = plugin_points.enabled(tree.get("plugins") or {}, WEIGHTS)
        plugin_points.check(enabled, name)
    except ValueError as error:
        raise ConfigError(f"initializing profiles: {error}") from error
    args = {str(each["name"]): each.get("args") or {} for each in tree.get("pluginConfig") or ()}
    if ignored:
        fit = args.get(FIT) or {}
        args[FIT] = {**fit, "ignoredResources": [*(fit.get("ignoredResources") or ()), *ignored]}
    return Choice(
        name=name,
        filtering=frozenset(enabled["filter"]),
        scoring=enabled["score"],
        args=args,
        preempts=PREEMPTION in enabled["postFilter"],
        extras=frozenset(enabled["filter"]) & profile.EXTRAS,
    )
