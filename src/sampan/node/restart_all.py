"""Starting a whole pod anew where it is: one container's exit, by a rule of its own, has all of them begin again.

What runs is killed at once and without hooks; then everything that ended is forgotten, and init containers come first
again. The pod's condition tells that it is so, and is the memory of it: nothing is forgotten before it is told, and
nothing starts before it is taken back.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-all-containers
"""

from typing import Any

from sampan.meta import conditions
from sampan.node import podspec
from sampan.node.observed import Again, Command, KillContainer, RemoveContainer
from sampan.node.runtime.protocol import EXITED
from sampan.node.snapshot import RESTARTING, Snapshot

Object = dict[str, Any]

REASON = "RestartingAllContainers"
MESSAGE = "The container is removed because RestartAllContainers in place"
LOOK_AGAIN_SECONDS = 0.125


def commands(seen: Snapshot) -> list[Command]:
    """What brings the pod back to its beginning."""
    running = [state for state in seen.observed.containers if state.state != EXITED]
    if running or seen.observed.starting:
        return [
            KillContainer(state.id, state.name, 0.0, f"Stopping container {state.name}")
            for state in running
            if state.id not in seen.observed.stopping
        ]
    if _is_told(seen) and not _is_clean(seen):
        return [RemoveContainer(state.id) for state in seen.observed.containers if state.name in _names(seen)]
    return [Again(seen.now + LOOK_AGAIN_SECONDS)]


def condition(seen: Snapshot, phase: str) -> tuple[str, str, str] | None:
    """Status, reason and message of the condition, which a pod without such a rule does not have."""
    if not podspec.could_restart_all(seen.pod):
        return None
    if phase in ("Succeeded", "Failed"):
        return "False", "PodCompleted" if phase == "Succeeded" else "PodFailed", ""
    if not seen.is_beginning_anew or (_is_told(seen) and _is_clean(seen)):
        return "False", "", ""
    return "True", "RestartAllContainersStarted", "container exited with restart policy rule"


def removed(seen: Snapshot, name: str) -> Object | None:
    """What is special about the status of a container that was forgotten; None for any other."""
    old = seen.old_statuses.get(name)
    if old is None or not (seen.is_beginning_anew and _is_told(seen)):
        return None
    count = int(old.get("restartCount", 0)) + bool(old.get("containerID"))
    if not count:
        return None
    ended = {"exitCode": 137, "reason": REASON, "message": MESSAGE, "startedAt": None, "finishedAt": None}
    waiting = {"reason": REASON, "message": MESSAGE}
    return {"restartCount": count, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}


def _names(seen: Snapshot) -> set[str]:
    return {c["name"] for c in (*podspec.init_containers(seen.pod), *podspec.app_containers(seen.pod))}


def _is_told(seen: Snapshot) -> bool:
    found = conditions.find(seen.old.get("conditions") or (), RESTARTING)
    return found is not None and found.get("status") == "True"


def _is_clean(seen: Snapshot) -> bool:
    names = _names(seen)
    return not any(state.name in names for state in seen.observed.containers)
