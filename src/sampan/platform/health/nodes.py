"""Nodes: one that is not heard of, one under pressure, one that is being emptied and can't be."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.core.pod import POD, is_terminal
from sampan.kinds.policy.pod_disruption_budget import PODDISRUPTIONBUDGET
from sampan.meta import conditions, objects
from sampan.platform.health import budgets, words
from sampan.platform.health.lookup import Lookup, since
from sampan.platform.health.verdict import FAILED, HEALTHY, STUCK, Evidence, Verdict, about, because

PRESSURES = {
    "MemoryPressure": "has little memory left",
    "DiskPressure": "has little disk space left",
    "PIDPressure": "has few process ids left",
    "NetworkUnavailable": "has no network",
}


def judge(node: Mapping[str, Any], look: Lookup) -> Verdict:
    """A node."""
    ready = conditions.get(node, "Ready") or {}
    name = objects.name(node)
    if ready.get("status") == "Unknown" or not ready:
        waited = words.duration(since(look, ready.get("lastTransitionTime")))
        message = f"has not been heard of for {waited}: its machine or its agent is down, or can't reach the API"
        steps: tuple[str, ...] = (f"look at the machine, and start its agent again (sampan status; sampan logs node-{name})",
                 f"if it is gone for good: kubectl delete node {name}")  # fmt: skip
        return about(node, FAILED, "NodeNotHeardOf", message, evidence=_shown(ready), next=steps)
    if ready.get("status") != "True":
        message = f"is not ready: {words.clipped(str(ready.get('message', '')))}"
        steps = (f"look at its agent's log: sampan logs node-{name}",)
        return about(node, FAILED, "NodeNotReady", message, evidence=_shown(ready), next=steps)
    for type, text in PRESSURES.items():
        found = conditions.get(node, type)
        if found is not None and found.get("status") == "True":
            steps = (f"free some on the node, or move pods away: kubectl describe node {name}",)
            return about(node, STUCK, type, text, evidence=_shown(found), next=steps)
    if (node.get("spec") or {}).get("unschedulable"):
        return _cordoned(node, look)
    return about(node, HEALTHY, "Ready", "is ready")


def _cordoned(node: Mapping[str, Any], look: Lookup) -> Verdict:
    """One that takes no pods; if it is being emptied, what can't be moved."""
    here = [p for p in look.list(POD) if p["spec"].get("nodeName") == objects.name(node) and not is_terminal(p)]
    movable = [p for p in here if (objects.controller_of(p) or {}).get("kind") != "DaemonSet"]
    held = []
    for budget in sorted(look.list(PODDISRUPTIONBUDGET), key=objects.key):
        kept = budgets.chosen(budget, movable)
        if kept and not (budget.get("status") or {}).get("disruptionsAllowed"):
            held.append(budgets.judge({"kind": "PodDisruptionBudget", **budget}, look))
    message = "is cordoned: it takes no new pods"
    verdict = about(node, HEALTHY, "Cordoned", message)
    if not any(not each.is_healthy for each in held):
        return verdict
    return because(about(node, STUCK, "DrainBlocked", "can't be emptied: a budget forbids it"), held)


def _shown(condition: Mapping[str, Any]) -> tuple[Evidence, ...]:
    text = f"{condition.get('type')}={condition.get('status')} {condition.get('reason')}: {condition.get('message')}"
    return (Evidence("condition", words.clipped(text)),) if condition else ()
