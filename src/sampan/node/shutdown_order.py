"""The order in which pods end when the node shuts down: by priority, each group with its own time (pure).

https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#graceful-node-shutdown
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.node import admission
from sampan.node.kubelet_config import KubeletConfig, PriorityShutdown

Object = Mapping[str, Any]

REASON = "Terminated"
MESSAGE = "Pod was terminated in response to imminent node shutdown."
NOT_ADMITTED = ("NodeShutdown", "Pod was rejected as the node is shutting down.")
NODE_MESSAGE = "node is shutting down"


@dataclass(frozen=True, slots=True)
class Group:
    """Pods that end together, and how many seconds they have."""

    seconds: int
    pods: Sequence[Object]


def steps(config: KubeletConfig) -> tuple[PriorityShutdown, ...]:
    """How long pods of which priority have, the lowest first; nothing when shutdowns aren't looked after."""
    if config.shutdown_grace_period_by_pod_priority:
        return tuple(sorted(config.shutdown_grace_period_by_pod_priority, key=lambda step: step.priority))
    if not config.shutdown_grace_period:
        return ()
    critical = config.shutdown_grace_period_critical_pods
    usual = PriorityShutdown(0, int(config.shutdown_grace_period - critical))
    return usual, PriorityShutdown(admission.SYSTEM_CRITICAL_PRIORITY, int(critical))


def whole_seconds(config: KubeletConfig) -> float:
    """How long a shutdown is delayed at most."""
    return float(sum(step.shutdown_grace_period_seconds for step in steps(config)))


def groups(config: KubeletConfig, pods: Iterable[Object]) -> list[Group]:
    """The pods in the groups in which they end, one after the other; groups without pods are left out."""
    found = steps(config)
    members: list[list[Object]] = [[] for _ in found]
    for pod in pods:
        priority = pod["spec"].get("priority") or 0
        reached = [number for number, step in enumerate(found) if step.priority <= priority]
        members[reached[-1] if reached else 0].append(pod)
    return [
        Group(step.shutdown_grace_period_seconds, those) for step, those in zip(found, members, strict=True) if those
    ]


def grace_seconds(pod: Object, group: Group) -> float:
    """How long the pod's containers have: the group's time, or their own when that is less."""
    own = pod["spec"].get("terminationGracePeriodSeconds")
    return float(group.seconds if own is None else min(own, group.seconds))
