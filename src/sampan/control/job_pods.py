"""Job pods: counting ends exactly once, and indexes.

A finished pod's uid is first written into status.uncountedTerminatedPods, then its finalizer is removed,
then it is counted; so no end is lost or counted twice, whenever the controller stops.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sampan.kinds.batch.job import TRACKING_FINALIZER
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects

INDEX = "batch.kubernetes.io/job-completion-index"
UNCOUNTED_AT_ONCE = 500
LONGEST_PREFIX = 58


class Tally(NamedTuple):
    """Ends that are counted, uids that are about to be, and the pods whose finalizer may now go."""

    succeeded: int
    failed: int
    uncounted_succeeded: tuple[str, ...]
    uncounted_failed: tuple[str, ...]
    release: tuple[Object, ...]

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)


def is_tracked(p: Object) -> bool:
    """Whether the pod's end is still to be counted."""
    return TRACKING_FINALIZER in objects.finalizers(p)


def tally(
    status: Object,
    pods: Sequence[Object],
    *,
    is_over: bool = False,
    is_patient: bool = False,
    ignored: Collection[str] = (),
) -> Tally:
    """What is counted so far, and what comes next.

    When the job is over, what still runs has failed. A patient one waits for the end of pods being deleted.
    Failed pods whose uid is `ignored` are let go without being counted.
    """
    tracked = {objects.uid(p): p for p in pods if is_tracked(p)}
    done: dict[str, list[str]] = {"succeeded": [], "failed": []}
    waiting: dict[str, list[str]] = {"succeeded": [], "failed": []}
    for name, uids in (status.get("uncountedTerminatedPods") or {}).items():
        for uid in (uids or ()) if name in done else ():
            (waiting if uid in tracked else done)[name].append(uid)
    listed = {*waiting["succeeded"], *waiting["failed"]}
    for uid, p in tracked.items():
        if uid not in listed and len(listed) < UNCOUNTED_AT_ONCE:
            end = (
                "succeeded" if has_succeeded(p) else "failed" if is_over or has_failed(p, is_patient=is_patient) else ""
            )
            if end == "failed" and uid in ignored:
                listed.add(uid)
            elif end:
                waiting[end].append(uid)
                listed.add(uid)
    return Tally(
        succeeded=status.get("succeeded", 0) + len(done["succeeded"]),
        failed=status.get("failed", 0) + len(done["failed"]),
        uncounted_succeeded=tuple(waiting["succeeded"]),
        uncounted_failed=tuple(waiting["failed"]),
        release=tuple(tracked[uid] for uid in sorted(listed)),
    )


def has_succeeded(p: Object) -> bool:
    """Whether the pod's work is done."""
    return bool((p.get("status") or {}).get("phase") == "Succeeded")


def has_failed(p: Object, *, is_patient: bool = False) -> bool:
    """Whether the pod will not do its work: it failed, or it is being deleted (which a patient job doesn't judge)."""
    is_leaving = objects.is_deleting(p) and not has_succeeded(p) and not is_patient
    return (p.get("status") or {}).get("phase") == "Failed" or is_leaving


def index_of(p: Object) -> int | None:
    """The completion index, None for a pod without one."""
    index = intstr.whole(objects.annotations(p).get(INDEX, ""))
    return index if index is not None and index >= 0 else None


def name_prefix(job: str, index: int) -> str:
    """What the name of an index's pod begins with; the index is there also after a long name."""
    suffix = f"-{index}-"
    return job[: LONGEST_PREFIX - len(suffix)] + suffix


def parse_indexes(text: str) -> set[int]:
    """ "0,2-4" -> {0, 2, 3, 4}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """{0, 2, 3, 4} -> "0,2-4"."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in runs)


def restarts(pods: Sequence[Object]) -> int:
    """Restarts of containers in pods that are still running."""
    return sum(
        s.get("restartCount", 0)
        for p in pods
        if (p.get("status") or {}).get("phase") in ("Running", "Pending")
        for s in ((p["status"].get("initContainerStatuses") or []) + (p["status"].get("containerStatuses") or []))
    )
