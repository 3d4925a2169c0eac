"""The status of each container of a pod, judged from what is observed: state, last state, readiness, what it was given.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ContainerStatus
"""

from typing import Any

from sampan.meta import timestamps
from sampan.node import backoff, podspec, resize, restart_all
from sampan.node.observed import Failure, volume_key
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState
from sampan.node.snapshot import Snapshot

MESSAGES_BYTES = 12 * 1024
"""How long the last words of a pod's containers may be together."""

Status = dict[str, Any]
Container = dict[str, Any]


def of(seen: Snapshot, container: Container, *, init: bool = False) -> Status:
    """One container's status."""
    name = container["name"]
    attempts = seen.attempts.get(name)
    if not attempts:
        return _unseen(seen, container)
    current = attempts[0]
    found: Status = {
        "name": name,
        "state": _state(seen, container, current, init=init),
        "lastState": {},
        "ready": seen.is_ready(container),
        "restartCount": current.attempt,
        "image": current.image_ref,
        "imageID": current.image_id,
        "containerID": _container_id(seen, current),
        "started": seen.is_started(container),
    }
    if init and not podspec.is_sidecar(container) and current.state == EXITED:
        found["ready"] = current.exit_code == 0
    if "waiting" in found["state"] and current.state == EXITED:
        found["lastState"] = {"terminated": _terminated(seen, current)}
    elif len(attempts) > 1 and attempts[1].state == EXITED:
        found["lastState"] = {"terminated": _terminated(seen, attempts[1])}
    else:
        found["lastState"] = _state_before(seen, name, attempts)
    if not init and (devices := seen.observed.devices.get(name)):
        found["allocatedResourcesStatus"] = devices
    return found | _asked(seen, container)


def _state_before(seen: Snapshot, name: str, attempts: list[ContainerState]) -> Status:
    """The last state as told; if what was told of is lost, as when the node lost its power, that is its end."""
    told = seen.old_statuses.get(name) or {}
    known = {_container_id(seen, state) for state in attempts}
    if told.get("containerID") and told["containerID"] not in known:
        return {"terminated": _lost(told)}
    return told.get("lastState") or {}


def of_guest(seen: Snapshot, container: Container) -> Status:
    """An ephemeral container's status: it is started once, is never ready, and nothing is reserved for it."""
    name = container["name"]
    current, failure = seen.latest(name), seen.observed.failures.get(name)
    old = seen.old_statuses.get(name) or {}
    found: Status = {"name": name, "lastState": {}, "ready": False, "restartCount": 0}
    if current is not None:
        state: Status = {"waiting": {"reason": "ContainerCreating"}}
        if current.state == RUNNING:
            state = {"running": {"startedAt": timestamps.format(current.started_at)}}
        elif current.state == EXITED:
            state = {"terminated": _terminated(seen, current)}
        found |= {"state": state, "image": current.image_ref, "imageID": current.image_id}
        found["containerID"] = _container_id(seen, current)
    elif old.get("containerID"):
        state = {"terminated": _lost(old)}
        found |= {name: old[name] for name in ("image", "imageID", "containerID")} | {"state": state}
    else:
        waiting = {"reason": "ContainerCreating"}
        if failure is not None and not seen.is_ending:
            waiting = {"reason": failure.reason, "message": failure.message}
        found |= {"state": {"waiting": waiting}, "image": podspec.image(container), "imageID": ""}
    if mounts := container.get("volumeMounts"):
        found["volumeMounts"] = [_mounted(seen, m) for m in mounts]
    return found


def _state(seen: Snapshot, container: Container, current: ContainerState, *, init: bool) -> Status:
    name = container["name"]
    if current.state == RUNNING:
        return {"running": {"startedAt": timestamps.format(current.started_at)}}
    if current.state != EXITED:
        return {"waiting": {"reason": _default_reason(seen)}}
    failure = seen.observed.failures.get(name)
    if failure and not seen.is_ending:
        return {"waiting": {"reason": failure.reason, "message": failure.message}}
    waits = not seen.is_ending and seen.wants_restart(container, init=init) and seen.restart_at(container) > seen.now
    if not waits or (init and seen.is_initialized and not podspec.is_sidecar(container)):
        return {"terminated": _terminated(seen, current)}
    seconds = backoff.text(seen.observed.backoffs[name].seconds)
    text = f"back-off {seconds} restarting failed container={name} pod={podspec.full_name(seen.pod)}"
    return {"waiting": {"reason": "CrashLoopBackOff", "message": text}}


def _default_reason(seen: Snapshot) -> str:
    return "PodInitializing" if podspec.init_containers(seen.pod) else "ContainerCreating"


def _unseen(seen: Snapshot, container: Container) -> Status:
    """A container that the runtime does not have: not started yet, or lost."""
    name = container["name"]
    old = seen.old_statuses.get(name)
    if old and seen.is_ending and "terminated" in old.get("state", {}):
        return old
    failure = seen.observed.failures.get(name) or _volume_failure(seen, container)
    waiting: Status = {"reason": _default_reason(seen)}
    if failure and not seen.is_ending:
        waiting = {"reason": failure.reason, "message": failure.message}
    found: Status = {
        "name": name,
        "state": {"waiting": waiting},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": podspec.image(container),
        "imageID": "",
        "started": False,
    }
    if forgotten := restart_all.removed(seen, name):
        return found | forgotten | _asked(seen, container)
    if old and old.get("restartCount") and not old.get("containerID"):
        found |= {"restartCount": old["restartCount"], "lastState": old.get("lastState") or {}}
    if old and old.get("containerID"):
        found |= {"restartCount": old.get("restartCount") or 0, "containerID": old["containerID"]}
        found["lastState"] = {"terminated": _lost(old)}
        if seen.is_ending:
            found |= {"state": found["lastState"], "lastState": old.get("lastState") or {}}
    return found | _asked(seen, container)


def _volume_failure(seen: Snapshot, container: Container) -> Failure | None:
    """Why the image of one of its volumes can't be had."""
    keys = [volume_key(mount["name"]) for mount in container.get("volumeMounts") or ()]
    return next((seen.observed.failures[key] for key in keys if key in seen.observed.failures), None)


def _lost(old: Status) -> Status:
    before = old.get("state", {}).get("terminated") or old.get("lastState", {}).get("terminated")
    if before and "running" not in old.get("state", {}):
        return dict(before)
    return {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was deleted.  The container used to be Running",
        "startedAt": None,
        "finishedAt": None,
    }


def _terminated(seen: Snapshot, state: ContainerState) -> Status:
    found: Status = {
        "exitCode": state.exit_code,
        "reason": state.reason or ("Completed" if state.exit_code == 0 else "Error"),
        "startedAt": timestamps.format(state.started_at or state.created_at),
        "finishedAt": timestamps.format(max(state.finished_at, state.started_at)),
        "containerID": _container_id(seen, state),
    }
    if state.oom_killed:
        found["reason"] = "OOMKilled"
    if state.message:
        found["message"] = _bounded(
            state.message, MESSAGES_BYTES // max(1, len(list(podspec.all_containers(seen.pod))))
        )
    return found


def _bounded(text: str, size: int) -> str:
    """The last words, cut so that those of all containers fit into a status."""
    return text.encode()[:size].decode("utf-8", "ignore") if len(text) * 4 > size else text


def _container_id(seen: Snapshot, state: ContainerState) -> str:
    return f"{seen.observed.runtime}://{state.id}"


def _asked(seen: Snapshot, container: Container) -> Status:
    """What it has, what is set aside for it, and its mounts."""
    resources, allocated = resize.running_with(seen, container)
    found: Status = {"resources": resources}
    if requests := allocated.get("requests"):
        found["allocatedResources"] = requests
    mounts = container.get("volumeMounts") or ()
    if mounts:
        found["volumeMounts"] = [_mounted(seen, m) for m in mounts]
    return found


def _mounted(seen: Snapshot, mount: dict[str, Any]) -> Status:
    found: Status = {"mountPath": mount["mountPath"], "name": mount["name"]}
    if mount.get("readOnly"):
        wanted = mount.get("recursiveReadOnly") or "Disabled"
        is_recursive = wanted != "Disabled" and seen.observed.recursive_read_only
        found |= {"readOnly": True, "recursiveReadOnly": "Enabled" if is_recursive else "Disabled"}
    return found
