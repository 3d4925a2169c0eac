"""The cluster inside a test: `from sampan.testing import Cluster`. Nothing is loaded before it is used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sampan.testing.case import ClusterTestCase
    from sampan.testing.cluster import ApiError, Cluster

__all__ = ["ApiError", "Cluster", "ClusterTestCase"]

_PLACES = {"ApiError": "cluster", "Cluster": "cluster", "ClusterTestCase": "case"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
