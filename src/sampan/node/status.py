"""A pod's status, judged from what is observed: phase, conditions, and each container's state.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus
"""

from typing import Any

from sampan.meta import conditions, objects, timestamps
from sampan.node import backoff, podspec
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState
from sampan.node.snapshot import TERMINAL, Snapshot

Status = dict[str, Any]
Container = dict[str, Any]

CONDITION_ORDER = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
RESIZE_PENDING = "PodResizePending"
NO_GUESTS = "ephemeral containers are not supported yet"


def status(seen: Snapshot) -> Status:
    """The whole new status; fields that others own are kept as they are."""
    new = {k: v for k, v in seen.old.items() if k not in ("phase", "conditions", "reason", "message")}
    new["startTime"] = seen.old.get("startTime") or timestamps.format(seen.now)
    if generation := objects.generation(seen.pod):
        new["observedGeneration"] = generation
    if seen.observed.rejected is not None and seen.old.get("phase") not in TERMINAL:
        return _rejected(seen, new)
    if seen.old.get("phase") in TERMINAL and not (seen.old_statuses or seen.observed.containers):
        return {**new, **{k: seen.old[k] for k in ("phase", "conditions", "reason", "message") if k in seen.old}}
    inits, apps = podspec.init_containers(seen.pod), podspec.app_containers(seen.pod)
    init_statuses = [_container(seen, c, init=True) for c in inits]
    if inits:
        new["initContainerStatuses"] = init_statuses
    new["containerStatuses"] = [_container(seen, c, init=False) for c in apps]
    if guests := seen.pod["spec"].get("ephemeralContainers"):
        new["ephemeralContainerStatuses"] = [_refused_guest(c) for c in guests]
    new |= _addresses(seen)
    new["phase"] = _phase(seen, init_statuses, new["containerStatuses"])
    new |= _why(seen)
    new["conditions"] = _conditions(seen, new)
    return new


def _rejected(seen: Snapshot, new: Status) -> Status:
    reason, message = seen.observed.rejected or ("", "")
    new |= {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {message}"}
    new["conditions"] = list(seen.old.get("conditions") or [])
    return new


def _why(seen: Snapshot) -> Status:
    if seen.is_overdue:
        text = "Pod was active on the node longer than the specified deadline"
        return {"reason": "DeadlineExceeded", "message": text}
    return {k: seen.old[k] for k in ("reason", "message") if k in seen.old}


def _addresses(seen: Snapshot) -> Status:
    found: Status = {}
    host, pod_ip = seen.observed.host_ip, seen.observed.pod_ip
    if host:
        found |= {"hostIP": host, "hostIPs": [{"ip": host}]}
    if podspec.is_host_network(seen.pod):
        pod_ip = host
    if pod_ip:
        found |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    return found


def _phase(seen: Snapshot, inits: list[Status], apps: list[Status]) -> str:
    """Terminal phases stay; else from the states of the containers."""
    old = seen.old.get("phase")
    if old in TERMINAL:
        return str(old)
    if seen.is_overdue or seen.failed_init:
        return "Failed"
    if not seen.is_initialized:
        return "Pending"
    states = [s["state"] for s in apps]
    running = sum("running" in s for s in states)
    fresh = sum(
        "waiting" in s and "terminated" not in a.get("lastState", {}) for s, a in zip(states, apps, strict=True)
    )
    if fresh:
        return "Pending"
    if running:
        return "Running"
    if not (seen.is_complete or (seen.is_ending and seen.is_quiet)):
        return "Running"
    if any("running" in s["state"] for s in inits):
        return "Running"
    ended = [s.get("terminated") or a["lastState"]["terminated"] for s, a in zip(states, apps, strict=True)]
    return "Succeeded" if all(e["exitCode"] == 0 for e in ended) else "Failed"


def _container(seen: Snapshot, container: Container, *, init: bool) -> Status:
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
        found["lastState"] = (seen.old_statuses.get(name) or {}).get("lastState") or {}
    return found | _asked(_as_started(seen, container, found))


def _as_started(seen: Snapshot, container: Container, found: Status) -> Container:
    """The container with the resources that it runs with: those of its start, whatever was wished since."""
    before = seen.old_statuses.get(container["name"]) or {}
    if "running" not in found["state"] or before.get("containerID") != found["containerID"]:
        return container
    return {**container, "resources": before["resources"]} if "resources" in before else container


def _refused_guest(container: Container) -> Status:
    waiting = {"reason": "CreateContainerConfigError", "message": NO_GUESTS}
    return {
        "name": container["name"],
        "state": {"waiting": waiting},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": podspec.image(container),
        "imageID": "",
    }


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
    failure = seen.observed.failures.get(name)
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
    if old and old.get("containerID"):
        found |= {"restartCount": old["restartCount"], "containerID": old["containerID"]}
        found["lastState"] = {"terminated": _lost(old)}
        if seen.is_ending:
            found |= {"state": found["lastState"], "lastState": old.get("lastState") or {}}
    return found | _asked(container)


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
        "finishedAt": timestamps.format(state.finished_at),
        "containerID": _container_id(seen, state),
    }
    if state.oom_killed:
        found["reason"] = "OOMKilled"
    if state.message:
        found["message"] = state.message
    return found


def _container_id(seen: Snapshot, state: ContainerState) -> str:
    return f"{seen.observed.runtime}://{state.id}"


def _asked(container: Container) -> Status:
    """What was asked for and is so: resources and mounts."""
    resources = container.get("resources") or {}
    found: Status = {"resources": resources}
    requests = resources.get("requests")
    if requests:
        found["allocatedResources"] = requests
    mounts = container.get("volumeMounts") or ()
    if mounts:
        found["volumeMounts"] = [_mounted(m) for m in mounts]
    return found


def _mounted(mount: dict[str, Any]) -> Status:
    found: Status = {"mountPath": mount["mountPath"], "name": mount["name"]}
    if mount.get("readOnly"):
        found |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return found


def _conditions(seen: Snapshot, new: Status) -> list[Status]:
    """The node's five in upstream's order, then everybody else's."""
    old = seen.old.get("conditions") or []
    containers_ready = _containers_ready(seen, new)
    found = [
        _condition(seen, "PodReadyToStartContainers", ("True" if _has_sandbox(seen) else "False", "", "")),
        _condition(seen, "Initialized", _initialized(seen, new)),
        _condition(seen, "Ready", _gated(seen, containers_ready)),
        _condition(seen, "ContainersReady", containers_ready),
    ]
    scheduled = conditions.find(old, "PodScheduled")
    found.append(scheduled or _condition(seen, "PodScheduled", ("True", "", "")))
    if waiting := _waiting_for_resources(seen, new):
        text = f"In-place resize is not supported on this node; until a restart these stay as they are: {waiting}"
        found.append(_condition(seen, RESIZE_PENDING, ("True", "Infeasible", text)))
    return found + [c for c in old if c["type"] not in (*CONDITION_ORDER, RESIZE_PENDING)]


def _waiting_for_resources(seen: Snapshot, new: Status) -> str:
    """The containers that run with other resources than their spec has: a, b."""
    wanted = {c["name"]: c.get("resources") or {} for _, c in podspec.all_containers(seen.pod)}
    statuses = [*new.get("initContainerStatuses", ()), *new["containerStatuses"]]
    return ", ".join(
        s["name"] for s in statuses if "running" in s["state"] and s.get("resources", {}) != wanted.get(s["name"])
    )


def _condition(seen: Snapshot, type: str, verdict: tuple[str, str, str]) -> Status:
    state, reason, message = verdict
    old = conditions.find(seen.old.get("conditions") or (), type)
    new: Status = {"type": type, "status": state, "lastProbeTime": None}
    new["lastTransitionTime"] = timestamps.format(seen.now)
    if old is not None and old.get("status") == state and old.get("lastTransitionTime"):
        new["lastTransitionTime"] = old["lastTransitionTime"]
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    if generation := objects.generation(seen.pod):
        new["observedGeneration"] = generation
    return new


def _has_sandbox(seen: Snapshot) -> bool:
    if seen.observed.torn_down:
        return False
    return bool(seen.observed.pod_ip) or (podspec.is_host_network(seen.pod) and seen.observed.volumes_ready)


def _initialized(seen: Snapshot, new: Status) -> tuple[str, str, str]:
    if new["phase"] == "Succeeded":
        return "True", "PodCompleted", ""
    if seen.is_initialized or new["phase"] == "Running":
        return "True", "", ""
    names = [c["name"] for c in podspec.init_containers(seen.pod) if not seen.is_init_done(c)]
    return "False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(names)}]"


def _containers_ready(seen: Snapshot, new: Status) -> tuple[str, str, str]:
    if new["phase"] == "Succeeded":
        return "False", "PodCompleted", ""
    if new["phase"] == "Failed":
        return "False", "PodFailed", ""
    sidecars = [c for c in podspec.init_containers(seen.pod) if podspec.is_sidecar(c)]
    unready = [c["name"] for c in sidecars + podspec.app_containers(seen.pod) if not seen.is_ready(c)]
    if unready:
        return "False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return "True", "", ""


def _gated(seen: Snapshot, containers_ready: tuple[str, str, str]) -> tuple[str, str, str]:
    """Ready is ContainersReady and all readiness gates."""
    if containers_ready[0] != "True":
        return containers_ready
    messages = []
    for gate in seen.pod["spec"].get("readinessGates") or ():
        type = gate["conditionType"]
        found = conditions.find(seen.old.get("conditions") or (), type)
        if found is None:
            messages.append(f'corresponding condition of pod readiness gate "{type}" does not exist.')
        elif found.get("status") != "True":
            messages.append(f'the status of pod readiness gate "{type}" is not "True", but {found.get("status")}')
    if messages:
        return "False", "ReadinessGatesNotReady", "; ".join(messages)
    return "True", "", ""
