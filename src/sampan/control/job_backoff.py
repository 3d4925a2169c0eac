"""How long a Job waits before its next pod: longer with each failure since its last success.

Failures are remembered, since a pod that somebody deleted is soon not there any more to tell of its own.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.control import job_pods
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps

FIRST_SECONDS = 10.0
LAST_SECONDS = 600.0
KEPT = 8
"""So many failures in a row come to the longest wait."""

Failures = dict[str, float]
"""Uid of a pod -> when it failed (unix seconds)."""


def failures(memory: Mapping[str, Any], pods: Sequence[Object], *, is_patient: bool) -> Failures:
    """Those since the last success, the latest ones: what is remembered, and what the pods tell."""
    found = {objects.uid(p): finished_at(p) for p in pods if _has_failed(p, is_patient=is_patient)} | dict(memory)
    succeeded = max((finished_at(p) for p in pods if job_pods.has_succeeded(p)), default=0.0)
    latest = sorted((at, uid) for uid, at in found.items() if at > succeeded)[-KEPT:]
    return {uid: at for at, uid in latest}


def seconds(known: Failures, now: float) -> float:
    """How long to wait still after these failures."""
    return remaining(len(known), max(known.values(), default=0.0), now)


def remaining(count: int, last: float, now: float) -> float:
    """How long to wait still after so many failures, of which the last was then."""
    if not count:
        return 0.0
    wait = min(FIRST_SECONDS * 2.0 ** (min(count, 32) - 1), LAST_SECONDS)
    return max(last + wait - now, 0.0)


def finished_at(p: Object) -> float:
    """When the pod ended: by its containers, or else when it was ready no more, was deleted, or was made."""
    ends = _container_ends(p)
    if ends:
        return max(ends)
    ready = conditions.get(p, "Ready") or {}
    if ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return timestamps.parse(ready["lastTransitionTime"])
    metadata = objects.metadata(p)
    if metadata.get("deletionTimestamp"):
        return timestamps.parse(metadata["deletionTimestamp"]) - (metadata.get("deletionGracePeriodSeconds") or 0)
    created = metadata.get("creationTimestamp")
    return timestamps.parse(created) if created else 0.0


def _container_ends(p: Object) -> list[float]:
    """Of all containers and sidecars; none while one of them has not ended."""
    status = p.get("status") or {}
    listed = (p.get("spec") or {}).get("initContainers") or ()
    sidecars = {c["name"] for c in listed if c.get("restartPolicy") == "Always"}
    beside: Iterable[Object] = (s for s in status.get("initContainerStatuses") or () if s.get("name") in sidecars)
    stamps = [
        ((s.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for s in (*(status.get("containerStatuses") or ()), *beside)
    ]
    return [timestamps.parse(stamp) for stamp in stamps if stamp] if all(stamps) else []


def _has_failed(p: Object, *, is_patient: bool) -> bool:
    """Whether it counts: not one that its job let go before it deleted it."""
    if not job_pods.is_tracked(p) and objects.is_deleting(p):
        return False
    return job_pods.has_failed(p, is_patient=is_patient)
