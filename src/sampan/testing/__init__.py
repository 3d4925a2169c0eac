"""The cluster inside a test: `from sampan.testing import Cluster`. Nothing is loaded before it is used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sampan.cluster.aim import Aim
    from sampan.cluster.invariants import Violation, invariant
    from sampan.testing.case import ClusterTestCase
    from sampan.testing.cluster import ApiError, Cluster

__all__ = ["Aim", "ApiError", "Cluster", "ClusterTestCase", "Violation", "invariant"]

_PLACES = {
    "Aim": "sampan.cluster.aim",
    "ApiError": "sampan.testing.cluster",
    "Cluster": "sampan.testing.cluster",
    "ClusterTestCase": "sampan.testing.case",
    "Violation": "sampan.cluster.invariants",
    "invariant": "sampan.cluster.invariants",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
