"""Daemon failures: how long a failed daemon pod stays before another one is tried on its node.

A second after the first, then twice as long each time, at most a quarter of an hour; forgotten after half an hour.
They are told apart by DaemonSet, its observed generation and node. A memory maps that to [unix seconds, delay].
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import objects

FIRST_SECONDS = 1.0
LAST_SECONDS = 900.0

Memory = Mapping[str, Any]


def left(memory: Memory, daemon_set: Object, node: str, now: float) -> float:
    """For how many seconds a failed pod on this node is still left alone; 0 when it may go."""
    at, delay = memory.get(_prefix(daemon_set) + node, (now, 0.0))
    elapsed = now - at
    return delay - elapsed if 0 <= elapsed < delay else 0.0


def after_another(memory: Memory, daemon_set: Object, node: str, now: float) -> Memory:
    """The memory once another failed pod of this node goes."""
    name = _prefix(daemon_set) + node
    before = memory.get(name)
    delay = min(2 * before[1], LAST_SECONDS) if before is not None else FIRST_SECONDS
    return {**memory, name: [now, delay]}


def still_known(memory: Memory, daemon_set: Object, now: float) -> Memory:
    """Without what was too long ago, or of another generation."""
    prefix = _prefix(daemon_set)
    return {
        name: kept for name, kept in memory.items() if name.startswith(prefix) and now - kept[0] <= 2 * LAST_SECONDS
    }


def _prefix(daemon_set: Object) -> str:
    return f"{objects.uid(daemon_set)}/{(daemon_set.get('status') or {}).get('observedGeneration', 0)}/"
