"""Autoscaling: as many replicas as an autoscaler's metrics ask for, at the pace that its behaviour allows.

Every 15 seconds, and never sooner whatever changes: each look reads the target's scale and the metrics afresh.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sampan.control import autoscaling_metrics, autoscaling_pace
from sampan.control.autoscaling_metrics import Failed, Found, Scene
from sampan.control.autoscaling_pace import Past, Wish
from sampan.control.autoscaling_replicas import Crowd, Tolerance
from sampan.control.autoscaling_report import ABLE, ACTIVE, LIMITED, ZERO, Report
from sampan.control.controller import Controller
from sampan.control.plan import AskMetrics, AskTarget, Key, Plan, Question, Stage, Target, Update, normal, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import hpa_rules
from sampan.meta import conditions, objects, quantity, selectors, timestamps

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
EARLY = 0.001
"""A timer may wake up by so much too soon."""
BELOW = "Current number of replicas below Spec.MinReplicas"
NO_SCALE = "the HPA controller was unable to get the target's current scale: "
NO_UPDATE = "the HPA controller was unable to update the target scale: "


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an autoscaler and its target. `current` is how many replicas the target wants now.

    `may_be_zero` says whether the gate HPAScaleToZero is open.
    """

    view: View
    hpa: Object
    target: Target
    now: float
    may_be_zero: bool = False

    @property
    def spec(self) -> Object:
        found: Object = self.hpa["spec"]
        return found

    @property
    def current(self) -> int:
        return int((self.target.scale.get("spec") or {}).get("replicas") or 0)

    @property
    def least(self) -> int:
        given = self.spec.get("minReplicas")
        return 1 if given is None else int(given)

    @property
    def was_scaled_to_zero(self) -> bool:
        """Whether we did it, and not somebody who wants it to stay there."""
        return self.may_be_zero and conditions.is_true(self.hpa, ZERO)

    @property
    def can_leave_zero(self) -> bool:
        return self.was_scaled_to_zero and (self.least > 0 or hpa_rules.has_outer_metric(self.spec))


@dataclass(frozen=True, slots=True)
class Decision:
    """So many replicas, and why; `desired` None where that can't be told. `metrics` go into the status."""

    desired: int | None
    reason: str = ""
    metrics: list[Object] | None = None
    past: Past | None = None


def reconcile(view: View, key: Key, now: float, *, may_be_zero: bool = False) -> Plan:
    """Looks when it is time to. `may_be_zero`: as it is where the gate HPAScaleToZero is open."""
    hpa = view.get(HORIZONTALPODAUTOSCALER, key)
    if hpa is None:
        return Plan(memory={})
    due = view.memory.get("due")
    if due is None:
        return Plan(again=SYNC_SECONDS, memory={"due": now + SYNC_SECONDS})
    refused = next((o for o in view.refusals() if isinstance(o.write, Update) and o.write.subresource == "scale"), None)
    if refused is not None and view.memory.get("before") is not None:
        return _refused(view, hpa, refused.error, now)
    if now < due - EARLY:
        return Plan(again=due - now)
    asked = _target_of(hpa)
    target = view.answer(asked)
    if target is UNANSWERED:
        return Plan(ask=(asked,))
    if isinstance(target, str):
        report = Report(hpa, now)
        report.warn("FailedGetScale", target)
        report.set(ABLE, "False", "FailedGetScale", NO_SCALE + target)
        return _next(view, now, report.plan(report.same()), {})
    return _look(Look(view, hpa, target, now, may_be_zero))


def _target_of(hpa: Object) -> AskTarget:
    ref = hpa["spec"]["scaleTargetRef"]
    return AskTarget(ref.get("apiVersion") or "v1", ref["kind"], (objects.namespace(hpa), ref["name"]))


def _next(view: View, now: float, plan: Plan, changed: dict[str, Any]) -> Plan:
    """The plan, with the time of the next look and what is remembered until then."""
    kept = {name: value for name, value in view.memory.items() if name != "before"}
    memory = {**kept, **changed, "due": now + SYNC_SECONDS}
    return dataclasses.replace(plan, again=SYNC_SECONDS, memory=memory)


def _refused(view: View, hpa: Object, error: str, now: float) -> Plan:
    """The target could not be scaled: it is told, and does not count as a change."""
    before = dict(view.memory["before"])
    report = Report(hpa, now, before.pop("status"))
    report.set(ABLE, "False", "FailedUpdateScale", NO_UPDATE + error)
    memory = {name: value for name, value in view.memory.items() if name != "before"} | before
    again = max(memory["due"] - now, 0.0)
    return dataclasses.replace(report.plan(report.same()), again=again, memory=memory)


def _look(look: Look) -> Plan:
    report = Report(look.hpa, look.now)
    report.set(ABLE, "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale")
    known = autoscaling_pace.past(look.view.memory, look.current, look.now)
    memory: dict[str, Any] = known.as_memory()
    decided: Decision | tuple[Question, ...] | None = _bounds(look, report)
    if decided is None:
        scene = _scene(look, report, memory)
        decided = _measure(look, scene, known, report) if isinstance(scene, Scene) else scene
    if isinstance(decided, tuple):
        return Plan(ask=decided)
    if decided.past is not None:
        memory |= decided.past.as_memory()
    if decided.desired is None:
        made = report.plan(report.status(look.current, None, decided.metrics))
        return _next(look.view, look.now, made, memory)
    return _done(look, report, decided, memory)


def _bounds(look: Look, report: Report) -> Decision | None:
    """What is so whatever the metrics say."""
    if look.current == 0 and look.can_leave_zero:
        return None
    if look.current == 0:
        text = "scaling is disabled since the replica count of the target is zero"
        report.set(ACTIVE, "False", "ScalingDisabled", text)
        return Decision(0)
    if look.current > look.spec["maxReplicas"]:
        return Decision(look.spec["maxReplicas"], "Current number of replicas above Spec.MaxReplicas")
    if look.current < look.least:
        return Decision(look.least, BELOW)
    return None


def _done(look: Look, report: Report, decided: Decision, memory: dict[str, Any]) -> Plan:
    """Scales the target if need be, then tells."""
    desired = decided.desired
    assert desired is not None
    if desired == look.current:
        made = report.plan(report.status(look.current, desired, decided.metrics))
        return _next(look.view, look.now, made, memory)
    behavior = look.spec.get("behavior")
    known = autoscaling_pace.past(memory, look.current, look.now)
    after = autoscaling_pace.scaled(known, behavior, desired - look.current, look.now)
    text = f"New size: {desired}; reason: {decided.reason}"
    scale = look.target.scale
    write = Update(
        look.target.kind,
        {**scale, "spec": {**(scale.get("spec") or {}), "replicas": desired}},
        "scale",
        done=normal("SuccessfulRescale", text),
        refused=warning("FailedRescale", f"{text}; error: {{error}}"),
    )
    before = {**known.as_memory(), "status": report.status(look.current, None, decided.metrics)}
    told = f"the HPA controller was able to update the target scale to {desired}"
    report.set(ABLE, "True", "SucceededRescale", told)
    if look.may_be_zero and not desired and not look.least and hpa_rules.has_outer_metric(look.spec):
        report.set(ZERO, "True", "ScaledToZero", "the HPA controller scaled the workload to zero")
    elif look.may_be_zero:
        report.set(ZERO, "False", "NotScaledToZero", "the HPA controller did not scale the workload to zero")
    status = report.status(look.current, desired, decided.metrics)
    made = report.plan({**status, "lastScaleTime": timestamps.format(look.now)})
    made = dataclasses.replace(made, stages=(Stage((write,)), *made.stages))
    return _next(look.view, look.now, made, {**memory, **after.as_memory(), "before": before})


# The metrics


def _scene(look: Look, report: Report, memory: dict[str, Any]) -> Scene | tuple[Question, ...] | Decision:
    """Whom the metrics are about; a decision where that can't be told, questions where they must be asked first."""
    text = (look.target.scale.get("status") or {}).get("selector") or ""
    if not text:
        report.warn("SelectorRequired", "selector is required")
        report.set(ACTIVE, "False", "InvalidSelector", "the HPA target's scale is missing a selector")
        return _not_computed(report, "selector is required")
    namespace = objects.namespace(look.hpa)
    try:
        selector = selectors.parse_labels(text)
    except ValueError as error:
        failure = f"couldn't convert selector into a corresponding internal selector object: {error}"
        report.warn("InvalidSelector", failure)
        report.set(ACTIVE, "False", "InvalidSelector", failure)
        return _not_computed(report, failure)
    pods = look.view.selected(POD, namespace, selector)
    rivals = _rivals(look, pods, memory)
    if isinstance(rivals, tuple):
        return rivals
    if rivals:
        named = " ".join(f"{{{name} {namespace}}}" for name in sorted([*rivals, objects.name(look.hpa)]))
        failure = f"pods by selector {text} are controlled by multiple HPAs: [{named}]"
        report.warn("AmbiguousSelector", failure)
        report.set(ACTIVE, "False", "AmbiguousSelector", failure)
        return _not_computed(report, failure)
    present = int((look.target.scale.get("status") or {}).get("replicas") or 0)
    crowd = Crowd(pods, look.current, _tolerance(look.spec.get("behavior") or {}), look.now)
    return Scene(namespace, text, crowd, present)


def _not_computed(report: Report, text: str, metrics: list[Object] | None = None) -> Decision:
    report.warn("FailedComputeMetricsReplicas", text)
    return Decision(None, metrics=metrics)


def _tolerance(behavior: Object) -> Tolerance:
    down, up = ((behavior.get(name) or {}).get("tolerance") for name in ("scaleDown", "scaleUp"))
    return Tolerance(*(TOLERANCE if value is None else float(quantity.parse(value)) for value in (down, up)))


def _rivals(look: Look, pods: Sequence[Object], memory: dict[str, Any]) -> list[str] | tuple[Question, ...]:
    """Other autoscalers whose targets select one of these pods; questions where a target's selector isn't known."""
    others = look.view.list(HORIZONTALPODAUTOSCALER, objects.namespace(look.hpa))
    others = [o for o in others if objects.name(o) != objects.name(look.hpa)] if pods else []
    asked = {objects.name(o): _target_of(o) for o in others}
    known: dict[str, list[str]] = {}
    for name, question in asked.items():
        before = look.view.memory.get("selectors", {}).get(name)
        place = f"{question.api_version}/{question.kind}/{question.key[1]}"
        answer = look.view.answer(question)
        if before is not None and before[0] == place:
            known[name] = before
        elif isinstance(answer, Target):
            known[name] = [place, (answer.scale.get("status") or {}).get("selector") or ""]
        elif answer is UNANSWERED:
            return tuple(q for q in asked.values() if look.view.answer(q) is UNANSWERED)
    memory["selectors"] = known
    return [name for name, (_, text) in known.items() if _selects(text, pods)]


def _selects(text: str, pods: Sequence[Object]) -> bool:
    try:
        selector = selectors.parse_labels(text)
    except ValueError:
        return False
    return bool(text) and any(selector.matches(objects.labels(p)) for p in pods)


def _measure(look: Look, scene: Scene, known: Past, report: Report) -> Decision | tuple[Question, ...]:
    """As many replicas as the metric asks for that asks for most; questions where they must be asked first."""
    metrics: Sequence[Object] = look.spec.get("metrics") or ()
    asked = [_question(metric, scene) for metric in metrics]
    missing = tuple(q for q in asked if isinstance(q, AskMetrics) and look.view.answer(q) is UNANSWERED)
    if missing:
        return tuple(dict.fromkeys(missing))
    results = [_result(look, scene, *pair) for pair in zip(metrics, asked, strict=True)]
    failures = [result for result in results if isinstance(result, Failed)]
    found = [result for result in results if isinstance(result, Found)]
    for failure in failures:
        report.warn(failure.reason, failure.text)
    statuses = [result.status if isinstance(result, Found) else {"type": ""} for result in results]
    best = max(found, key=lambda each: each.replicas, default=None)
    if best is None or (failures and best.replicas < look.current):
        return _failed(report, failures, statuses)
    text = f"the HPA was able to successfully calculate a replica count from {best.name}"
    report.set(ACTIVE, "True", "ValidMetricFound", text)
    return _paced(look, best, known, report, statuses)


def _failed(report: Report, failures: Sequence[Failed], statuses: list[Object]) -> Decision:
    first = failures[0]
    report.set(ACTIVE, "False", first.reason, f"the HPA was unable to compute the replica count: {first.text}")
    counts = f"{len(failures)} invalid out of {len(statuses)}"
    return _not_computed(report, f"invalid metrics ({counts}), first error is: {first.whole}", statuses)


def _question(metric: Object, scene: Scene) -> AskMetrics | Failed:
    try:
        return autoscaling_metrics.question(metric, scene)
    except Failed as failure:
        return failure


def _result(look: Look, scene: Scene, metric: Object, asked: AskMetrics | Failed) -> Found | Failed:
    if isinstance(asked, Failed):
        return asked
    try:
        return autoscaling_metrics.found(metric, scene, look.view.answer(asked))
    except Failed as failure:
        return failure


def _paced(look: Look, best: Found, known: Past, report: Report, statuses: list[Object]) -> Decision:
    """As much of it as may be done now."""
    wish = Wish(best.replicas, look.current, look.least, look.spec["maxReplicas"], look.now)
    paced = autoscaling_pace.paced(wish, look.spec.get("behavior"), known)
    report.set(ABLE, "True", *paced.able)
    report.set(LIMITED, "True" if paced.is_limited else "False", *paced.limit)
    reason = f"{best.name} above target" if best.replicas > look.current else "All metrics below target"
    if look.current == 0:  # where minReplicas may have been raised meanwhile
        return Decision(max(paced.desired, look.least), reason if best.replicas else BELOW, statuses, paced.past)
    return Decision(paced.desired, reason, statuses, paced.past)


CONTROLLER = Controller(
    name="horizontal-pod-autoscaler", parent=HORIZONTALPODAUTOSCALER, reconcile=reconcile, reads=(POD,)
)
TO_ZERO = dataclasses.replace(CONTROLLER, reconcile=functools.partial(reconcile, may_be_zero=True))
"""Where the gate HPAScaleToZero is open."""
