"""Restarting: pods older than spec.restartAt go, a few at a time, and their ReplicaSets make new ones.

https://argo-rollouts.readthedocs.io/en/stable/features/restart/
"""

from sampan.control.plan import Delete
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps
from sampan.platform.rollouts import replica_sets, sizing
from sampan.platform.rollouts.course import Course

AGAIN_SECONDS = 30.0


def run(course: Course) -> None:
    """Deletes as many as may be unavailable now."""
    wanted = course.spec.get("restartAt")
    if not wanted or course.status.get("restartedAt") == wanted:
        return
    at = timestamps.parse(wanted)
    if at > course.now:
        course.again.append(at - course.now)
        return
    pods = [pod for found in course.everything for pod in course.view.owned(found, POD)]
    old = [pod for pod in pods if timestamps.parse(pod["metadata"]["creationTimestamp"]) < at]
    if not old:
        course.status["restartedAt"] = wanted
        return
    canary = course.spec["strategy"].get("canary") or {}
    unavailable = max(sizing.bounds(canary, course.replicas).unavailable, 1)
    available = replica_sets.total(course.everything)
    spare = max(available - (course.replicas - unavailable), 0) - sum(map(objects.is_deleting, old))
    for pod in _oldest([pod for pod in old if not objects.is_deleting(pod)])[: max(spare, 0)]:
        course.late.append(Delete(POD, objects.key(pod), objects.uid(pod)))
    course.again.append(AGAIN_SECONDS)


def _oldest(pods: list[Object]) -> list[Object]:
    return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], objects.name(pod)))
