"""Scale to zero by annotation: after so long without a request through the gateway, a workload gets no replicas.

It works where an autoscaler can't have minReplicas 0: this one leaves alone what is at zero, as upstream's does. The
gateway wakes the workload for the next request. Who can't be measured, or has more replicas than the least, is not idle.
"""

from dataclasses import dataclass

from sampan.control.controller import Controller
from sampan.control.plan import (
    CUSTOM_METRICS,
    Ask,
    AskMetrics,
    AskTarget,
    Key,
    Plan,
    Question,
    Stage,
    Target,
    Update,
    normal,
    warning,
)
from sampan.control.view import UNANSWERED, View
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.meta import objects, quantity
from sampan.platform import zero

LOOK_SECONDS = 15.0
EARLY = 0.001
"""A timer may wake up by so much too soon."""
METRIC = "requests_per_second"
_UNKNOWN = "could not find the metric"


@dataclass(frozen=True, slots=True)
class Traffic:
    """For how long no request came, as far as that is measured; `ask` has the questions that must be answered first."""

    idle_seconds: float = 0.0
    ask: tuple[Question, ...] = ()


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Looks when it is time to, and remembers since when there was nothing to do."""
    hpa = view.get(HORIZONTALPODAUTOSCALER, key)
    if hpa is None or objects.is_deleting(hpa) or zero.AFTER_SECONDS not in objects.annotations(hpa):
        return Plan(memory={})
    after = zero.after_seconds(hpa)
    if after is None:
        said = objects.annotations(hpa)[zero.AFTER_SECONDS]
        text = f'the annotation {zero.AFTER_SECONDS} must be a positive number of seconds, not "{said:.64}"'
        known = view.memory.get("told") == said
        return Plan(events=() if known else (warning("InvalidAnnotation", text),), memory={"told": said})
    due = view.memory.get("due", 0.0)
    if now < due - EARLY:
        return Plan(again=due - now)
    reference = hpa["spec"]["scaleTargetRef"]
    asked = AskTarget(reference.get("apiVersion") or "v1", reference["kind"], (key[0], reference["name"]))
    target = view.answer(asked)
    if target is UNANSWERED:
        return Plan(ask=(asked,))
    if not isinstance(target, Target) or not 0 < _replicas(target) <= max(hpa["spec"].get("minReplicas") or 0, 1):
        return _next(None, now)
    traffic = _traffic(view, target, (key[0], reference["name"]))
    if traffic.ask:
        return Plan(ask=traffic.ask)
    if not traffic.idle_seconds:
        return _next(None, now)
    since = min(view.memory.get("since", now), now - traffic.idle_seconds)
    if now - since < after - EARLY:
        return _next(since, now)
    return Plan((Stage((_down(target, after),)),), again=LOOK_SECONDS, memory={"due": now + LOOK_SECONDS})


def _next(since: float | None, now: float) -> Plan:
    """The next look; `since` is when the idle time began, if it is one."""
    memory = {"due": now + LOOK_SECONDS} | ({} if since is None else {"since": since})
    return Plan(again=LOOK_SECONDS, memory=memory)


def _replicas(target: Target) -> int:
    return int((target.scale.get("spec") or {}).get("replicas") or 0)


def _traffic(view: View, target: Target, key: Key) -> Traffic:
    """Of all Services for the workload that the gateway knows; none known is no sign of idleness."""
    asked = Ask(target.kind, key)
    workload = view.answer(asked)
    if workload is UNANSWERED:
        return Traffic(ask=(asked,))
    labels = zero.pod_labels(workload or {})
    services = [s for s in view.list(SERVICE, key[0]) if zero.leads_to(s, labels)]
    questions = [
        AskMetrics(CUSTOM_METRICS, key[0], "", METRIC, "", ("v1", "Service", objects.name(s))) for s in services
    ]
    missing = tuple(question for question in questions if view.answer(question) is UNANSWERED)
    if missing:
        return Traffic(ask=missing)
    answers = [view.answer(question) for question in questions]
    known = [answer for answer in answers if not (isinstance(answer, str) and _UNKNOWN in answer)]
    return Traffic(min(map(_idle_seconds, known), default=0.0))


def _idle_seconds(answer: object) -> float:
    """How long the rate was nothing; 0 where it was not, or nobody says."""
    if not isinstance(answer, tuple) or not answer or any(quantity.to_milli(each["value"]) for each in answer):
        return 0.0
    return float(min(each.get("windowSeconds") or 0 for each in answer))


def _down(target: Target, after: float) -> Update:
    """Refused where somebody else has scaled it since it was read, as the gateway does for a request."""
    scale: Object = {**target.scale, "spec": {**(target.scale.get("spec") or {}), "replicas": 0}}
    return Update(target.kind, scale, "scale", done=normal("ScaledToZero", f"no request for {after:g} seconds"))


CONTROLLER = Controller(name="scale-to-zero", parent=HORIZONTALPODAUTOSCALER, reconcile=reconcile, reads=(SERVICE,))
