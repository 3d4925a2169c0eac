"""StatefulSets for the simulated stories, and what is asked of them."""

from collections.abc import Iterable
from typing import Any

from sampan.control import revisions
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.meta import objects
from sampan.testing.cluster import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

WEB = "statefulset/web"


def stateful_set(replicas: int = 3, *, template: Tree | None = None, **spec: Any) -> Tree:
    """The set web, whose pods are web-0, web-1 and so on."""
    wanted: Tree = {"replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}}}
    return trees.tree("apps/v1", "StatefulSet", "web", spec=wanted | {"template": template or trees.template()} | spec)


def template(image: str = "web:1", *, probed: bool = False) -> Tree:
    """Pods of this image; `probed` ones are ready when their behaviour says so."""
    made = trees.template(image=image)
    if probed:
        made["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    return made


def claim_template(name: str = "data") -> Tree:
    """What each pod gets one of."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name}, "spec": spec}


def status(cluster: Cluster) -> Tree:
    """What the set says."""
    found: Tree = (cluster.get(WEB) or {})["status"]
    return found


def wait_ready(cluster: Cluster, replicas: int, within: float = 300) -> Tree:
    """Until all pods are of the present template, ready, and no other is left."""

    def is_done(found: Tree) -> bool:
        said = found["status"]
        is_seen = said.get("observedGeneration") == objects.generation(found)
        counts = [said.get(field, 0) for field in ("replicas", "readyReplicas", "updatedReplicas", "currentReplicas")]
        return is_seen and counts == [replicas] * 4 and said["currentRevision"] == said["updateRevision"]

    return cluster.wait_for(WEB, is_done, within=within)


def pods(cluster: Cluster) -> dict[str, str]:
    """Name -> image of each pod."""
    return {objects.name(p): trees.image(p) for p in cluster.list("pods")}


def revision(cluster: Cluster, image: str) -> str:
    """The name of the revision with this image."""
    found = cluster.list(CONTROLLERREVISION)
    return next(objects.name(r) for r in found if trees.image({"spec": {"template": revisions.template(r)}}) == image)


def set_image(cluster: Cluster, image: str, **spec: Any) -> None:
    """Another image for the set's pods."""
    changed = {"spec": {"containers": [{"name": "main", "image": image}]}}
    cluster.patch(WEB, {"spec": {"template": changed} | spec}, type="strategic")


def set_partition(cluster: Cluster, partition: int) -> None:
    """Ordinals below it keep the revision that the set comes from."""
    cluster.patch(WEB, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}})


def happenings(cluster: Cluster, types: Iterable[str] = ("ADDED", "DELETED"), since: float = -1.0) -> list[str]:
    """ "+web-0" for each pod that was made, "-web-0" for each that was gone, in their order."""
    signs = {"ADDED": "+", "DELETED": "-"}
    found = [c for c in cluster.history() if c.resource == "pods" and c.type in types and c.time > since]
    return [signs[c.type] + c.key.rpartition("/")[2] for c in found]


def told(cluster: Cluster) -> list[str]:
    """Each event about the set: its type, reason and message, and how often it was told when more than once."""
    found = [(f"{e['type']} {e['reason']} {e['message']}", e["count"]) for e in cluster.events(WEB)]
    return [text if count == 1 else f"{text} x{count}" for text, count in found]
