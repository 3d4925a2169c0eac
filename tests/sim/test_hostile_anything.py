"""Anything in anybody's place: strange values in specs, statuses and metadata, as far as the server takes them.

No controller and no node stumbles, and nothing is written again and again afterwards.
"""

import random
from collections import Counter
from typing import Any

import pytest

from sampan.testing import ApiError, Cluster
from tests.sim import daemons, stateful, trees
from tests.sim.trees import Tree

STRANGE: list[Any] = [None, "", 0, -1, 2**31 - 1, True, [], {}, [None], [{}], {"a": None}, {"a": "b"}, ["a"], "x", "1%"]
STRANGE += [[{"type": type, "status": "True"}] for type in ("Ready", "Progressing", "Suspended", "FailureTarget")]
PLACES = {
    "deployments": ("spec.strategy", "spec.replicas", "spec.paused", "status.conditions", "metadata.annotations"),
    "replicasets.apps": ("spec.replicas", "status.conditions", "status.replicas", "metadata.ownerReferences"),
    "statefulsets": ("spec.updateStrategy", "spec.ordinals", "status.currentRevision", "status.conditions"),
    "daemonsets": ("spec.updateStrategy", "spec.minReadySeconds", "status.collisionCount", "status.conditions"),
    "controllerrevisions": ("metadata.labels", "metadata.ownerReferences", "revision"),
    "jobs": ("spec.parallelism", "spec.suspend", "status.conditions", "status.uncountedTerminatedPods"),
    "cronjobs": ("spec.schedule", "spec.suspend", "status.active", "status.lastScheduleTime"),
    "poddisruptionbudgets": ("spec.minAvailable", "spec.selector", "status.disruptedPods", "status.conditions"),
    "services": ("spec.selector", "spec.ports", "spec.type", "metadata.labels"),
    "endpoints": ("subsets", "metadata.labels"),
    "endpointslices": ("endpoints", "metadata.labels", "metadata.ownerReferences"),
    "nodes": ("spec.taints", "status.conditions", "status.addresses", "metadata.labels", "status.allocatable"),
    "persistentvolumeclaims": ("status.phase", "status.capacity", "metadata.annotations", "metadata.finalizers"),
    "persistentvolumes": ("spec.claimRef", "status.phase", "metadata.annotations", "metadata.finalizers"),
    "resourcequotas": ("spec.hard", "status.hard", "status.used"),
    "pods": ("metadata.labels", "status.conditions", "status.containerStatuses", "status.phase", "status.podIPs"),
}


def people(cluster: Cluster) -> None:
    """One of each."""
    cluster.create(trees.deployment(2))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    templates = [{"metadata": {"name": "data"}, "spec": claim}]
    made = stateful.stateful_set(2, volumeClaimTemplates=templates, selector={"matchLabels": {"app": "db"}})
    made["metadata"]["name"] = "db"
    made["spec"]["template"]["metadata"]["labels"] = {"app": "db"}
    cluster.create(made)
    cluster.create(daemons.daemon_set())
    cluster.create(trees.job("sum", orders={"run_seconds": "20"}, completions=4, completionMode="Indexed"))
    tick = {"schedule": "* * * * *", "jobTemplate": {"spec": trees.job(orders={"run_seconds": "5"})["spec"]}}
    cluster.create(trees.tree("batch/v1", "CronJob", "tick", spec=tick))
    selector = {"matchLabels": {"app": "web"}}
    cluster.create(trees.tree("policy/v1", "PodDisruptionBudget", "b", spec={"minAvailable": 1, "selector": selector}))
    cluster.create(trees.tree("v1", "Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}))
    cluster.create(trees.tree("v1", "Service", "hand", spec={"ports": [{"port": 80}]}))
    cluster.create(trees.tree("v1", "Endpoints", "hand", subsets=[{"addresses": [{"ip": "10.1.1.1"}]}]))
    cluster.create(trees.tree("v1", "ResourceQuota", "q", spec={"hard": {"pods": "60"}}))
    cluster.advance(5)


def disturb(cluster: Cluster, dice: random.Random) -> None:
    """One strange value somewhere."""
    kind = dice.choice(sorted(PLACES))
    found = cluster.list(kind)
    if not found:
        return
    place = dice.choice(PLACES[kind]).split(".")
    patch: Tree = dice.choice(STRANGE)
    for name in reversed(place):
        patch = {name: patch}
    try:
        cluster.patch(dice.choice(found), patch, subresource="status" if place[0] == "status" else "")
    except ApiError as refusal:
        assert refusal.code < 500


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nobody_stumbles(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Sixty of them, and five quiet minutes afterwards in which only the cron job's runs come and go."""
    dice = random.Random(seed)
    with Cluster(seed=seed, nodes=2) as cluster:
        people(cluster)
        for _ in range(60):
            disturb(cluster, dice)
            cluster.advance(dice.choice((0.2, 1, 3, 10)))
        cluster.advance(120)
        before = len(cluster.history())
        cluster.advance(300)
        written = Counter((c.resource, c.key) for c in cluster.history()[before:] if "leases" not in c.resource)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert [what for what, times in written.items() if times > 40] == []
