"""A Job's pods: run until enough have succeeded, or too many failed, or its time is over.

Each end is counted once (see control.job_pods). A verdict comes first as SuccessCriteriaMet or
FailureTarget; Complete or Failed follows when no pod is left running and none uncounted.

https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sampan.control import decorate, job_backoff, job_indexes, job_pods, job_policies, own, pods
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Ask, Create, Delete, Event, Key, Patch, Plan, Write, normal, plan, sooner, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.batch.job import JOB, TRACKING_FINALIZER
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, selectors, timestamps

BURST = 500
BATCH_SECONDS = 1.0
"""Pods of a job start and end together, and each write of its status is for all that happened meanwhile."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")

Verdict = tuple[str, str, str]  # condition type, reason, message


@dataclass(frozen=True, slots=True)
class Work:
    """One job as it is observed."""

    job: Object
    pods: tuple[Object, ...]
    tally: job_pods.Tally
    now: float
    failures: job_backoff.Failures = field(default_factory=dict)
    """Those that the next pod waits for."""

    @property
    def active(self) -> list[Object]:
        return [p for p in self.pods if pod.is_active(p)]

    @property
    def terminating(self) -> list[Object]:
        return [p for p in self.pods if objects.is_deleting(p) and not pod.is_terminal(p)]

    @property
    def busy(self) -> list[Object]:
        """Pods whose places are not to be filled yet."""
        return [*self.active, *self.terminating] if _is_patient(self.job) else self.active

    @property
    def completed(self) -> set[int]:
        status = self.job.get("status") or {}
        done = job_pods.parse_indexes(status.get("completedIndexes", ""))
        failed = set((status.get("uncountedTerminatedPods") or {}).get("failed") or ())
        ended = [p for p in self.pods if job_pods.has_succeeded(p) and objects.uid(p) not in failed]
        seen = {job_pods.index_of(p) for p in ended if job_pods.is_tracked(p)}
        return {i for i in done | seen if i is not None and i < self.job["spec"].get("completions", 0)}

    @property
    def failed_indexes(self) -> set[int]:
        """Indexes that are given up."""
        return job_indexes.failed(self.job, self.pods) - self.completed

    @property
    def succeeded(self) -> int:
        return len(self.completed) if _is_indexed(self.job) else self.tally.all_succeeded


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Counts, judges, and brings the number of running pods to what is wanted."""
    job = view.get(JOB, key)
    if job is None:
        return _bereft(view, key)
    if job_policies.is_managed_elsewhere(job):
        return Plan()
    selector = selectors.from_label_selector(job["spec"].get("selector"))
    found = own.children(view, job, own.Claim(JOB, POD, selector, (TRACKING_FINALIZER,)))
    if found.ask:
        return Plan(ask=found.ask)
    if found.writes:
        return plan(found.writes, again=0.0)
    finished = _finished(job)
    if finished is not None:
        return _after(job, finished, found.objects, now)
    if objects.is_deleting(job):
        return plan(_releases(found.objects))
    status = job.get("status") or {}
    work = _observed(job, found.objects, now)
    if not job_indexes.has_limit(job):
        known = job_backoff.failures(view.memory, found.objects, is_patient=_is_patient(job))
        work = replace(work, failures=known)
    verdict = _verdict(work)
    if verdict is not None:
        # Now nothing is kept back any more; and what a failed job still runs has failed, what another one does hasn't.
        ignored = _ignored(job, found.objects)
        if verdict[0] == "SuccessCriteriaMet":
            ignored |= {objects.uid(p) for p in work.active}
        tally = job_pods.tally(status, found.objects, is_over=True, is_patient=_is_patient(job), ignored=ignored)
        work = replace(work, tally=tally)
    made = _step(view, work, verdict)
    return replace(made, memory=work.failures) if view.memory or work.failures else made


def _ignored(job: Object, pods: Iterable[Object]) -> set[str]:
    """Uids of pods whose failure does not count: as the policy says, and those that have no index of the job's."""
    found = {objects.uid(p) for p in pods if not _has_place(job, p)} if _is_indexed(job) else set()
    if not job["spec"].get("podFailurePolicy"):
        return found
    return found | {objects.uid(p) for p in pods if pod.is_terminal(p) and job_policies.is_ignored(job, p)}


def _has_place(job: Object, p: Object) -> bool:
    index = job_pods.index_of(p)
    return index is not None and index < int(job["spec"]["completions"])


def _observed(job: Object, pods: tuple[Object, ...], now: float) -> Work:
    """The job at work: failures that its policy ignores and those still needed for their count are left out."""
    work = Work(job, pods, job_pods.tally({}, ()), now)
    ignored = _ignored(job, pods)
    kept = job_indexes.to_keep(job, pods, work.completed | work.failed_indexes)
    counted = [p for p in pods if objects.uid(p) not in kept]
    status = job.get("status") or {}
    return replace(work, tally=job_pods.tally(status, counted, is_patient=_is_patient(job), ignored=ignored))


def _bereft(view: View, key: Key) -> Plan:
    """A job that is gone, which a live read confirms, does not hold its pods back."""
    pods = [p for p in view.list(POD, key[0]) if job_pods.is_tracked(p) and _is_of(p, key[1])]
    if not pods:
        return Plan()
    live = view.answer(Ask(JOB, key))
    if live is UNANSWERED:
        return Plan(ask=(Ask(JOB, key),))
    return plan(() if live is not None else _releases(pods))


def _is_of(p: Object, name: str) -> bool:
    controller = objects.controller_of(p)
    return controller is not None and (controller.get("kind"), controller["name"]) == (JOB.name, name)


def _releases(pods: Iterable[Object]) -> list[Patch]:
    return [own.without_finalizers(POD, p, (TRACKING_FINALIZER,)) for p in pods if job_pods.is_tracked(p)]


def _step(view: View, work: Work, verdict: Verdict | None) -> Plan:
    is_suspended = bool(work.job["spec"].get("suspend"))
    surplus = work.active if verdict or is_suspended else _surplus(work)
    # Those that go because they are too many are not counted: they lose the finalizer first.
    releases = _releases([*work.tally.release, *(() if verdict else surplus)])
    made, wait = ((), None) if verdict or is_suspended or surplus else _missing(work)
    # One write of the status is for the pods that are made too, unless some were refused last time.
    is_hopeful = not (releases or view.refusals())
    status, events = _status(work, verdict, len(made) if is_hopeful else 0)
    written = decorate.status(JOB, work.job, status)
    # Once judged, only the pods' ends matter, which make the job due themselves.
    again = None if verdict else sooner(wait, _seconds_to_deadline(work.job, status, work.now))
    if is_hopeful and made:
        return plan(made, written, events=events, again=again)
    # Ends are counted as soon as the finalizers are seen to be gone.
    again = 0.0 if releases else again
    return plan(written, releases, [*made, *map(_delete, surplus)], events=events, again=again)


def _surplus(work: Work) -> list[Object]:
    """Pods beyond what is wanted, those with an index that another has or that there isn't any more first."""
    misplaced = _misplaced(work) if _is_indexed(work.job) else []
    others = [p for p in sorted(work.active, key=pods.progress) if p not in misplaced]
    return misplaced + others[: max(len(others) - _wanted_active(work), 0)]


def _misplaced(work: Work) -> list[Object]:
    places = set(range(work.job["spec"]["completions"]))
    found = []
    for p in sorted(work.active, key=pods.progress, reverse=True):
        if job_pods.index_of(p) in places:
            places.discard(job_pods.index_of(p) or 0)
        else:
            found.append(p)
    return found


def _missing(work: Work) -> tuple[Sequence[Write], float | None]:
    """Creates pods; returns also how long a back-off still lasts."""
    missing = _wanted_active(work) - len(work.busy)
    if missing <= 0:
        return (), None
    if job_indexes.has_limit(work.job):
        return _missing_indexes(work, min(missing, BURST))
    wait = job_backoff.seconds(work.failures, work.now)
    if wait > 0:
        return (), wait
    return [_create(work.job, index) for index in _places(work, min(missing, BURST))], None


def _missing_indexes(work: Work, missing: int) -> tuple[Sequence[Write], float | None]:
    """Where each index has its own limit, each waits for itself."""
    before = job_indexes.last_failed(work.job, work.pods)
    waits = {
        i: job_indexes.backoff_seconds(before.get(i), work.now)
        for i in _places(work, work.job["spec"]["completions"])
        if i is not None
    }
    ready = [i for i, seconds in waits.items() if seconds <= 0][:missing]
    notes = {i: job_indexes.annotations(work.job, before.get(i)) for i in ready}
    again = min((seconds for seconds in waits.values() if seconds > 0), default=None)
    return [_create(work.job, i, notes[i]) for i in ready], again


def _wanted_active(work: Work) -> int:
    spec = work.job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    if spec.get("completions") is None:
        return len(work.active) if work.succeeded > 0 else parallelism
    left = int(spec["completions"]) - work.succeeded - len(work.failed_indexes)
    return max(min(left, parallelism), 0)


def _places(work: Work, count: int) -> list[int | None]:
    """The lowest completion indexes that nobody works on; None for each pod of a job without."""
    if not _is_indexed(work.job):
        return [None] * count
    taken = work.completed | work.failed_indexes | {i for p in work.busy if (i := job_pods.index_of(p)) is not None}
    return [i for i in range(work.job["spec"]["completions"]) if i not in taken][:count]  # type: ignore[return-value]


def _verdict(work: Work) -> Verdict | None:
    """What has been or is now decided, with its reason."""
    for type in ("FailureTarget", "SuccessCriteriaMet"):
        decided = conditions.get(work.job, type)
        if decided is not None and decided["status"] == "True":
            return type, decided.get("reason", ""), decided.get("message", "")
    spec = work.job["spec"]
    why = job_policies.job_failure(work.job, work.pods)
    if why:
        return "FailureTarget", "PodFailurePolicy", why
    limit = spec.get("backoffLimit", 6)
    if work.tally.all_failed > limit or _has_restarted_too_often(work, limit):
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    left = _seconds_to_deadline(work.job, work.job.get("status") or {}, work.now)
    if left is not None and left <= 0:
        return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    wanted = spec.get("completions")
    return _index_verdict(work) or _enough(work, wanted)


def _index_verdict(work: Work) -> Verdict | None:
    """What failed and succeeded indexes decide."""
    spec, failed = work.job["spec"], work.failed_indexes
    most = spec.get("maxFailedIndexes")
    if most is not None and len(failed) > most:
        text = "Job has exceeded the specified maximal number of failed indexes"
        return "FailureTarget", "MaxFailedIndexesExceeded", text
    if failed and len(failed) + len(work.completed) >= spec["completions"]:
        return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    met = job_policies.success(work.job, work.completed) if spec.get("successPolicy") else ""
    return ("SuccessCriteriaMet", "SuccessPolicy", met) if met else None


def _enough(work: Work, wanted: int | None) -> Verdict | None:
    is_enough = work.succeeded > 0 if wanted is None else work.succeeded >= wanted
    return ("SuccessCriteriaMet", *REACHED) if is_enough and not work.active else None


def _has_restarted_too_often(work: Work, limit: int) -> bool:
    if work.job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    count = job_pods.restarts(work.pods)
    return count > 0 if limit == 0 else count >= limit


def _status(work: Work, verdict: Verdict | None, made: int) -> tuple[Object, list[Event]]:
    old, tally = work.job.get("status") or {}, work.tally
    uncounted = {"succeeded": list(tally.uncounted_succeeded), "failed": list(tally.uncounted_failed)}
    status: Object = {
        **old,
        "active": len(work.active) + made or None,
        "ready": sum(map(pod.is_ready, work.active)),
        "terminating": len(work.terminating),
        "succeeded": (len(work.completed) if _is_indexed(work.job) else tally.succeeded) or None,
        "failed": tally.failed or None,
        "uncountedTerminatedPods": {name: uids for name, uids in uncounted.items() if uids},
    }
    if _is_indexed(work.job):
        status["completedIndexes"] = job_pods.format_indexes(work.completed) or None
    if job_indexes.has_limit(work.job):
        status["failedIndexes"] = job_pods.format_indexes(work.failed_indexes)
    events = _set_suspended(work, status)
    if verdict is not None:
        events += _judge(work, verdict, status)
    return status, events


def _set_suspended(work: Work, status: Object) -> list[Event]:
    """startTime and the Suspended condition, as spec.suspend wishes."""
    listed = status.get("conditions") or []
    if work.job["spec"].get("suspend"):
        if conditions.is_true(status, "Suspended"):
            return []
        status["conditions"] = _with(listed, ("Suspended", "JobSuspended", "Job suspended"), work.now)
        return [normal("Suspended", "Job suspended")]
    events = []
    if conditions.is_true(status, "Suspended"):
        status["conditions"] = _with(listed, ("Suspended", "JobResumed", "Job resumed"), work.now, "False")
        events = [normal("Resumed", "Job resumed")]
        status["startTime"] = None  # the time of its deadline begins anew
    status["startTime"] = status.get("startTime") or timestamps.format(work.now)
    return events


def _judge(work: Work, verdict: Verdict, status: Object) -> list[Event]:
    """The verdict, and its execution once nothing runs and all ends are counted."""
    type, reason, message = verdict
    status["conditions"] = _with(status.get("conditions") or [], verdict, work.now)
    is_running = any(not pod.is_terminal(p) for p in work.pods)
    if is_running or status["uncountedTerminatedPods"]:
        return []
    last = "Complete" if type == "SuccessCriteriaMet" else "Failed"
    status["conditions"] = _with(status["conditions"], (last, reason, message), work.now)
    if last == "Failed":
        return [warning(reason, message)]
    status["completionTime"] = timestamps.format(work.now)
    wanted = work.job["spec"].get("completions")
    text = "Too many succeeded pods running after completion count reached"
    too_many = [warning("TooManySucceededPods", text)] if wanted is not None and work.succeeded > wanted else []
    return [*too_many, normal("Completed", "Job completed")]


def _with(listed: Sequence[Object], verdict: Verdict, now: float, status: str = "True") -> list[Object]:
    current = conditions.find(listed, verdict[0])
    if current is not None and current["status"] == status:
        return list(listed)
    made = conditions.set(listed, verdict[0], status, verdict[1], verdict[2], now)
    return [{**c, "lastProbeTime": timestamps.format(now)} if c.get("type") == verdict[0] else c for c in made]


def _after(job: Object, finished: Object, pods: Sequence[Object], now: float) -> Plan:
    """A finished job lets its pods go, and itself when its time to live is over."""
    releases = _releases(pods)
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or objects.is_deleting(job):
        return plan(releases)
    left = timestamps.parse(finished["lastTransitionTime"]) + ttl - now
    if left > 0:
        return plan(releases, again=left)
    version = objects.resource_version(job)
    gone = Delete(JOB, objects.key(job), objects.uid(job), resource_version=version, propagation="Foreground")
    return plan(releases, () if releases else [gone])


def _create(job: Object, index: int | None, notes: dict[str, str] | None = None) -> Create:
    made = pod.from_template(job, JOB, job["spec"]["template"])
    metadata, spec = made["metadata"], made["spec"]
    metadata["finalizers"] = [*metadata.get("finalizers", ()), TRACKING_FINALIZER]
    if index is not None:
        metadata["generateName"] = job_pods.name_prefix(objects.name(job), index)
        metadata["annotations"] = {**metadata.get("annotations", {}), job_pods.INDEX: str(index), **(notes or {})}
        metadata["labels"] = {**metadata.get("labels", {}), job_pods.INDEX: str(index)}
        spec["hostname"] = f"{objects.name(job)}-{index}"
        reference = {"fieldRef": {"fieldPath": f"metadata.labels['{job_pods.INDEX}']"}}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            known = container.get("env") or []
            if all(e["name"] != INDEX_VARIABLE for e in known):
                container["env"] = [*known, {"name": INDEX_VARIABLE, "valueFrom": reference}]
    told = normal("SuccessfulCreate", "Created pod: {name}")
    return Create(POD, made, told, warning("FailedCreate", "Error creating: {error}"))


def _delete(p: Object) -> Delete:
    told = normal("SuccessfulDelete", "Deleted pod: {name}")
    return Delete(
        POD, objects.key(p), objects.uid(p), done=told, refused=warning("FailedDelete", "Error deleting: {error}")
    )


def _finished(job: Object) -> Object | None:
    found = (conditions.get(job, type) for type in ("Complete", "Failed"))
    return next((c for c in found if c is not None and c["status"] == "True"), None)


def _seconds_to_deadline(job: Object, status: Object, now: float) -> float | None:
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is None or not status.get("startTime") or job["spec"].get("suspend"):
        return None
    return timestamps.parse(status["startTime"]) + float(deadline) - now


def _is_patient(job: Object) -> bool:
    """Whether a pod is replaced only when it has ended."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def _is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def _orphans(view: View, p: Object) -> Iterable[Key]:
    return own.orphan_keys(JOB)(view, p)


def postpone(old: Object, new: Object, now: float) -> float | None:
    """What its status says is mostly our own word; only another wish is looked at at once."""
    return BATCH_SECONDS if objects.generation(old) == objects.generation(new) else None


CONTROLLER = Controller(
    name="job-controller",
    parent=JOB,
    reconcile=reconcile,
    owns=(POD,),
    watches=(Watch(POD, _orphans),),
    postpone=postpone,
    batch_seconds=BATCH_SECONDS,
)
