"""Objects, attempts and views for the rules of the protection layer."""

from typing import Any

from sampan.control.view import Snapshot, View
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.core.replication_controller import REPLICATIONCONTROLLER
from sampan.kit.frozen import freeze
from sampan.meta import timestamps
from sampan.platform.protection.budget import PODUNAVAILABLEBUDGET
from sampan.platform.review import Attempt

Tree = dict[str, Any]
NOW = timestamps.parse("2026-01-01T12:00:00Z")
KINDS = (
    NAMESPACE,
    POD,
    PERSISTENTVOLUMECLAIM,
    REPLICASET,
    DEPLOYMENT,
    STATEFULSET,
    REPLICATIONCONTROLLER,
    PODUNAVAILABLEBUDGET,
)
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def obj(kind: str, name: str, /, metadata: Tree | None = None, **fields: Any) -> Tree:
    """An object of the namespace `shop`; its uid is made of its kind and name."""
    meta = {"name": name, "namespace": "shop", "uid": f"{kind}-{name}", "resourceVersion": "7", **(metadata or {})}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, **fields}


def owned(api_version: str, kind: str, name: str) -> Tree:
    """Metadata of what belongs to that workload."""
    owner = {"apiVersion": api_version, "kind": kind, "name": name, "uid": f"{kind}-{name}", "controller": True}
    return {"labels": {"app": "web"}, "ownerReferences": [owner]}


def pod(name: str, metadata: Tree | None = None, **status: Any) -> Tree:
    """A pod that is ready, of app=web."""
    made = {"labels": {"app": "web"}, **(metadata or {})}
    return obj("Pod", name, made, spec={"containers": [{"name": "c", "image": "web:1"}]}, status={**READY, **status})


def budget(name: str = "web", annotations: Tree | None = None, spec: Tree | None = None, **status: Any) -> Tree:
    """A budget over app=web that allows nothing more."""
    given = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1} if spec is None else spec
    state = {"desiredAvailable": 2, "currentAvailable": 2, "unavailableAllowed": 0, "totalReplicas": 3, **status}
    made = obj("PodUnavailableBudget", name, {"annotations": annotations or {}, "generation": 1}, spec=given)
    return {**made, "apiVersion": "policy.kruise.io/v1alpha1", "status": state}


def view(*found: Tree, **rest: Any) -> View:
    """A view of these objects, which nobody may change."""
    of = {kind.resource: Snapshot([freeze(o) for o in found if o["kind"] == kind.name]) for kind in KINDS}
    return View(of, **rest)


def attempt(operation: str, resource: str = "pods", about: Tree | None = None, **fields: Any) -> Attempt:
    """An attempt of alice, at NOW, on `about`; `resource` is plural.group."""
    plural, _, group = resource.partition(".")
    metadata = (about or {}).get("metadata") or {}
    given = {"now": NOW, "user": "alice", "old": about, **fields}
    place = metadata.get("namespace", ""), metadata.get("name", fields.get("name", ""))
    given = {key: value for key, value in given.items() if key != "name"}
    return Attempt(operation, (group, plural), (group, "v1", ""), *place, **given)
