"""How far a Deployment or Job has come, what keeps its pods from running, and where a Service is reached. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_AFTER_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class State:
    """Whether it is done; what to say of it; why it can't become so, if it can't."""

    is_done: bool
    text: str
    failure: str = ""


def of_deployment(found: Object) -> State:
    """As `kubectl rollout status` judges."""
    spec, status = found["spec"], found.get("status", {})
    wanted = int(spec.get("replicas", 1))
    updated, available = int(status.get("updatedReplicas", 0)), int(status.get("availableReplicas", 0))
    text = f"{min(updated, available)} of {wanted} ready"
    if int(status.get("observedGeneration", 0)) < int(found["metadata"].get("generation", 1)):
        return State(False, f"0 of {wanted} ready")
    for condition in status.get("conditions", ()):
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return State(False, text, "it made no progress within its deadline")
    is_done = updated >= wanted and available >= wanted and int(status.get("replicas", 0)) <= wanted
    return State(is_done, text)


def of_job(found: Object) -> State:
    """Whether it completed."""
    for condition in found.get("status", {}).get("conditions", ()):
        if condition.get("status") == "True" and condition.get("type") == "Complete":
            return State(True, "completed")
        if condition.get("status") == "True" and condition.get("type") == "Failed":
            return State(False, "failed", condition.get("message") or "it failed")
    return State(False, "running")


def is_current(pod: Object, template: Object) -> bool:
    """Whether the pod was made of this template, and not of one before it."""
    known, wanted = pod["metadata"].get("annotations") or {}, template["metadata"].get("annotations") or {}
    if any(known.get(name) != value for name, value in wanted.items()):
        return False
    pairs = zip(pod["spec"]["containers"], template["spec"]["containers"], strict=False)
    keys = ("image", "command", "args", "env")
    return all(one.get(key) == other.get(key) for one, other in pairs for key in keys)


def troubles(pods: Iterable[Object]) -> list[str]:
    """What keeps pods from running, each once."""
    return list(dict.fromkeys(text for pod in pods for text, _ in _of_pod(pod)))


def hopeless(pods: Iterable[Object]) -> str:
    """A trouble that does not pass by waiting; empty if there is none."""
    return next((text for pod in pods for text, is_final in _of_pod(pod) if is_final), "")


def _of_pod(pod: Object) -> Iterator[tuple[str, bool]]:
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield condition.get("message") or "no node takes it", False
    for state in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = state.get("state", {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason in ("", "ContainerCreating", "PodInitializing"):
            continue
        message = " ".join(str(waiting.get("message", "")).split())
        restarts = int(state.get("restartCount", 0))
        is_final = reason in _HOPELESS or (reason == "CrashLoopBackOff" and restarts >= _AFTER_RESTARTS)
        ended = state.get("lastState", {}).get("terminated")
        if reason == "CrashLoopBackOff" and ended:
            message = f"it ended with exit code {ended.get('exitCode')}; see: kubectl logs --previous {pod['metadata']['name']}"
        yield f"{reason}: {message}" if message else reason, is_final


def addresses(service: Object, node_ip: str = "127.0.0.1") -> list[str]:
    """Where it is reached from outside of the cluster: at its balancer's address, else at its nodes' ports.

    Of several ports that lead to the same one of the pods, the first.
    """
    spec = service["spec"]
    if spec.get("type") not in ("LoadBalancer", "NodePort"):
        return []
    balancers: Sequence[Object] = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    hosts = [each.get("ip") or each.get("hostname") for each in balancers]
    found = []
    targets: dict[tuple[Any, str], Object] = {}
    for port in spec.get("ports", ()):
        targets.setdefault((port.get("targetPort", port["port"]), port.get("protocol", "TCP")), port)
    for port in targets.values():
        host, number = (hosts[0], port["port"]) if hosts else (node_ip, port.get("nodePort"))
        if host and number:
            found.append(_url(str(host), int(number), str(port.get("protocol", "TCP"))))
    return found


def _url(host: str, number: int, protocol: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    if protocol != "TCP":
        return f"{protocol.lower()}://{shown}:{number}"
    if number == 443:
        return f"https://{shown}/"
    return f"http://{shown}/" if number == 80 else f"http://{shown}:{number}/"
