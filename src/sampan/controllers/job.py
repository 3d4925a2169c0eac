"""A Job's pods: run until enough have succeeded, or too many failed, or its time is over.

Each end is counted once (see control.job_pods). A verdict comes first as SuccessCriteriaMet or
FailureTarget; Complete or Failed follows when no pod is left running and none uncounted.

https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sampan.control import (
    decorate,
    job_backoff,
    job_indexes,
    job_pods,
    job_policies,
    job_status,
    job_verdict,
    job_work,
    own,
    pods,
)
from sampan.control.controller import Controller, Watch
from sampan.control.job_verdict import Verdict
from sampan.control.job_work import Work
from sampan.control.plan import Ask, Create, Delete, Key, Patch, Plan, Write, normal, plan, sooner, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.batch.job import JOB, TRACKING_FINALIZER
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects, selectors, timestamps

BURST = 500
BATCH_SECONDS = 1.0
NOTHING_COUNTED = job_pods.tally({}, ())
"""Pods of a job start and end together, and each write of its status is for all that happened meanwhile."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


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
    finished = job_status.finished(job)
    if finished is not None:
        return _after(job, finished, found.objects, now)
    if objects.is_deleting(job):
        return plan(_releases(found.objects))
    status = job.get("status") or {}
    work = _observed(job, found.objects, now)
    if not job_indexes.has_limit(job):
        known = job_backoff.failures(view.memory, found.objects, is_patient=job_work.is_patient(job))
        work = Work(job, work.pods, work.tally, now, known)
    verdict = job_verdict.verdict(work)
    if verdict is not None:
        # Now nothing is kept back any more; and what a failed job still runs has failed, what another one does hasn't.
        ignored = _ignored(job, found.objects)
        if verdict[0] == "SuccessCriteriaMet":
            ignored |= {objects.uid(p) for p in work.active}
        tally = job_pods.tally(
            status, found.objects, is_over=True, is_patient=job_work.is_patient(job), ignored=ignored
        )
        work = Work(job, work.pods, tally, now, work.failures)
    made = _step(view, work, verdict)
    return replace(made, memory=work.failures) if view.memory or work.failures else made


def _ignored(job: Object, pods: Iterable[Object]) -> set[str]:
    """Uids of pods whose failure does not count: as the policy says, and those that have no index of the job's."""
    found = {objects.uid(p) for p in pods if not _has_place(job, p)} if job_work.is_indexed(job) else set()
    if not job["spec"].get("podFailurePolicy"):
        return found
    return found | {objects.uid(p) for p in pods if pod.is_terminal(p) and job_policies.is_ignored(job, p)}


def _has_place(job: Object, p: Object) -> bool:
    index = job_pods.index_of(p)
    return index is not None and index < int(job["spec"]["completions"])


def _observed(job: Object, pods: tuple[Object, ...], now: float) -> Work:
    """The job at work: failures that its policy ignores and those still needed for their count are left out."""
    work = Work(job, pods, NOTHING_COUNTED, now, {})
    ignored = _ignored(job, pods)
    kept = job_indexes.to_keep(job, pods, work.completed | work.failed_indexes)
    counted = [p for p in pods if objects.uid(p) not in kept]
    status = job.get("status") or {}
    tally = job_pods.tally(status, counted, is_patient=job_work.is_patient(job), ignored=ignored)
    return Work(job, pods, tally, now, {})


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
    status, events = job_status.status(work, verdict, len(made) if is_hopeful else 0)
    written = decorate.status(JOB, work.job, status)
    # Once judged, only the pods' ends matter, which make the job due themselves.
    again = None if verdict else sooner(wait, job_work.seconds_to_deadline(work.job, status, work.now))
    if is_hopeful and made:
        return plan(made, written, events=events, again=again)
    # Ends are counted as soon as the finalizers are seen to be gone.
    again = 0.0 if releases else again
    return plan(written, releases, [*made, *map(_delete, surplus)], events=events, again=again)


def _surplus(work: Work) -> list[Object]:
    """Pods beyond what is wanted, those with an index that another has or that there isn't any more first."""
    misplaced = _misplaced(work) if job_work.is_indexed(work.job) else []
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
    if not job_work.is_indexed(work.job):
        return [None] * count
    taken = work.completed | work.failed_indexes | {i for p in work.busy if (i := job_pods.index_of(p)) is not None}
    return [i for i in range(work.job["spec"]["completions"]) if i not in taken][:count]  # type: ignore[return-value]


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
    watches=(Watch(POD, _orphans, strays=True),),
    postpone=postpone,
    batch_seconds=BATCH_SECONDS,
)
