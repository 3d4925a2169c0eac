"""A rollout's AnalysisRuns: made from templates, followed, ended, and cleared away.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/
"""

from collections.abc import Sequence

from sampan.control.plan import Create, Delete, Event, Patch
from sampan.control.view import View
from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.platform.rollouts import args, measuring
from sampan.platform.rollouts.course import Course
from sampan.platform.rollouts.kinds import (
    ANALYSISRUN,
    ANALYSISTEMPLATE,
    CLUSTERANALYSISTEMPLATE,
    HASH,
    REVISION,
    ROLLOUT,
    RUN_TYPE,
    STEP_INDEX,
)

STEP, BACKGROUND, PRE, POST = "Step", "Background", "PrePromotion", "PostPromotion"
TOLD = {
    STEP: "Step-based analysis",
    BACKGROUND: "Background analysis",
    PRE: "Pre-promotion analysis",
    POST: "Post-promotion analysis",
}
KEPT = 5


def look(course: Course, kind: str, given: Object, before: Object | None, step: int | None = None) -> Object:
    """The status {name, status, message} of the present run of this sort; it is made if there is none."""
    run = _present(course, kind, before, step)
    if run is None:
        try:
            run = _new(course, kind, given, step)
        except args.Unresolved as error:
            course.abort(f"{TOLD[kind]} phase error/failed: {error}")
            return {}
        course.early.append(Create(ANALYSISRUN, run))
    told = _told(run)
    if (before or {}).get("status") != told["status"] or (before or {}).get("name") != told["name"]:
        course.events.append(_event(kind, told, before or {}))
    return told


def _event(kind: str, told: Object, before: Object) -> Event:
    phase, earlier = told["status"], before.get("status", "") if before.get("name") == told["name"] else ""
    text = f"{kind} Analysis Run '{told['name']}' Status New: '{phase}' Previous: '{earlier}'"
    return Event("Warning" if phase in (measuring.FAILED, measuring.ERROR) else "Normal", f"AnalysisRun{phase}", text)


def _told(run: Object) -> Object:
    status = run.get("status") or {}
    made = {"name": objects.name(run), "status": status.get("phase") or measuring.RUNNING}
    return {**made, "message": status["message"]} if status.get("message") else made


def is_bad(told: Object) -> bool:
    """Whether it says that the update must not go on."""
    return told.get("status") in (measuring.FAILED, measuring.ERROR)


def why(kind: str, told: Object) -> str:
    """What an abort says of it."""
    return f"{TOLD[kind]} phase error/failed: {told.get('message') or told.get('status')}"


def end(course: Course, kinds: Sequence[str] = (STEP, BACKGROUND, PRE, POST)) -> None:
    """Those that still run are told to stop."""
    for run in course.view.owned(course.rollout, ANALYSISRUN):
        is_over = (run.get("status") or {}).get("phase") in measuring.COMPLETED or run["spec"].get("terminate")
        if objects.labels(run).get(RUN_TYPE) in kinds and not is_over:
            patch = {"spec": {"terminate": True}}
            course.late.append(Patch(ANALYSISRUN, objects.key(run), patch, uid=objects.uid(run)))


def clear(course: Course) -> None:
    """The oldest of those that are over and that no status names go."""
    limits = course.spec.get("analysis") or {}
    named = _named(course.status)
    runs = [r for r in course.view.owned(course.rollout, ANALYSISRUN) if objects.name(r) not in named]
    over = [r for r in runs if (r.get("status") or {}).get("phase") in measuring.COMPLETED]
    over.sort(key=lambda r: (r["metadata"].get("creationTimestamp", ""), objects.name(r)))
    for field, is_good in (("successfulRunHistoryLimit", True), ("unsuccessfulRunHistoryLimit", False)):
        limit = limits.get(field)
        found = [r for r in over if (r["status"]["phase"] == measuring.SUCCESSFUL) == is_good]
        for run in found[: max(len(found) - (KEPT if limit is None else limit), 0)]:
            course.late.append(Delete(ANALYSISRUN, objects.key(run), objects.uid(run)))


def _named(status: Object) -> set[str]:
    canary, blue_green = status.get("canary") or {}, status.get("blueGreen") or {}
    listed = (
        canary.get("currentStepAnalysisRunStatus"), canary.get("currentBackgroundAnalysisRunStatus"),
        blue_green.get("prePromotionAnalysisRunStatus"), blue_green.get("postPromotionAnalysisRunStatus"),
    )  # fmt: skip
    return {each["name"] for each in listed if each}


def _present(course: Course, kind: str, before: Object | None, step: int | None) -> Object | None:
    """The one that the status names, or one that was made before the status could say so."""
    if before:
        key = objects.namespace(course.rollout), str(before["name"])
        found = course.view.get(ANALYSISRUN, key)
        if found is not None and objects.labels(found).get(STEP_INDEX, "") == _step_label(step):
            return found
    for run in course.view.owned(course.rollout, ANALYSISRUN):
        labels = objects.labels(run)
        same = labels.get(RUN_TYPE) == kind and labels.get(HASH) == course.hash
        is_over = (run.get("status") or {}).get("phase") in measuring.COMPLETED or run["spec"].get("terminate")
        if same and labels.get(STEP_INDEX, "") == _step_label(step) and not is_over:
            return run
    return None


def _step_label(step: int | None) -> str:
    return "" if step is None else str(step)


def templates(view: View, rollout: Object, given: Object) -> list[Object]:
    """Those that an analysis names; what is not there is left out."""
    found = []
    for reference in given.get("templates") or ():
        name = str(reference["templateName"])
        if reference.get("clusterScope"):
            found.append(view.get(CLUSTERANALYSISTEMPLATE, ("", name)))
        else:
            found.append(view.get(ANALYSISTEMPLATE, (objects.namespace(rollout), name)))
    return [template for template in found if template is not None]


def _new(course: Course, kind: str, given: Object, step: int | None) -> Object:
    """Raises Unresolved."""
    named = templates(course.view, course.rollout, given)
    hashes = {"Stable": course.stable_hash, "Latest": course.hash}
    spec: Object = {"metrics": [metric for template in named for metric in template["spec"].get("metrics") or ()]}
    if wanted := args.merged(args.given_by(course.rollout, given.get("args") or (), hashes), named):
        spec["args"] = wanted
    for field in ("dryRun", "measurementRetention"):
        listed = [*(given.get(field) or ()), *(each for t in named for each in t["spec"].get(field) or ())]
        if listed:
            spec[field] = listed
    more = given.get("analysisRunMetadata") or {}
    labels = {**(more.get("labels") or {}), HASH: course.hash, RUN_TYPE: kind}
    if step is not None:
        labels[STEP_INDEX] = str(step)
    return {
        "apiVersion": ANALYSISRUN.api_version,
        "kind": ANALYSISRUN.name,
        "metadata": {
            "name": _free_name(course, kind, step),
            "namespace": objects.namespace(course.rollout),
            "labels": labels,
            "annotations": {**(more.get("annotations") or {}), REVISION: str(course.revision)},
            "ownerReferences": [objects.owner_reference({**course.rollout, "kind": ROLLOUT.name})],
        },
        "spec": spec,
    }


def _free_name(course: Course, kind: str, step: int | None) -> str:
    """NAME-HASH-REVISION with the step, or pre or post; and a number, where there was one before."""
    tail = {STEP: f"-{step}", BACKGROUND: "", PRE: "-pre", POST: "-post"}[kind]
    base = f"{course.name}-{course.hash}-{course.revision}{tail}"
    name, number = base, 0
    while course.view.get(ANALYSISRUN, (objects.namespace(course.rollout), name)) is not None:
        number += 1
        name = f"{base}.{number}"
    return name
