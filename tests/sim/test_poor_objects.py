"""Whatever a client may write into a status or into metadata: nothing ends by it, nobody stumbles, and others get on."""

import random
from typing import Any

import pytest

from sampan.meta import objects
from sampan.testing import ApiError, Cluster
from tests.sim import poor, trees
from tests.sim.test_hostile_anything import people
from tests.sim.trees import Tree

LEFT_ALONE = ("system", "kube-", "sampan")
"""Whose names begin so, and are not nodes: without them nothing works, as upstream."""
TEMPLATE: Tree = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(plural: str, kind: str) -> Tree:
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": TEMPLATE}}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return trees.tree(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.example.com", namespace="", spec=spec
    )


def others(cluster: Cluster) -> None:
    """A few more than `people`."""
    cluster.create(definition("things", "Thing"))
    claim: Tree = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    cluster.create(trees.tree("v1", "PersistentVolumeClaim", "claim", spec=claim))
    volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    cluster.create(trees.tree("v1", "PersistentVolume", "volume", "", spec=volume))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec: Tree = {"scaleTargetRef": target, "maxReplicas": 3}
    cluster.create(trees.tree("autoscaling/v2", "HorizontalPodAutoscaler", "web", spec=spec))
    cluster.create(trees.tree("v1", "Node", "stranger", ""))
    source = {"attacher": "example.com", "nodeName": "sampan", "source": {"persistentVolumeName": "volume"}}
    cluster.create(trees.tree("storage.k8s.io/v1", "VolumeAttachment", "a", "", spec=source))
    request: Tree = {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}
    cluster.create(trees.tree("resource.k8s.io/v1", "ResourceClaim", "c", spec=request))
    cluster.create(trees.tree("coordination.k8s.io/v1", "Lease", "lease", spec={}))
    cluster.advance(5)


def disturb(cluster: Cluster, dice: random.Random) -> None:
    """Something poor somewhere, as far as it is taken."""
    kind = dice.choice(poor.kinds())
    found = [obj for obj in cluster.sim.list(kind) if kind.name == "Node" or not _is_needed(obj)]
    if not found:
        return
    obj = dice.choice(found)
    patch: Tree = {"metadata": poor.metadata(dice, found)}
    subresource = ""
    if "status" in [part.name for part in kind.subresources] and dice.random() < 0.7:
        patch, subresource = {"status": poor.status(kind, dice)}, "status"
    try:
        cluster.patch(obj, patch, subresource=subresource)
    except ApiError as refusal:
        assert refusal.code < 500


def _is_needed(obj: Tree) -> bool:
    return objects.name(obj).startswith(LEFT_ALONE) or objects.namespace(obj).startswith(LEFT_ALONE)


def get_on(cluster: Cluster) -> None:
    """All that is new is served: a node, a kind, a workload and its end, garbage and a namespace."""
    cluster.add_node("fresh", labels={"fresh": "yes"})
    cluster.create(trees.tree("v1", "Namespace", "fresh", ""))
    made = trees.deployment(2, "fresh")
    made["metadata"]["namespace"] = "fresh"
    made["spec"]["template"]["spec"]["nodeSelector"] = {"fresh": "yes"}
    cluster.create(definition("news", "New"))
    cluster.advance(2)
    cluster.create(made)
    cluster.wait_for("crd/news.example.com", "Established")
    found = cluster.wait_for("deployment/fresh", "Available", 120, namespace="fresh")
    owned = trees.config_map("owned", trees.owner(found))
    owned["metadata"]["namespace"] = "fresh"
    cluster.create(owned)
    cluster.delete("deployment/fresh", namespace="fresh")
    cluster.wait_for("configmap/owned", "deleted", 120, namespace="fresh")
    cluster.run_until(lambda: not cluster.list("pods", namespace="fresh"), 120)
    cluster.delete("namespace/fresh")
    cluster.wait_for("namespace/fresh", "deleted", 120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_others_get_on(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Also after the control plane and an agent have begun anew with all that in the store."""
    dice = random.Random(seed)
    with Cluster(seed=seed, nodes=2) as cluster:
        people(cluster)
        others(cluster)
        for number in range(60):
            disturb(cluster, dice)
            cluster.advance(dice.choice((0.2, 1, 3)))
            if number in (20, 40):
                cluster.sim.crash_agent("sampan-2")
                cluster.sim.crash_control_plane()
                cluster.sim.start_control_plane()
                cluster.sim.start_node("sampan-2")
        get_on(cluster)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("lease", [None, {}, {"leaseTransitions": 2**31 - 1}])
def test_a_lease_that_says_little(lease: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its holder writes it anew: a node's agent, and who leads."""
    with Cluster(seed=1) as cluster:
        for what, namespace in (("lease/sampan", "kube-node-lease"), ("lease/kube-scheduler", "kube-system")):
            if cluster.get(what, namespace=namespace) is None:
                continue
            cluster.patch(what, {"spec": None}, namespace=namespace)
            if lease:
                cluster.patch(what, {"spec": lease}, namespace=namespace)
            cluster.run_until(
                lambda what=what, namespace=namespace: (  # type: ignore[misc]
                    ((cluster.get(what, namespace=namespace) or {}).get("spec") or {}).get("holderIdentity")
                ),
                within=60,
            )
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_volume_that_is_attached_without_a_name(caplog: pytest.LogCaptureFixture) -> None:
    """What somebody writes into a node's list of volumes is put right."""
    with Cluster(seed=1) as cluster:
        source = {"attacher": "example.com", "nodeName": "sampan", "source": {"persistentVolumeName": "volume"}}
        cluster.create(trees.tree("storage.k8s.io/v1", "VolumeAttachment", "a", "", spec=source))
        cluster.patch("node/sampan", {"status": {"volumesAttached": [{"devicePath": "x"}]}}, subresource="status")
        cluster.advance(10)
        assert "volumesAttached" not in (cluster.get("node/sampan") or {})["status"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_run_in_the_last_year_there_is(caplog: pytest.LogCaptureFixture) -> None:
    """A CronJob that was last due then is never due again, and says so."""
    job = {"spec": trees.job()["spec"]}
    with Cluster(seed=1) as cluster:
        spec = {"schedule": "* * * * *", "jobTemplate": job}
        cluster.create(trees.tree("batch/v1", "CronJob", "tick", spec=spec))
        cluster.patch("cronjob/tick", {"status": {"lastScheduleTime": "9999-12-31T23:59:59Z"}}, subresource="status")
        cluster.advance(70)
        assert [event["reason"] for event in cluster.events("cronjob/tick")] == ["InvalidSchedule"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
