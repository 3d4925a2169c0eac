"""Validation: what is wrong with a Rollout's spec, as its InvalidSpec condition says it. What can't be done is refused by name.

https://argo-rollouts.readthedocs.io/en/stable/features/specification/
"""

from collections.abc import Iterable, Iterator

from sampan.control.view import View
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects, selectors
from sampan.meta.status import show
from sampan.platform.rollouts import durations
from sampan.platform.rollouts.kinds import ANALYSISTEMPLATE, CLUSTERANALYSISTEMPLATE

GATEWAY_API = "argoproj-labs/gatewayAPI"
_SPEC = {
    "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds", "progressDeadlineAbort", "paused",
    "restartAt", "analysis", "selector", "template", "strategy",
}  # fmt: skip
_CANARY = {
    "canaryService", "stableService", "steps", "maxSurge", "maxUnavailable", "analysis", "scaleDownDelaySeconds",
    "abortScaleDownDelaySeconds", "trafficRouting",
}  # fmt: skip
_BLUE_GREEN = {
    "activeService", "previewService", "previewReplicaCount", "autoPromotionEnabled", "autoPromotionSeconds",
    "scaleDownDelaySeconds", "abortScaleDownDelaySeconds", "prePromotionAnalysis", "postPromotionAnalysis",
}  # fmt: skip
_STEPS = {"setWeight", "pause", "analysis", "setCanaryScale"}
_ANALYSIS = {"templates", "args", "dryRun", "measurementRetention", "analysisRunMetadata", "startingStep"}


def wrong(view: View, rollout: Object) -> str:
    """The first cause as a message; "" for a sound spec."""
    cause = next(_causes(view, rollout), "")
    return f'The Rollout "{objects.name(rollout)}" is invalid: {cause}' if cause else ""


def _causes(view: View, rollout: Object) -> Iterator[str]:
    spec = rollout["spec"]
    yield from _unsupported(spec, _SPEC, "spec")
    if not spec.get("selector"):
        yield "spec.selector: Required value: Rollout has missing field '.spec.selector'"
        return
    if not (spec.get("template") or {}).get("spec"):
        yield "spec.template: Required value: Rollout has missing field '.spec.template'"
        return
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    try:
        selector = selectors.from_label_selector(spec["selector"])
    except (ValueError, LookupError, TypeError) as error:
        yield f"spec.selector: Invalid value: {error}"
        return
    if selector.is_empty:
        yield "spec.selector: Required value: This rollout is selecting all pods. A non-empty selector is required."
    if not selector.matches(labels):
        shown = ", ".join(f"{show(name)}:{show(value)}" for name, value in sorted(labels.items()))
        text = "`selector` does not match template `labels`"
        yield f"spec.template.metadata.labels: Invalid value: map[string]string{{{shown}}}: {text}"
    strategy = spec.get("strategy") or {}
    yield from _unsupported(strategy, {"canary", "blueGreen"}, "spec.strategy")
    if len(strategy) != 1:
        lacks = "Required value: Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'"
        yield f"spec.strategy.strategy: {'Invalid value: Multiple Strategies can not be listed' if strategy else lacks}"
        return
    if "canary" in strategy:
        yield from _canary(view, rollout, strategy["canary"] or {})
    else:
        yield from _blue_green(view, rollout, strategy["blueGreen"] or {})


def _unsupported(tree: Object, known: Iterable[str], path: str) -> Iterator[str]:
    for name in sorted(set(tree) - set(known)):
        if tree[name] not in (None, {}, [], "", False):
            yield f"{path}.{name}: Forbidden: {name} is not supported here"


def _canary(view: View, rollout: Object, canary: Object) -> Iterator[str]:
    path = "spec.strategy.canary"
    yield from _unsupported(canary, _CANARY, path)
    yield from _bounds(canary, path)
    routed = bool(canary.get("trafficRouting"))
    if routed:
        yield from _routing(canary, path, objects.namespace(rollout))
    if canary.get("scaleDownDelaySeconds") is not None and not routed:
        yield f"{path}.scaleDownDelaySeconds: Invalid value: Canary scaleDownDelaySeconds can only be used with traffic routing"
    names = (canary.get("stableService"), canary.get("canaryService"))
    if names[0] and names[0] == names[1]:
        text = "This rollout uses the same service for the stable and canary services, but two different services are required."
        yield f"{path}.stableService: Invalid value: {show(names[0])}: {text}"
    yield from _services(view, rollout, canary, ("stableService", "canaryService"), path)
    for place, step in enumerate(canary.get("steps") or ()):
        yield from _step(view, rollout, step, f"{path}.steps[{place}]", routed=routed)
    if canary.get("analysis"):
        yield from _analysis(view, rollout, canary["analysis"], f"{path}.analysis")


def _bounds(canary: Object, path: str) -> Iterator[str]:
    for field in ("maxSurge", "maxUnavailable"):
        given = canary.get(field)
        try:
            count = intstr.scaled(given, 100, True) if given is not None else 1
        except ValueError as error:
            yield f"{path}.{field}: Invalid value: {show(given)}: {error}"
            return
        if count < 0:
            yield f"{path}.{field}: Invalid value: {show(given)}: must be greater than or equal to 0"
    if all(canary.get(field) in (0, "0%") for field in ("maxSurge", "maxUnavailable")):
        yield f"{path}.maxSurge: Invalid value: 0: MaxSurge and MaxUnavailable both can not be zero"


def _routing(canary: Object, path: str, namespace: str) -> Iterator[str]:
    routing = canary["trafficRouting"]
    yield from _unsupported(routing, {"plugins"}, f"{path}.trafficRouting")
    plugins = routing.get("plugins") or {}
    yield from _unsupported(plugins, {GATEWAY_API}, f"{path}.trafficRouting.plugins")
    given = plugins.get(GATEWAY_API) or {}
    where = f"{path}.trafficRouting.plugins[{GATEWAY_API}]"
    yield from _unsupported(given, {"httpRoute", "namespace"}, where)
    if not given.get("httpRoute"):
        yield f"{where}.httpRoute: Required value: an HTTPRoute must be named"
    if given.get("namespace") not in (None, "", namespace):
        yield f"{where}.namespace: Invalid value: {show(given['namespace'])}: must be the namespace of the Rollout"
    if not (canary.get("stableService") and canary.get("canaryService")):
        text = "Canary service and Stable service must to be set to use Traffic Routing"
        yield f"{path}.trafficRouting: Invalid value: {text}"


def _services(view: View, rollout: Object, tree: Object, fields: Iterable[str], path: str) -> Iterator[str]:
    for field in fields:
        name = tree.get(field)
        if name and view.get(SERVICE, (objects.namespace(rollout), name)) is None:
            yield f'{path}.{field}: Invalid value: {show(name)}: service "{name}" not found'


def _step(view: View, rollout: Object, step: Object, path: str, *, routed: bool) -> Iterator[str]:
    yield from _unsupported(step, _STEPS, path)
    if len([name for name in step if name in _STEPS]) != 1:
        text = "Step must have one of the following set: experiment, setWeight, setCanaryScale or pause"
        yield f"{path}.{path.rpartition('.')[2]}: Invalid value: {text}"
        return
    if "setWeight" in step and not 0 <= step["setWeight"] <= 100:
        yield f"{path}.setWeight: Invalid value: {step['setWeight']}: SetWeight needs to be between 0 and 100"
    if (duration := (step.get("pause") or {}).get("duration")) is not None:
        try:
            negative = isinstance(duration, int) and duration < 0
            durations.seconds(duration)
        except ValueError:
            negative = True
        if negative:
            yield f"{path}.pause.duration: Invalid value: {show(duration)}: Duration needs to be greater than or equal to 0"
    if "setCanaryScale" in step and not routed:
        yield f"{path}.setCanaryScale: Invalid value: SetCanaryScale requires TrafficRouting to be set"
    yield from _scale(step.get("setCanaryScale") or {}, f"{path}.setCanaryScale")
    if "analysis" in step:
        yield from _analysis(view, rollout, step["analysis"] or {}, f"{path}.analysis")


def _scale(given: Object, path: str) -> Iterator[str]:
    weight, replicas = given.get("weight"), given.get("replicas")
    if weight is not None and not 0 <= weight <= 100:
        yield f"{path}.weight: Invalid value: {weight}: must be between 0 and 100"
    if replicas is not None and replicas < 0:
        yield f"{path}.replicas: Invalid value: {replicas}: must be greater than or equal to 0"


def _blue_green(view: View, rollout: Object, given: Object) -> Iterator[str]:
    path = "spec.strategy.blueGreen"
    yield from _unsupported(given, _BLUE_GREEN, path)
    if not given.get("activeService"):
        yield f"{path}.activeService: Required value: Rollout has missing field '.spec.strategy.blueGreen.activeService'"
    if given.get("activeService") == given.get("previewService"):
        text = "This rollout uses the same service for the active and preview services, but two different services are required."
        yield f"{path}.activeService: Invalid value: {show(given.get('activeService'))}: {text}"
    yield from _services(view, rollout, given, ("activeService", "previewService"), path)
    for field in ("prePromotionAnalysis", "postPromotionAnalysis"):
        if given.get(field):
            yield from _analysis(view, rollout, given[field], f"{path}.{field}")


def _analysis(view: View, rollout: Object, given: Object, path: str) -> Iterator[str]:
    yield from _unsupported(given, _ANALYSIS, path)
    if not given.get("templates"):
        yield f"{path}.templates: Required value: an analysis names its templates"
    for place, reference in enumerate(given.get("templates") or ()):
        name, namespace = str(reference.get("templateName")), objects.namespace(rollout)
        is_wide = bool(reference.get("clusterScope"))
        kind, key = (CLUSTERANALYSISTEMPLATE, ("", name)) if is_wide else (ANALYSISTEMPLATE, (namespace, name))
        template = view.get(kind, key)
        where = f"{path}.templates[{place}].templateName: Invalid value: {show(name)}"
        if template is None:
            yield f"{where}: {kind.name} '{name}' not found"
        elif template["spec"].get("templates"):
            yield f"{where}: {kind.name} '{name}' refers to other templates, which is not supported"
