"""What stays of a node whose container runtime is gone as it is taken down, and what is said of it."""

from sampan.cluster.settings import Settings

GONE = "gone: "
"""Stands before the configuration of a node of which all is taken back but what its container runtime has."""


def mend(cluster: Settings, node: str) -> str:
    """Why a node is not down yet, and what to do about it."""
    return (
        f"what {node} had in the container runtime can't be removed, as nobody listens at {cluster.runtime}; "
        "start it and run this again, or, if it is gone for good, leave that: sampan down --purge"
    )


def left(cluster: Settings) -> str:
    """What nobody can remove without the runtime."""
    return (
        f"nobody listens at {cluster.runtime}, so what it had may be left: containers that still run under their shims, "
        "pods and images in its namespace k8s.io, and 00-sampan-*.conflist where it has its networks (/etc/cni/net.d)"
    )
