"""DaemonSets for the simulated stories, and what is asked of them again and again."""

from typing import Any

from sampan.meta import objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

HASH = "controller-revision-hash"
COUNTS = ("desired", "current", "updated", "ready", "available", "misscheduled")
FIELDS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "updatedNumberScheduled",
    "numberReady",
    "numberAvailable",
    "numberMisscheduled",
)


def daemon_set(image: str = "log:1", *, surge: int = 0, unavailable: int | str = 1, **spec: Any) -> Tree:
    """A DaemonSet log; `pod` is more of its pods' spec."""
    template = trees.template("log", image)
    template["spec"] |= spec.pop("pod", {})
    rolling = {"maxSurge": surge, "maxUnavailable": 0 if surge else unavailable}
    wanted = {"selector": {"matchLabels": {"app": "log"}}, "template": template}
    strategy = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}
    return trees.tree("apps/v1", "DaemonSet", "log", spec=wanted | strategy | spec)


def counts(cluster: Cluster) -> dict[str, int]:
    """What the status says, those that are zero left out."""
    status = (cluster.get("daemonset/log") or {}).get("status") or {}
    found = {short: status.get(field, 0) for short, field in zip(COUNTS, FIELDS, strict=True)}
    assert status.get("numberUnavailable", 0) == found["desired"] - found["available"]
    return {name: count for name, count in found.items() if count}


def everywhere(nodes: int) -> dict[str, int]:
    """The counts when so many nodes have an available pod of the present template."""
    return dict.fromkeys(COUNTS[:-1], nodes)


def settle(cluster: Cluster, nodes: int, within: float = 300) -> None:
    """Until that is so, as the controller says of the present generation."""

    def is_done() -> bool:
        if not cluster.sim.is_up:
            return False
        found = cluster.get("daemonset/log")
        seen = (found or {}).get("status", {}).get("observedGeneration")
        pods = [p for p in cluster.list("pod", labels="app=log") if not objects.is_deleting(p)]
        return seen == objects.generation(found or {}) and counts(cluster) == everywhere(nodes) and len(pods) == nodes

    cluster.run_until(is_done, within=within)


def by_node(cluster: Cluster) -> dict[str, str]:
    """Node -> name of the pod on it that is not on its way out."""
    found = [p for p in cluster.list("pod", labels="app=log") if not objects.is_deleting(p)]
    made = {p["spec"].get("nodeName", ""): objects.name(p) for p in found}
    assert len(made) == len(found)
    return made


def images(cluster: Cluster) -> list[str]:
    """Of all pods."""
    return sorted(map(trees.image, cluster.list("pod")))


def events(cluster: Cluster, *, since: int = 0) -> list[str]:
    """Those about the DaemonSet, in order."""
    found = cluster.events("daemonset/log")
    return [f"{e['type']} {e['reason']} {e['message']}" for e in found][since:]


def revisions(cluster: Cluster) -> dict[str, int]:
    """Code -> number of each ControllerRevision."""
    return {objects.labels(r)[HASH]: r["revision"] for r in cluster.list("controllerrevision")}


def set_image(cluster: Cluster, image: str, **spec: Any) -> None:
    """Another template."""
    changed = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}} | spec}
    cluster.patch("daemonset/log", changed, type="strategic")
