"""Pods: how a pod is: its place, its volumes, its network, its containers, its node."""

import re
from collections.abc import Mapping
from typing import Any

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import is_ready
from sampan.meta import conditions, objects
from sampan.platform.health import configs, containers, nodes, room, words
from sampan.platform.health.at import told
from sampan.platform.health.lookup import Lookup, since, warnings
from sampan.platform.health.verdict import FAILED, HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about, because

GRACE_SECONDS = 30
SANDBOX = re.compile(r"[Ff]ailed to create pod sandbox: ?(.*)", re.DOTALL)


def judge(pod: Mapping[str, Any], look: Lookup) -> Verdict:
    """A pod."""
    phase = (pod.get("status") or {}).get("phase")
    if objects.is_deleting(pod):
        return _ending(pod, look)
    if phase == "Succeeded":
        return about(pod, HEALTHY, "Completed", "has ended without an error")
    if phase == "Failed":
        return _failed(pod, look)
    if not pod["spec"].get("nodeName"):
        return because(about(pod, PROGRESSING, "Pending", "has no node"), [room.judge(pod, look)])
    if is_ready(dict(pod)) and not _looping(pod, look):
        return about(pod, HEALTHY, "Ready", "is ready")
    return _unready(pod, look)


def _unready(pod: Mapping[str, Any], look: Lookup) -> Verdict:
    node = look.get(NODE, str(pod["spec"]["nodeName"]))
    if node is not None and not conditions.is_true(node, "Ready"):
        message = f"is on node {objects.name(node)}, which is not ready"
        return because(about(pod, STUCK, "NodeNotReady", message), [nodes.judge({"kind": "Node", **node}, look)])
    waiting = about(pod, PROGRESSING, "NotReady", "is not ready")
    if is_ready(dict(pod)):
        waiting = about(pod, PROGRESSING, "Restarting", "is ready now, and restarted again and again")
    if not _has_started(pod):
        held = configs.mounts(pod, look) or _network(pod, look)
        if held is not None:
            return because(waiting, [held])
    first = containers.init(pod, look)
    if first is not None:
        return because(about(pod, PROGRESSING, "Initializing", "is not initialized"), [first])
    found = [verdict for verdict in containers.main(pod, look) if not verdict.is_healthy]
    if found:
        return because(waiting, found)
    return _gated(pod) or waiting


def _gated(pod: Mapping[str, Any]) -> Verdict | None:
    """Readiness gates that nobody opens."""
    gates = [str(gate.get("conditionType")) for gate in pod["spec"].get("readinessGates") or ()]
    shut = [gate for gate in gates if not conditions.is_true(pod, gate)]
    if not shut:
        return None
    message = f"runs, but its readiness gates are not True: {words.listed(shut)}"
    return about(pod, STUCK, "ReadinessGate", message, next=(f"look for whoever sets the condition {shut[0]}",))


def _network(pod: Mapping[str, Any], look: Lookup) -> Verdict | None:
    found = warnings(look, pod, "FailedCreatePodSandBox", "NetworkNotReady")
    if not found:
        return None
    text = str(found[0].get("message", ""))
    match = SANDBOX.search(text)
    steps = (f"sampan why node/{pod['spec']['nodeName']}", "look at the node's log: sampan logs")
    message = f"its node can't give it a network: {words.clipped(match[1] if match else text)}"
    return Verdict("sandbox", STUCK, "NoSandbox", message, objects.namespace(pod), (told(found[0], look),), steps)


def _failed(pod: Mapping[str, Any], look: Lookup) -> Verdict:
    status = pod.get("status") or {}
    reason, text = str(status.get("reason") or "Failed"), str(status.get("message") or "")
    shown = (Evidence("status", words.clipped(f"{reason}: {text}")),) if text else ()
    if reason == "Evicted":
        steps = (
            (
                "look what the node lacks, and set requests and limits: "
                f"kubectl describe node {pod['spec'].get('nodeName', '')}"
            ),
        )
        return about(pod, FAILED, reason, f"was evicted by its node: {words.clipped(text)}", evidence=shown, next=steps)
    if reason == "DeadlineExceeded":
        return about(pod, FAILED, reason, "ran longer than its activeDeadlineSeconds", evidence=shown,
                     next=("give it more time: spec.activeDeadlineSeconds",))  # fmt: skip
    first = containers.init(pod, look)
    bad = [v for v in ([first] if first is not None else containers.main(pod, look)) if not v.is_healthy]
    failed = about(pod, FAILED, reason, f"has failed{': ' + words.clipped(text) if text else ''}", evidence=shown)
    return because(failed, bad)


def _ending(pod: Mapping[str, Any], look: Lookup) -> Verdict:
    waited = since(look, objects.metadata(pod).get("deletionTimestamp"))
    if waited < GRACE_SECONDS:
        return about(pod, PROGRESSING, "Terminating", "is being deleted")
    node = look.get(NODE, str(pod["spec"].get("nodeName", ""))) if pod["spec"].get("nodeName") else None
    if node is not None and not conditions.is_true(node, "Ready"):
        message = f"can't be ended: nobody hears of its node {objects.name(node)}"
        force = f"{words.in_namespace(objects.namespace(pod))} delete pod {objects.name(pod)} --force --grace-period=0"
        verdict = about(pod, STUCK, "NodeLost", message, next=(f"{force}   # only if the node is really gone",))
        return because(verdict, [nodes.judge({"kind": "Node", **node}, look)])
    text = f"is being deleted since {words.duration(waited)}, and its containers have not ended"
    steps = (f"{words.in_namespace(objects.namespace(pod))} describe pod {objects.name(pod)}",)
    return about(pod, STUCK, "TerminatingTooLong", text, next=steps)


def _has_started(pod: Mapping[str, Any]) -> bool:
    entries = (*(pod["status"].get("initContainerStatuses") or ()), *(pod["status"].get("containerStatuses") or ()))
    calm = containers.CALM
    return any((e.get("state", {}).get("waiting") or {"reason": "else"}).get("reason", "") not in calm for e in entries)


def _looping(pod: Mapping[str, Any], look: Lookup) -> bool:
    """Whether a container of a pod that is ready right now is restarted again and again."""
    return any(not verdict.is_healthy for verdict in containers.main(pod, look))
