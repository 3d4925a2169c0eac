"""The life of a Deployment in virtual time: `python tests/sim/deployment.py [SEED]` prints the history's digest.

Created, scaled, rolled to another image; then a node loses power, and its pods are replaced elsewhere.
"""

import math
import sys
from typing import Any

from sampan.cluster.simulated import Change, SimulatedCluster, digest
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects

LOST_NODE = "sampan-2"
Tree = dict[str, Any]


def deployment(replicas: int = 3, image: str = "web:1") -> Tree:
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "initialDelaySeconds": 2, "periodSeconds": 5}
    container = {"name": "web", "image": image, "readinessProbe": probe}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": spec,
    }


class Invariants:
    """What must hold after each single change."""

    def __init__(self) -> None:
        self.revision, self.time = 0, 0.0
        self.revisions: dict[tuple[str, str], int] = {}
        self.nodes: dict[str, str | None] = {}
        self.pods: dict[str, bool] = {}  # whether each is ready
        self.replicas = 0
        self.never_below = 0  # ready pods

    def __call__(self, change: Change) -> None:
        self.versions_grow(change)
        if change.resource == "deployments.apps":
            self.replicas = change.tree["spec"]["replicas"]
        if change.resource == "pods":
            self.pod_stays_where_it_is(change)
            self.never_too_many(change)

    def versions_grow(self, change: Change) -> None:
        """A resourceVersion is larger than every one before; time does not go back."""
        now = int(objects.resource_version(change.tree))
        assert now > self.revisions.get((change.resource, change.key), 0), change
        assert now >= self.revision, change
        assert change.time >= self.time, change
        self.revision = self.revisions[change.resource, change.key] = now
        self.time = change.time

    def pod_stays_where_it_is(self, change: Change) -> None:
        """A pod that has a node never gets another one."""
        uid, node = objects.uid(change.tree), change.tree["spec"].get("nodeName")
        assert self.nodes.setdefault(uid, node) in (None, node), change
        self.nodes[uid] = node

    def never_too_many(self, change: Change) -> None:
        """No more pods than spec.replicas and a quarter, and never fewer ready ones than the scenario says."""
        if change.type == "DELETED" or not pod.is_active(change.tree):
            self.pods.pop(change.key, None)
        else:
            self.pods[change.key] = pod.is_ready(change.tree)
        assert len(self.pods) <= self.replicas + math.ceil(self.replicas / 4), change
        assert sum(self.pods.values()) >= self.never_below, change


class Scenario:
    """One cluster of two nodes and its Deployment; each step returns when its goal is reached."""

    def __init__(self, seed: int) -> None:
        self.invariants = Invariants()
        self.cluster = SimulatedCluster(seed=seed, nodes=2)
        self.cluster.observe(self.invariants)

    def play(self) -> str:
        """All steps; returns the history's digest."""
        with self.cluster:
            for step in (self.create, self.scale, self.roll, self.lose_node, self.evict, self.return_node):
                step()
        return digest(self.cluster.history)

    def create(self) -> None:
        self.cluster.create(deployment())
        self.run_until_available(3)
        assert len({p["spec"]["nodeName"] for p in self.cluster.list(POD)}) == 2

    def scale(self) -> None:
        self.cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 8}})
        self.run_until_available(8)

    def roll(self) -> None:
        """A rolling update: one image after the other, and at most a quarter of the pods away."""
        self.invariants.never_below = 6
        container = deployment(image="web:2")["spec"]["template"]["spec"]["containers"][0]
        self.cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"template": {"spec": {"containers": [container]}}}})
        self.run_until_available(8)
        self.invariants.never_below = 0
        self.cluster.run_until(lambda: len(self.cluster.list(POD)) == 8, within=60)
        assert {p["spec"]["containers"][0]["image"] for p in self.cluster.list(POD)} == {"web:2"}
        assert sorted(r["spec"]["replicas"] for r in self.cluster.list(REPLICASET)) == [0, 8]

    def lose_node(self) -> None:
        """No heartbeat for 50 seconds: the node is not Ready, and its pods are not either."""
        self.lost_at = self.cluster.time
        self.cluster.stop_node(LOST_NODE)
        self.cluster.run_until(lambda: not self.is_ready(LOST_NODE), within=120)
        assert 40 <= self.cluster.time - self.lost_at <= 60
        self.not_ready_at = self.cluster.time
        self.cluster.advance(200)
        assert len(self.cluster.list(POD)) == 8, "too early to replace anything"

    def evict(self) -> None:
        """300 seconds later, its pods are deleted and others stand in for them."""
        self.cluster.run_until(lambda: any(map(objects.is_deleting, self.cluster.list(POD))), within=200)
        assert 290 <= self.cluster.time - self.not_ready_at <= 310
        self.run_until_available(8)
        self.cluster.advance(600)
        by_node: dict[str, list[bool]] = {}
        for each in self.cluster.list(POD):
            by_node.setdefault(each["spec"]["nodeName"], []).append(objects.is_deleting(each))
        assert len(by_node["sampan"]) == 8 and not any(by_node["sampan"])
        assert all(by_node[LOST_NODE]), "nobody is there to confirm that they ended"

    def return_node(self) -> None:
        """The node comes back empty, and lets go of what was deleted meanwhile."""
        self.cluster.start_node(LOST_NODE)
        self.cluster.run_until(lambda: len(self.cluster.list(POD)) == 8, within=60)
        assert self.is_ready(LOST_NODE)

    def run_until_available(self, replicas: int) -> None:
        self.cluster.run_until(lambda: self.is_available(replicas), within=300)

    def is_available(self, replicas: int) -> bool:
        found = self.cluster.get(DEPLOYMENT, "web", "default")
        status = found.get("status", {})
        counts = [status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return status.get("observedGeneration") == objects.generation(found) and counts == [replicas] * 3

    def is_ready(self, node: str) -> bool:
        return conditions.is_true(self.cluster.get(NODE, node), "Ready")


if __name__ == "__main__":
    print(Scenario(int(sys.argv[1]) if len(sys.argv) > 1 else 1).play())
