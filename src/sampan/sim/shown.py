"""Shown: the cluster as rules in Python see it: what there is, and what time it is. They change nothing."""

from typing import Any

from sampan.cluster import naming
from sampan.cluster.naming import Reference
from sampan.cluster.simulated import SimulatedCluster
from sampan.meta import objects, selectors

Object = dict[str, Any]


class Shown:
    """The part of sampan.testing's Cluster that looks on, so that one rule serves tests and scenarios."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster

    @property
    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.cluster.time

    def get(self, what: Reference, name: str = "", namespace: str = "default") -> Object | None:
        """The object, or None: `get("deployment/web")` or `get("deployment", "web")`."""
        if not self.cluster.is_up:
            return None
        reference = f"{what}/{name}" if name and isinstance(what, str) else what
        found = naming.named(reference, self.cluster.app.served.all(), namespace)
        return self.cluster.get(found.kind, found.name, found.namespace)

    def list(self, kind: str, namespace: str | None = None, *, labels: str = "") -> list[Object]:
        """Objects by name; `namespace` None means all."""
        if not self.cluster.is_up:
            return []
        found = naming.kind_of(kind, self.cluster.app.served.all())
        chosen = selectors.parse_labels(labels) if labels else None
        items = self.cluster.list(found, namespace or "")
        return [obj for obj in items if chosen is None or chosen.matches(objects.labels(obj))]
