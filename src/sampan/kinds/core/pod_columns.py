"""What `kubectl get pods` shows: READY, STATUS, RESTARTS and the wide columns.

STATUS is the phase, overridden by what keeps the pod from it: a waiting or ended container, an init
container, deletion.
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Column, Object
from sampan.kinds.parts import cells
from sampan.meta import conditions, timestamps
from sampan.meta.wire import table

Status = Mapping[str, Any]


def ready_text(obj: Object, now: float) -> str:
    """Ready containers of all: 1/2. Sidecars count."""
    sidecars = _sidecars(obj)
    status = obj.get("status") or {}
    ready = 0
    if _init_text(obj, sidecars) is None or conditions.is_true(obj, "Initialized"):
        ready = sum(1 for c in status.get("containerStatuses") or () if c.get("ready") and "running" in _state(c))
    for started in _started_sidecars(status, sidecars):
        ready += 1 if started.get("ready") else 0
    total = len((obj.get("spec") or {}).get("containers") or ()) + len(sidecars)
    return f"{ready}/{total}"


def status_text(obj: Object, now: float) -> str:
    """The one word a person asks for: Running, Completed, CrashLoopBackOff, Init:0/1, Terminating."""
    status = obj.get("status") or {}
    phase = status.get("phase") or ""
    text = status.get("reason") or phase
    scheduled = conditions.get(obj, "PodScheduled")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        text = "SchedulingGated"
    init = _init_text(obj, _sidecars(obj))
    text = init or text
    if init is None or conditions.is_true(obj, "Initialized"):
        text = _containers_text(obj, status, text)
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if phase not in {"Succeeded", "Failed"}:
            return "Terminating"
    return text


def restarts_text(obj: Object, now: float) -> str:
    """How often containers restarted, and when last: 3 (2m ago)."""
    sidecars = _sidecars(obj)
    status = obj.get("status") or {}
    inits = status.get("initContainerStatuses") or ()
    counted = list(inits)
    if _init_text(obj, sidecars) is None or conditions.is_true(obj, "Initialized"):
        counted = [c for c in inits if c.get("name") in sidecars] + list(status.get("containerStatuses") or ())
    restarts = sum(c.get("restartCount") or 0 for c in counted)
    ends = [((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for c in counted]
    last = max((timestamps.parse(end) for end in ends if end), default=None)
    if not restarts or last is None:
        return str(restarts)
    return f"{restarts} ({table.human_duration(now - last)} ago)"


def gates_text(obj: Object, now: float) -> str:
    """Readiness gates that are open, of all: 1/2."""
    gates = (obj.get("spec") or {}).get("readinessGates") or ()
    if not gates:
        return cells.NONE
    return f"{sum(1 for g in gates if conditions.is_true(obj, g.get('conditionType') or ''))}/{len(gates)}"


def _ip(obj: Object, now: float) -> str:
    status = obj.get("status") or {}
    listed = status.get("podIPs") or ()
    return (listed[0].get("ip") if listed else status.get("podIP")) or cells.NONE


COLUMNS = (
    Column("Ready", ready_text, description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", status_text, description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts", restarts_text, description="The number of times the containers in this pod have been restarted."
    ),
    cells.AGE,
    Column("IP", _ip, wide=True),
    Column("Node", lambda o, now: (o.get("spec") or {}).get("nodeName") or cells.NONE, wide=True),
    Column("Nominated Node", lambda o, now: (o.get("status") or {}).get("nominatedNodeName") or cells.NONE, wide=True),
    Column("Readiness Gates", gates_text, wide=True),
)


def _sidecars(obj: Object) -> set[str]:
    inits = (obj.get("spec") or {}).get("initContainers") or ()
    return {c["name"] for c in inits if c.get("restartPolicy") == "Always"}


def _state(container: Status) -> Mapping[str, Any]:
    return container.get("state") or {}


def _ended_well(container: Status) -> bool:
    ended = _state(container).get("terminated")
    return ended is not None and not ended.get("exitCode")


def _started_sidecars(status: Status, sidecars: set[str]) -> list[Status]:
    """Sidecars that run, up to the first init container that holds the pod back."""
    found = []
    for container in status.get("initContainerStatuses") or ():
        if _ended_well(container):
            continue
        if container.get("name") not in sidecars or not container.get("started"):
            break
        found.append(container)
    return found


def _init_text(obj: Object, sidecars: set[str]) -> str | None:
    """What initialization waits for; None when it is over."""
    for index, container in enumerate((obj.get("status") or {}).get("initContainerStatuses") or ()):
        if _ended_well(container) or (container.get("name") in sidecars and container.get("started")):
            continue
        state = _state(container)
        if "terminated" in state:
            return "Init:" + _ended_text(state["terminated"])
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len((obj.get('spec') or {}).get('initContainers') or ())}"
    return None


def _containers_text(obj: Object, status: Status, text: str) -> str:
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        state = _state(container)
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            text = waiting
        elif "terminated" in state:
            text = _ended_text(state["terminated"])
        elif container.get("ready") and "running" in state:
            running = True
    if text == "Completed" and running:
        return "Running" if conditions.is_true(obj, "Ready") else "NotReady"
    return text


def _ended_text(ended: Mapping[str, Any]) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
