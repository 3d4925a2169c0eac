"""Taints that say that a node fails, and that drive its pods away.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
"""

from sampan.kinds.kind import Object

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
FAILURES = (NOT_READY, UNREACHABLE)


def of_failure(status: str) -> str:
    """The taint's key for a status of the Ready condition, "Unknown" or any other but "True"."""
    return UNREACHABLE if status == "Unknown" else NOT_READY


def is_driving(taint: Object) -> bool:
    """Whether pods leave for it because the node fails."""
    return taint["key"] in FAILURES and taint.get("effect") == "NoExecute"
