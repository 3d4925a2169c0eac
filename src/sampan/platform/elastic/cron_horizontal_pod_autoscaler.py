"""Sizes by the clock: a job that is due scales the target, or moves the bounds of the autoscaler that it is.

Each job's last outcome is its condition; the next run is counted from there, so that none is lost while nobody looks:
what was missed is made up for once, and of several jobs in the order in which they were due.

https://github.com/AliyunContainerService/kubernetes-cronhpa-controller
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.control.controller import Controller
from sampan.control.plan import (
    AskTarget,
    Event,
    Key,
    Patch,
    Plan,
    Stage,
    Target,
    Update,
    Write,
    normal,
    sooner,
    warning,
)
from sampan.control.view import UNANSWERED, View
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps
from sampan.platform import definitions
from sampan.platform.elastic import cron_merge, cron_schedules
from sampan.platform.elastic.cron_merge import Bounds

DEFINITIONS = definitions.load(Path(__file__).parent / "definitions")
CRONHORIZONTALPODAUTOSCALER = definitions.kind(DEFINITIONS[0])

SUBMITTED, SUCCEED, FAILED = "Submitted", "Succeed", "Failed"
RETRY_SECONDS, GIVE_UP_SECONDS, LATE_SECONDS = 3.0, 10.0, 300.0
EARLY = 0.001
"""A timer may wake up by so much too soon."""
_SAID_OF_JOBS = ("schedule", "targetSize", "runOnce")


@dataclass(frozen=True, slots=True)
class Run:
    """A job that is due. `at` is when it was, `now` when that is seen."""

    view: View
    obj: Object
    condition: Object
    at: float
    now: float

    @property
    def target(self) -> Object:
        found: Object = self.obj["spec"]["scaleTargetRef"]
        return found

    @property
    def where(self) -> str:
        """The target as messages call it."""
        return f"{self.target['kind']} {self.target['name']} in {objects.namespace(self.obj)} namespace"

    @property
    def size(self) -> int:
        return int(self.condition["targetSize"])


@dataclass(frozen=True, slots=True)
class Step:
    """What a run comes to: questions first, or a failure that may pass, or stages of writes and what is said of them."""

    ask: tuple[AskTarget, ...] = ()
    failure: str = ""
    stages: tuple[Stage, ...] = ()
    message: str = ""


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Submits new jobs; runs the one that has been due for longest."""
    obj = view.get(CRONHORIZONTALPODAUTOSCALER, key)
    if obj is None or objects.is_deleting(obj):
        return Plan(memory={})
    status = _submitted(obj, now)
    if status != obj.get("status"):
        return Plan((Stage((_write(obj, status),)),), again=0.0, memory={})
    due: list[tuple[float, int]] = []
    again: float | None = None
    for place, condition in enumerate(status["conditions"]):
        timing = _timing(condition)
        if timing is None:
            continue
        since = timestamps.parse(condition["lastProbeTime"])
        at = timing.last_due(since, now + EARLY)
        if at is not None:
            due.append((at, place))
        following = timing.next_after(since)
        again = sooner(again, None if following is None else following - now)
    if not due:
        return Plan(again=again, memory={})
    at, place = min(due)
    return _run(Run(view, obj, status["conditions"][place], at, now))


def _timing(condition: Object) -> cron_schedules.Timing | None:
    """When the job is due; None for never, as when it has run and should run once."""
    is_over = condition["state"] in (SUCCEED, FAILED)
    if is_over and (condition["runOnce"] or cron_schedules.is_date(condition["schedule"])):
        return None
    try:
        return cron_schedules.parse(condition["schedule"])
    except ValueError:
        return None


# Conditions


def _submitted(obj: Object, now: float) -> Object:
    """The status with a condition for each job. One that is new or not what it was begins anew."""
    spec, status = obj["spec"], obj.get("status") or {}
    dates = spec.get("excludeDates") or []
    same = status.get("scaleTargetRef") == spec["scaleTargetRef"] and sorted(
        status.get("excludeDates") or []
    ) == sorted(dates)
    known = {condition["name"]: condition for condition in status.get("conditions") or () if same}
    jobs = {job["name"]: {"runOnce": False, **job} for job in spec["jobs"]}
    made: Object = {"scaleTargetRef": spec["scaleTargetRef"]}
    if dates:
        made["excludeDates"] = dates
    made["conditions"] = [_condition(obj, job, known.get(name), now) for name, job in jobs.items()]
    return made


def _condition(obj: Object, job: Object, known: Object | None, now: float) -> Object:
    if known is not None and all(known[field] == job[field] for field in _SAID_OF_JOBS):
        return known
    at = timestamps.format(now)
    made = {"name": job["name"], "jobId": _job_id(obj, job, at), **{field: job[field] for field in _SAID_OF_JOBS}}
    try:
        cron_schedules.parse(job["schedule"])
    except ValueError as error:
        why = f"Failed to add job to cronExecutor,because of {error}"
        message = f"Failed to update cron hpa job {job['name']},because of {why}"
        return {**made, "state": FAILED, "lastProbeTime": at, "message": message}
    return {**made, "state": SUBMITTED, "lastProbeTime": at, "message": ""}


def _job_id(obj: Object, job: Object, at: str) -> str:
    """Another one each time that the job is submitted, in the form of a UUID."""
    text = json.dumps([objects.uid(obj), job, at], sort_keys=True)
    found = hashlib.sha256(text.encode()).hexdigest()
    return f"{found[:8]}-{found[8:12]}-4{found[13:16]}-a{found[17:20]}-{found[20:32]}"


def _write(obj: Object, status: Object, done: Event | None = None) -> Write:
    """The kind has no status subresource."""
    uid, revision = objects.uid(obj), objects.resource_version(obj)
    changes = {"status": status}
    return Patch(CRONHORIZONTALPODAUTOSCALER, objects.key(obj), changes, uid=uid, resource_version=revision, done=done)


# Runs


def _run(run: Run) -> Plan:
    """Does what is due, again and again for ten seconds if it must."""
    events: tuple[Event, ...] = ()
    memory = run.view.memory
    if memory.get("job") != run.condition["jobId"]:
        memory = {"job": run.condition["jobId"], "began": run.now, "tries": 0}
        events = _late(run)
    day_off = next((date for date in run.obj["spec"].get("excludeDates") or () if _takes(date, run.at)), None)
    if day_off is not None:
        message = f"skip scaling activity,because of excludeDate ({day_off})."
        return Plan((_outcome(run, SUCCEED, message),), events, again=0.0)
    step = _step(run)
    if step.ask:
        return Plan(ask=step.ask)
    failure = step.failure or _refusal(run, memory)
    if failure and run.now - memory["began"] >= GIVE_UP_SECONDS:
        text = f"failed to scale {run.where} to {run.size} after retrying {memory['tries']} times and exit,because of {failure}"
        return Plan((_outcome(run, FAILED, text),), events, again=0.0)
    memory = {**memory, "tries": memory["tries"] + 1}
    if step.failure:
        return Plan(events=events, again=RETRY_SECONDS, memory=memory)
    return Plan((*step.stages, _outcome(run, SUCCEED, step.message)), events, again=RETRY_SECONDS, memory=memory)


def _late(run: Run) -> tuple[Event, ...]:
    is_late = run.now - run.at > LATE_SECONDS
    return (warning("OutOfDate", f"rerun out of date job: {run.condition['name']}"),) if is_late else ()


def _takes(date: str, at: float) -> bool:
    try:
        return cron_schedules.parse(date).takes_day(at)
    except ValueError:
        return False


def _refusal(run: Run, memory: Any) -> str:
    """Why the last try came to nothing."""
    refused = run.view.refusals() if memory["tries"] else ()
    return f"failed to scale {run.where} to {run.size}, because of {refused[0].error}" if refused else ""


def _outcome(run: Run, state: str, message: str) -> Stage:
    """The job's condition says how it went, and so does an event."""
    name = run.condition["name"]
    if state == SUCCEED:
        text = f"cron hpa job {name} executed successfully. {message}"
    else:
        text = f"cron hpa failed to execute, because of {message}"
    seen = timestamps.format(max(run.now, run.at))
    told = {**run.condition, "state": state, "lastProbeTime": seen, "message": text}
    status = run.obj["status"]
    made = {**status, "conditions": [told if c["name"] == name else c for c in status["conditions"]]}
    event = normal(state, text) if state == SUCCEED else warning(state, text)
    return Stage((_write(run.obj, made, event),))


def _step(run: Run) -> Step:
    if run.target["kind"] == HORIZONTALPODAUTOSCALER.name:
        return _step_by_autoscaler(run)
    found = _scale(run, run.target)
    if isinstance(found, Step):
        return found
    current = _replicas(found)
    return Step(
        stages=tuple(_scaled(found, run.size)), message=f"current replicas:{current}, desired replicas:{run.size}."
    )


def _step_by_autoscaler(run: Run) -> Step:
    """Moves the autoscaler's bounds, then its workload."""
    name = run.target["name"]
    hpa = run.view.get(HORIZONTALPODAUTOSCALER, (objects.namespace(run.obj), name))
    if hpa is None:
        missing = f'{HORIZONTALPODAUTOSCALER.resource} "{name}" not found'
        return Step(failure=f"Failed to get HorizontalPodAutoscaler Ref,because of {missing}")
    found = _scale(run, hpa["spec"]["scaleTargetRef"])
    if isinstance(found, Step):
        return found
    replicas, least = _replicas(found), hpa["spec"].get("minReplicas")
    bounds = Bounds(1 if least is None else int(least), int(hpa["spec"]["maxReplicas"]))
    current = (hpa.get("status") or {}).get("currentReplicas") or replicas
    made = cron_merge.merged(bounds, current, run.size)
    stages = () if made.bounds == bounds else (Stage((_bounded(hpa, made.bounds),)),)
    if made.replicas is None:
        text = f"Skip scale replicas because HPA {name} current replicas:{replicas} >= desired replicas:{run.size}."
        return Step(stages=stages, message=text)
    text = f"current replicas:{replicas}, desired replicas:{run.size}."
    return Step(stages=(*stages, *_scaled(found, made.replicas)), message=text)


def _scale(run: Run, reference: Object) -> Target | Step:
    """The workload's scale; questions or a failure where there is none."""
    key = objects.namespace(run.obj), reference["name"]
    asked = AskTarget(reference.get("apiVersion") or "v1", reference["kind"], key)
    found = run.view.answer(asked)
    if found is UNANSWERED:
        return Step(ask=(asked,))
    if isinstance(found, str):
        what = f"{reference['kind']} {reference['name']} in {key[0]} namespace"
        return Step(failure=f"failed to find source target {what}, err is {found}")
    target: Target = found
    return target


def _replicas(target: Target) -> int:
    return int((target.scale.get("spec") or {}).get("replicas") or 0)


def _scaled(target: Target, replicas: int) -> Sequence[Stage]:
    if _replicas(target) == replicas:
        return ()
    spec = {**(target.scale.get("spec") or {}), "replicas": replicas}
    return (Stage((Update(target.kind, {**target.scale, "spec": spec}, "scale"),)),)


def _bounded(hpa: Object, bounds: Bounds) -> Write:
    changes = {"spec": {"minReplicas": bounds.least, "maxReplicas": bounds.most}}
    uid, revision = objects.uid(hpa), objects.resource_version(hpa)
    return Patch(
        HORIZONTALPODAUTOSCALER, objects.key(hpa), changes, uid=uid, resource_version=revision, may_be_gone=False
    )


CONTROLLER = Controller(
    name="CronHorizontalPodAutoscaler",
    parent=CRONHORIZONTALPODAUTOSCALER,
    reconcile=reconcile,
    reads=(HORIZONTALPODAUTOSCALER,),
)
