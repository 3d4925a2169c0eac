"""A CronJob's jobs: one for each run that is due, unless the last ones still run and shall not be disturbed.

A run's job has the run's time in its name, so it is made once; it is seen and noted in the status (active,
lastScheduleTime) in the look after its making. Finished jobs beyond the history limits go, oldest first.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sampan.control import cron_runs, decorate, own
from sampan.control.controller import Controller, Watch, owner_keys
from sampan.control.plan import Ask, Create, Delete, Event, Key, Plan, Write, normal, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.batch import cron_job, job
from sampan.kinds.batch.cron_job import CRONJOB
from sampan.kinds.batch.job import JOB
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps

DOCS = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
ACTIVE = "Not starting job because prior execution is running and concurrency policy is Forbid"
HISTORY = (("successfulJobsHistoryLimit", "Complete"), ("failedJobsHistoryLimit", "Failed"))


class Noted(NamedTuple):
    """The status as it should be now, what there is to tell, and finished jobs that are too old."""

    status: Object
    events: tuple[Event, ...]
    outdated: tuple[Object, ...] = ()

    @property
    def active(self) -> list[Object]:
        """References to the jobs that run."""
        return list(self.status.get("active") or ())


@dataclass(frozen=True, slots=True)
class Due:
    """A run that is due, when to look for the next one, and what there is to tell already."""

    at: float
    again: float | None
    events: tuple[Event, ...]


class Run(NamedTuple):
    """What is done about the run that is due: jobs to replace, a job to make."""

    again: float | None = None
    events: tuple[Event, ...] = ()
    replaced: tuple[Object, ...] = ()
    create: tuple[Create, ...] = ()


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Notes what became of its jobs, then makes the one that is due."""
    obj = view.get(CRONJOB, key)
    if obj is None:
        return Plan()
    jobs = view.owned(obj, JOB)
    unseen = _unseen(obj, jobs)
    questions = tuple(map(_question, unseen))
    if any(view.answer(question) is UNANSWERED for question in questions):
        return Plan(ask=questions)
    noted = _noted(view, obj, jobs, unseen, now)
    run = _run(view, obj, noted, now)
    replaced = {ref["uid"] for ref in run.replaced}
    status = {**noted.status, "active": [ref for ref in noted.active if ref["uid"] not in replaced]}
    return plan(
        [_delete(ref["namespace"], ref["name"], ref["uid"]) for ref in run.replaced],
        decorate.status(CRONJOB, obj, status),
        run.create,
        [_delete(*objects.key(j), objects.uid(j)) for j in noted.outdated],
        events=(*noted.events, *run.events),
        again=run.again,
    )


def postpone(old: Object, new: Object, now: float) -> float | None:
    """With another schedule it waits for that schedule's next run; what the new one missed is not made up for."""
    if all(old["spec"].get(field) == new["spec"].get(field) for field in ("schedule", "timeZone")):
        return None
    try:
        return cron_runs.seconds_to_next(new, cron_runs.timing(new), now)
    except ValueError:
        return None


def _references(obj: Object) -> list[Object]:
    """Those to active jobs; what somebody wrote there that names no job of this namespace is left out."""
    listed, namespace = (obj.get("status") or {}).get("active") or (), objects.namespace(obj)
    return [ref for ref in listed if ref.get("uid") and ref.get("name") and ref.get("namespace") == namespace]


def _unseen(obj: Object, jobs: Iterable[Object]) -> list[Object]:
    """References to active jobs that the cache doesn't show."""
    seen = {objects.uid(j) for j in jobs}
    return [ref for ref in _references(obj) if ref["uid"] not in seen]


def _question(ref: Object) -> Ask:
    return Ask(JOB, (ref["namespace"], ref["name"]))


def _noted(view: View, obj: Object, jobs: list[Object], unseen: Iterable[Object], now: float) -> Noted:
    """Own jobs come into the list of active ones; those that ended, are outdated or gone leave it."""
    status, events = dict(obj.get("status") or {}), []
    ends = [(j, _end(j)) for j in jobs]
    outdated = _outdated(obj["spec"], ends)
    gone = {objects.uid(j) for j in outdated}
    active = [ref for ref in _references(obj) if ref["uid"] not in gone]
    for scheduled, j in _unnoted(obj, jobs, now):
        status["lastScheduleTime"] = timestamps.format(scheduled)
        if objects.uid(j) not in gone:
            active.append(_reference(j))
    running = {ref["uid"] for ref in active}
    for j, end in ends:
        uid = objects.uid(j)
        is_active = uid in running
        if not end:
            if not is_active:
                text = f"Saw a job that the controller did not create or forgot: {objects.name(j)}"
                events.append(warning("UnexpectedJob", text))
            continue
        if is_active:
            active = [ref for ref in active if ref["uid"] != uid]
            events.append(normal("SawCompletedJob", f"Saw completed job: {objects.name(j)}, condition: {end}"))
        if end == "Complete":
            _note_success(status, j)
    for ref in unseen:
        if objects.uid(view.answer(_question(ref)) or {}) != ref["uid"]:
            active = [other for other in active if other["uid"] != ref["uid"]]
            events.append(normal("MissingJob", f"Active job went missing: {ref['name']}"))
    return Noted({**status, "active": active}, tuple(events), tuple(outdated))


def _unnoted(obj: Object, jobs: Iterable[Object], now: float) -> list[tuple[float, Object]]:
    """Jobs that were made for a run later than the last one noted, in the order of their runs."""
    last = (obj.get("status") or {}).get("lastScheduleTime")
    since = timestamps.parse(last) if last else 0.0
    runs = [(cron_runs.scheduled_at(j, obj) or 0.0, j) for j in jobs]
    return sorted((run for run in runs if since < run[0] <= now), key=lambda run: run[0])


def _reference(j: Object) -> Object:
    reference = {"apiVersion": JOB.api_version, "kind": JOB.name}
    fields = ("name", "namespace", "resourceVersion", "uid")
    return reference | {field: j["metadata"][field] for field in fields}


def _note_success(status: Object, j: Object) -> None:
    """The latest completion of all jobs is the last success."""
    completed = (j.get("status") or {}).get("completionTime")
    if not completed:
        return
    last = status.get("lastSuccessfulTime")
    if not last or timestamps.parse(completed) > timestamps.parse(last):
        status["lastSuccessfulTime"] = completed


def _end(j: Object) -> str:
    """ "Complete" or "Failed"; "" while it goes on."""
    for _, end in HISTORY:
        if conditions.is_true(j, end):
            return end
    return ""


def _outdated(spec: Object, ends: Iterable[tuple[Object, str]]) -> list[Object]:
    """Finished jobs beyond what is kept of their kind; the first started first, those never started last."""
    found: list[Object] = []
    for limit, end in HISTORY:
        if spec.get(limit) is not None:
            ended = [j for j, how in ends if how == end]
            surplus = len(ended) - spec[limit]
            found += sorted(ended, key=_started)[:surplus] if surplus > 0 else ()
    return found


def _started(j: Object) -> tuple[bool, float, str]:
    started = (j.get("status") or {}).get("startTime")
    return not started, timestamps.parse(started) if started else 0.0, objects.name(j)


def _run(view: View, obj: Object, noted: Noted, now: float) -> Run:
    """The run that is due, if it may be made."""
    spec, events = obj["spec"], []
    zone = spec.get("timeZone")
    if objects.is_deleting(obj):
        return Run()
    if zone is not None and not cron_job.is_zone(zone):
        text = f"invalid timeZone: {json.dumps(zone)}: unknown time zone {zone}"
        return Run(events=(warning("UnknownTimeZone", text),))
    if spec.get("suspend"):
        return Run()
    quoted = json.dumps(spec["schedule"], ensure_ascii=False)
    if "TZ" in spec["schedule"]:
        text = f"CRON_TZ or TZ used in schedule {quoted} is not officially supported, see {DOCS} for more details"
        events.append(warning("UnsupportedSchedule", text))
    try:
        timing = cron_runs.timing(obj)
    except ValueError as error:
        return Run(events=(*events, warning("UnparseableSchedule", f"unparseable schedule: {quoted} : {error}")))
    # The run is found by what is noted now, so that one whose job was just seen is not looked for again.
    known = {**obj, "status": noted.status}
    try:
        missed = cron_runs.missed(known, timing, now)
    except cron_runs.NeverTwice as error:
        return Run(events=(*events, warning("InvalidSchedule", f"invalid schedule: {spec['schedule']} : {error}")))
    again = cron_runs.seconds_to_next(known, timing, now)
    if missed.latest is None:
        return Run(again, tuple(events))
    if missed.count > cron_runs.MANY:
        events.append(warning("TooManyMissedTimes", TOO_MANY))
    return _start(view, obj, noted, Due(missed.latest, again, tuple(events)))


def _start(view: View, obj: Object, noted: Noted, due: Due) -> Run:
    """Makes the job, as far as those that run allow it; not if there is one of that name."""
    key = (objects.namespace(obj), cron_runs.job_name(obj, due.at))
    if view.get(JOB, key) is not None or any((ref["namespace"], ref["name"]) == key for ref in noted.active):
        return Run(due.again, due.events)
    policy = obj["spec"].get("concurrencyPolicy")
    if policy == "Forbid" and noted.active:
        return Run(due.again, (*due.events, normal("JobAlreadyActive", ACTIVE)))
    replaced = tuple(noted.active) if policy == "Replace" else ()
    return Run(due.again, due.events, replaced, (_create(obj, key, due.at),))


def _create(obj: Object, key: Key, scheduled: float) -> Create:
    """The job of a run, as the template says."""
    template = obj["spec"]["jobTemplate"]
    zone = cron_runs.zone(obj["spec"].get("timeZone") or "")
    noted = {cron_runs.SCHEDULED_AT: cron_runs.scheduled_text(scheduled, zone)}
    metadata = {
        "name": key[1],
        "namespace": key[0],
        "labels": dict(objects.labels(template)),
        "annotations": {**objects.annotations(template), **noted},
        "ownerReferences": [objects.owner_reference(own.typed(obj, CRONJOB))],
    }
    made = {"apiVersion": JOB.api_version, "kind": JOB.name, "metadata": metadata}
    made["spec"] = objects.copy(template.get("spec") or {})
    created = normal("SuccessfulCreate", "Created job {name}")
    refused = warning("FailedCreate", "Error creating job: {error}")
    return Create(JOB, made, done=created, refused=refused, may_exist=True)


def _delete(namespace: str, name: str, uid: str) -> Write:
    done = normal("SuccessfulDelete", f"Deleted job {name}")
    refused = warning("FailedDelete", "Deleted job: {error}")
    return Delete(JOB, (namespace, name), uid, propagation="Background", done=done, refused=refused)


def _matters(old: Object | None, new: Object | None) -> bool:
    """A job comes, goes or ends, or is another run's; how far it is does not matter."""
    return old is None or new is None or _told(old) != _told(new)


def _told(j: Object) -> tuple[object, ...]:
    return job.is_finished(j), objects.owner_references(j), objects.annotations(j), objects.uid(j)


CONTROLLER = Controller(
    "cronjob-controller",
    CRONJOB,
    reconcile,
    watches=(Watch(JOB, owner_keys(CRONJOB), _matters),),
    postpone=postpone,
)
