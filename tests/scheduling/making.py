"""Short ways to write pods and nodes."""

from typing import Any

from sampan.kit.frozen import freeze
from sampan.scheduling import demand
from sampan.scheduling.demand import Demand
from sampan.scheduling.snapshot import Snapshot


def node(name: str, *, labels: dict[str, str] | None = None, spec: Any = None, **allocatable: str) -> Any:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110", **allocatable}
    return freeze(
        {"metadata": {"name": name, "labels": labels or {}}, "spec": spec or {}, "status": {"allocatable": amounts}}
    )


def pod(name: str, requests: dict[str, str] | None = None, *, owner: str = "", **spec: Any) -> Any:
    references = [{"uid": owner, "kind": "ReplicaSet", "controller": True}] if owner else []
    containers = [{"name": "c", "resources": {"requests": requests or {}}}]
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "ownerReferences": references}
    return freeze({"metadata": metadata, "spec": {"containers": containers, **spec}})


class Field:
    """Nodes with pods on them."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    def add(self, *nodes: Any) -> "Field":
        for each in nodes:
            self.snapshot.set_node(each)
        return self

    def place(self, where: str, *pods: Any) -> "Field":
        for each in pods:
            self.snapshot.place(demand.of(each), where)
        return self


def of(pod_: Any) -> Demand:
    return demand.of(pod_)
