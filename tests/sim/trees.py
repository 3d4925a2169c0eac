"""Objects for the simulated stories: small trees, and what is asked of them again and again."""

from collections.abc import Sequence
from typing import Any

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects

Tree = dict[str, Any]
SIMULATED = "simulated.sampan.dev/"


def template(app: str = "web", image: str = "web:1", **orders: str) -> Tree:
    """A pod template; `orders` tell its simulated containers what to do (run_seconds="5")."""
    annotations = {SIMULATED + name.replace("_", "-"): value for name, value in orders.items()}
    metadata: Tree = {"labels": {"app": app}, **({"annotations": annotations} if annotations else {})}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": image}]}}


def deployment(replicas: int = 3, name: str = "web", **spec: Any) -> Tree:
    """A Deployment of `replicas` pods."""
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name)}
    return tree("apps/v1", "Deployment", name, spec=wanted | spec)


def replica_set(replicas: int = 3, name: str = "web", **spec: Any) -> Tree:
    """A ReplicaSet of `replicas` pods."""
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name)}
    return tree("apps/v1", "ReplicaSet", name, spec=wanted | spec)


def job(name: str = "sum", restart: str = "Never", orders: Tree | None = None, **spec: Any) -> Tree:
    """A Job whose pods do what `orders` say."""
    made = template(name, **(orders or {}))
    made["spec"]["restartPolicy"] = restart
    return tree("batch/v1", "Job", name, spec={"template": made} | spec)


def pod(name: str, labels: Tree | None = None, **spec: Any) -> Tree:
    """A pod of one container."""
    made = tree("v1", "Pod", name, spec={"containers": [{"name": "main", "image": "web:1"}]} | spec)
    made["metadata"]["labels"] = labels or {}
    return made


def config_map(name: str, *owners: Tree, **metadata: Any) -> Tree:
    """A ConfigMap with these owner references."""
    made = tree("v1", "ConfigMap", name)
    made["metadata"] |= {"ownerReferences": list(owners)} | metadata
    return made


def owner(of: Tree, *, block: bool = True) -> Tree:
    """A reference to an object that was created."""
    reference = {"apiVersion": of["apiVersion"], "kind": of["kind"], "name": objects.name(of), "uid": objects.uid(of)}
    return reference | ({"blockOwnerDeletion": True} if block else {})


def tree(version: str, kind: str, name: str, namespace: str = "default", **fields: Any) -> Tree:
    """Any object."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def condition(obj: Tree | None, type: str) -> tuple[str, str, str] | None:
    """(status, reason, message)."""
    found = conditions.get(obj, type) if obj is not None else None
    return (found["status"], found.get("reason", ""), found.get("message", "")) if found else None


def image(of: Tree) -> str:
    """That of a pod, a ReplicaSet or a Deployment."""
    spec = of["spec"].get("template", of)["spec"]
    return str(spec["containers"][0]["image"])


def events(cluster: SimulatedCluster, reason: str, name: str = "") -> list[str]:
    """The messages of the events with this reason."""
    found = [e for e in cluster.list(EVENT) if e["reason"] == reason]
    return sorted(e["message"] for e in found if not name or e["involvedObject"]["name"] == name)


def alive(cluster: SimulatedCluster, app: str = "") -> list[Tree]:
    """Pods that are not on their way out."""
    found = [p for p in cluster.list(POD, "default") if not objects.is_deleting(p)]
    return [p for p in found if not app or objects.labels(p).get("app") == app]


def sizes(cluster: SimulatedCluster) -> dict[str, int]:
    """Image -> spec.replicas of the ReplicaSet with it."""
    return {image(r): r["spec"]["replicas"] for r in cluster.list(REPLICASET)}


def set_template(cluster: SimulatedCluster, made: Tree, name: str = "web", **spec: Any) -> None:
    """Another pod template for the deployment; the old one's annotations go."""
    whole = {**made, "metadata": {"annotations": None, **made["metadata"]}}
    cluster.patch(DEPLOYMENT, name, "default", {"spec": {"template": whole} | spec})


def settle(cluster: SimulatedCluster, name: str = "web", within: float = 300) -> None:
    """Until the deployment's rollout is complete and no old pod is left."""

    def is_done() -> bool:
        found = cluster.get(DEPLOYMENT, name, "default")
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
        is_seen = status.get("observedGeneration") == objects.generation(found)
        return is_seen and counts == [wanted] * 3 and len(cluster.list(POD)) == wanted

    cluster.run_until(is_done, within=within)


def by_name(found: Sequence[Tree]) -> list[str]:
    """Their names."""
    return sorted(map(objects.name, found))
