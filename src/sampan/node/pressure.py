"""Node pressure: which thresholds are met, for how long, what the node says of it, and who may still come. Pure.

    judge(thresholds, signals, past, now) -> Verdict

A soft threshold counts once it was met for its grace; one that was met is so until what is to be reclaimed is had;
a condition stays for a while after its last threshold was met, so that it doesn't flap.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sampan.kinds.parts import node_match, pod_resources
from sampan.node import admission
from sampan.node.thresholds import CONDITIONS, MEMORY, RESOURCES, Amount, Threshold

Object = Mapping[str, Any]
Signals = Mapping[str, Amount]

EVICTED = "Evicted"
_MEMORY_PRESSURE = "MemoryPressure"
_MEMORY_TAINT: Object = MappingProxyType({"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"})
_NOTHING: Mapping[Any, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered from one look to the next.

    `since` when thresholds are met, which of them were `due`, and when conditions were `seen` last.
    """

    since: Mapping[Threshold, float] = field(default_factory=lambda: _NOTHING)
    due: frozenset[Threshold] = frozenset()
    seen: Mapping[str, float] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`conditions` that are true of the node, in order; thresholds to be acted on, the most urgent first."""

    past: Past
    conditions: tuple[str, ...]
    due: tuple[Threshold, ...]


def judge(
    thresholds: Iterable[Threshold], signals: Signals, past: Past, now: float, transition_seconds: float
) -> Verdict:
    """One look at the signals. What a signal isn't there for can't be met."""
    met = [t for t in thresholds if t.signal in signals and t.is_met(signals[t.signal], with_reclaim=t in past.due)]
    since = {threshold: past.since.get(threshold, now) for threshold in met}
    seen = {**past.seen, **{CONDITIONS[threshold.signal]: now for threshold in met}}
    lasting = {name: at for name, at in seen.items() if now - at < transition_seconds or at == now}
    due = [threshold for threshold, first in since.items() if now - first >= threshold.grace_seconds]
    due.sort(key=lambda threshold: threshold.signal != MEMORY)
    return Verdict(Past(since, frozenset(due), lasting), tuple(sorted(lasting)), tuple(due))


def attempt(threshold: Threshold) -> str:
    """The message of the event about what is done."""
    return f"Attempting to reclaim {RESOURCES[threshold.signal]}"


def refusal(pod: Object, conditions: tuple[str, ...]) -> tuple[str, str] | None:
    """Reason and message for a new pod that may not come now; None if it may."""
    if not conditions or admission.is_critical(pod):
        return None
    if conditions == (_MEMORY_PRESSURE,):
        if pod_resources.qos_class(pod["spec"]) != "BestEffort":
            return None
        if node_match.tolerated(pod["spec"].get("tolerations") or (), _MEMORY_TAINT):
            return None
    return EVICTED, f"The node had condition: [{' '.join(conditions)}]. "
