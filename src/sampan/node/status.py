"""A pod's status, judged from what is observed: phase and conditions; its containers' are in `container_status`.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus
"""

from typing import Any

from sampan.meta import conditions, objects, timestamps
from sampan.node import container_status, final_states, podspec, resize, restart_all
from sampan.node.snapshot import RESTARTING, TERMINAL, Snapshot

Status = dict[str, Any]

DISRUPTION = "DisruptionTarget"
CONDITION_ORDER = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


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
    init_statuses = [container_status.of(seen, c, init=True) for c in inits]
    app_statuses = [container_status.of(seen, c) for c in apps]
    final_states.settle(seen, init_statuses, app_statuses)
    if inits:
        new["initContainerStatuses"] = init_statuses
    new["containerStatuses"] = app_statuses
    if guests := podspec.guests(seen.pod):
        new["ephemeralContainerStatuses"] = [container_status.of_guest(seen, c) for c in guests]
    new |= _addresses(seen)
    new["phase"] = _phase(seen, init_statuses, new["containerStatuses"])
    new |= _why(seen, new["phase"])
    new["conditions"] = _conditions(seen, new)
    return new


def _rejected(seen: Snapshot, new: Status) -> Status:
    reason, message = seen.observed.rejected or ("", "")
    new |= {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {message}"}
    new["conditions"] = list(seen.old.get("conditions") or [])
    return new


def _why(seen: Snapshot, phase: str) -> Status:
    if seen.is_overdue and phase == "Failed":
        text = "Pod was active on the node longer than the specified deadline"
        return {"reason": "DeadlineExceeded", "message": text}
    if _is_ended_by_node(seen) and (ended_by := seen.observed.terminated) is not None:
        return {"reason": ended_by.reason, "message": ended_by.message}
    return {k: seen.old[k] for k in ("reason", "message") if k in seen.old}


def _is_ended_by_node(seen: Snapshot) -> bool:
    """Whether the node has ended the pod, and it had not ended before."""
    return seen.observed.terminated is not None and seen.is_quiet and seen.old.get("phase") not in TERMINAL


def _addresses(seen: Snapshot) -> Status:
    found: Status = {}
    observed = seen.observed
    hosts = (observed.host_ip, *observed.other_host_ips) if observed.host_ip else ()
    pods = hosts if podspec.is_host_network(seen.pod) else observed.last_ips or (observed.pod_ip,)
    for word, addresses in (("host", hosts), ("pod", pods)):
        if any(addresses):
            found |= {f"{word}IP": addresses[0], f"{word}IPs": [{"ip": address} for address in addresses]}
    return found


def _phase(seen: Snapshot, inits: list[Status], apps: list[Status]) -> str:
    """Terminal phases stay; else from the states of the containers."""
    old = seen.old.get("phase")
    if old in TERMINAL:
        return str(old)
    if seen.is_beginning_anew and seen.observed.containers:
        return str(old or "Pending")
    if seen.is_quiet and (seen.is_overdue or seen.failed_init or _is_ended_by_node(seen)):
        return "Failed"
    if not seen.is_initialized:
        return "Failed" if objects.is_deleting(seen.pod) and seen.is_quiet else "Pending"
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
    found.append(_condition(seen, "PodScheduled", ("True", "", "")))  # whatever a scheduler that came late has said
    if anew := restart_all.condition(seen, new["phase"]):
        found.append(_condition(seen, RESTARTING, anew))
    for type, why in resize.conditions(seen).items():
        found.append(_condition(seen, type, ("True", *why)))
    own: tuple[str, ...] = (*CONDITION_ORDER, RESTARTING, resize.PENDING, resize.IN_PROGRESS)
    ended_by = seen.observed.terminated
    if ended_by is not None and ended_by.disruption is not None and _is_ended_by_node(seen):
        found.append(_condition(seen, DISRUPTION, ("True", "TerminationByKubelet", ended_by.disruption)))
        own = (*own, DISRUPTION)
    return found + [c for c in old if c.get("type") not in own]


def _condition(seen: Snapshot, type: str, verdict: tuple[str, str, str]) -> Status:
    state, reason, message = verdict
    old = seen.old_conditions.get(type)
    new: Status = {"type": type, "status": state, "lastProbeTime": None}
    if old is not None and old.get("status") == state and old.get("lastTransitionTime"):
        new["lastTransitionTime"] = old["lastTransitionTime"]
    else:
        new["lastTransitionTime"] = timestamps.format(seen.now)
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    if generation := seen.pod["metadata"].get("generation"):
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
