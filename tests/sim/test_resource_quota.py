"""Resource quotas in virtual time: counted at once, given back, never exceeded."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.core.resource_quota import RESOURCEQUOTA
from sampan.kinds.kind import Kind
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.meta.status import ApiError
from tests.sim import trees
from tests.sim.trees import Tree


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


def quota(**hard: str) -> Tree:
    spec = {"hard": {name.replace("__", "/").replace("_", "."): value for name, value in hard.items()}}
    return trees.tree("v1", "ResourceQuota", "q", spec=spec)


def used(cluster: SimulatedCluster) -> Tree:
    found = cluster.get(RESOURCEQUOTA, "q", "default")
    assert found is not None
    return dict((found.get("status") or {}).get("used") or {})


def config_map(name: str) -> Tree:
    return trees.tree("v1", "ConfigMap", name, data={})


def test_a_quota_is_counted_promptly_and_given_back(cluster: SimulatedCluster) -> None:
    """76, 82: what is there counts within a second, what comes is charged, what goes is given back.

    kube-root-ca.crt counts as well.
    """
    cluster.create(config_map("a"))
    cluster.create(quota(configmaps="3", resourcequotas="1"))
    cluster.advance(1)
    found = cluster.get(RESOURCEQUOTA, "q", "default")
    assert found is not None
    assert found["status"]["hard"] == {"configmaps": "3", "resourcequotas": "1"}
    assert used(cluster) == {"configmaps": "2", "resourcequotas": "1"}
    cluster.create(config_map("b"))
    assert used(cluster)["configmaps"] == "3"
    with pytest.raises(ApiError, match="exceeded quota: q, requested: configmaps=1, used: configmaps=3"):
        cluster.create(config_map("c"))
    cluster.delete(CONFIGMAP, "a", "default")
    cluster.advance(1)
    assert used(cluster)["configmaps"] == "2"
    cluster.create(config_map("c"))


def test_a_deployment_gets_as_many_pods_as_the_quota_has(cluster: SimulatedCluster) -> None:
    """77, 78: pods of a ReplicaSet count, and come when there is room again."""
    cluster.create(quota(pods="2", count__replicasets_apps="5"))
    cluster.advance(1)
    cluster.create(trees.deployment(3))
    cluster.advance(5)
    assert len(cluster.list(POD, "default")) == 2
    assert used(cluster) == {"pods": "2", "count/replicasets.apps": "1"}
    cluster.patch(RESOURCEQUOTA, "q", "default", {"spec": {"hard": {"pods": "3"}}})
    cluster.run_until(lambda: len(cluster.list(POD, "default")) == 3, within=1200)
    cluster.delete(DEPLOYMENT, "web", "default")
    cluster.run_until(lambda: used(cluster) == {"pods": "0", "count/replicasets.apps": "0"}, within=120)


def test_custom_resources_count_as_well(cluster: SimulatedCluster) -> None:
    """count/<resource>.<group> holds for a kind that came a moment ago, before the controllers follow it."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    cluster.create(quota(**{"count/widgets_example_com": "1", "configmaps": "9"}))
    cluster.create({**definition, "metadata": {"name": "widgets.example.com"}, "spec": spec})
    cluster.advance(1)
    kind = Kind(group="example.com", versions=("v1",), name="Widget", plural="widgets")
    first, second = (trees.tree("example.com/v1", "Widget", name) for name in ("a", "b"))
    cluster.run(cluster.client.create(kind, first))
    cluster.create(config_map("makes-it-count"))
    cluster.advance(1)
    assert used(cluster)["count/widgets.example.com"] == "1"
    with pytest.raises(ApiError, match="exceeded quota: q, requested: count/widgets.example.com=1"):
        cluster.run(cluster.client.create(kind, second))
    cluster.advance(60)
    cluster.delete(kind, "a", "default")
    cluster.run_until(lambda: used(cluster)["count/widgets.example.com"] == "0", within=5)


def test_a_status_that_somebody_wrote_is_put_right(cluster: SimulatedCluster) -> None:
    """74: spec.hard and the true count come back."""
    cluster.create(quota(secrets="3"))
    cluster.advance(1)
    live = cluster.get(RESOURCEQUOTA, "q", "default")
    assert live is not None
    wrong = {**live, "status": {"hard": {"secrets": "9"}, "used": {"secrets": "7"}}}
    cluster.run(cluster.client.update(RESOURCEQUOTA, wrong, "status"))
    cluster.advance(1)
    assert used(cluster) == {"secrets": "0"}


def claim(name: str, **spec: Any) -> Tree:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    return trees.tree("v1", "PersistentVolumeClaim", name, spec=wanted | spec)


def test_storage_counts_as_far_as_it_has_grown(cluster: SimulatedCluster) -> None:
    """In whole bytes; what a volume has more than its claim asks for is taken too."""
    cluster.create(quota(requests_storage="3Gi", persistentvolumeclaims="2"))
    volume = {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    cluster.create(trees.tree("v1", "PersistentVolume", "v", namespace="", spec=volume))
    cluster.advance(1)
    cluster.create(claim("a", volumeName="v"))
    cluster.create(claim("b", resources={"requests": {"storage": "100m"}}))
    cluster.advance(5)
    assert used(cluster) == {"requests.storage": "1073741825", "persistentvolumeclaims": "2"}
    grown = {"status": {"allocatedResources": {"storage": "2Gi"}}}
    call = cluster.client.patch(PERSISTENTVOLUMECLAIM, ("default", "a"), grown, subresource="status")
    cluster.run(call)
    assert used(cluster)["requests.storage"] == "2147483649"
    cluster.advance(1)
    assert used(cluster)["requests.storage"] == "2147483649"


def test_a_claim_counts_by_its_attributes_class(cluster: SimulatedCluster) -> None:
    """For the class that it has and for the one that it wants, until it has changed."""
    for name in ("gold", "silver"):
        term = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": [name]}
        made = quota(persistentvolumeclaims="1")
        made["metadata"]["name"] = name
        made["spec"]["scopeSelector"] = {"matchExpressions": [term]}
        cluster.create(made)
    cluster.advance(1)
    driver = {"driver": "csi.example.com", "volumeHandle": "1"}
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": driver}
    spec |= {"volumeAttributesClassName": "gold", "storageClassName": ""}
    cluster.create(trees.tree("v1", "PersistentVolume", "v", namespace="", spec=spec))
    cluster.create(claim("a", volumeAttributesClassName="gold", volumeName="v"))
    cluster.advance(5)

    def counts() -> list[str]:
        found = (cluster.get(RESOURCEQUOTA, name, "default") or {} for name in ("gold", "silver"))
        return [q["status"]["used"]["persistentvolumeclaims"] for q in found]

    assert counts() == ["1", "0"]
    cluster.patch(PERSISTENTVOLUMECLAIM, "a", "default", {"spec": {"volumeAttributesClassName": "silver"}})
    cluster.advance(1)
    assert counts() == ["1", "1"]
    cluster.patch(PERSISTENTVOLUME, "v", "", {"spec": {"volumeAttributesClassName": "silver"}})
    patch = {"status": {"currentVolumeAttributesClassName": "silver"}}
    cluster.run(cluster.client.patch(PERSISTENTVOLUMECLAIM, ("default", "a"), patch, subresource="status"))
    cluster.advance(1)
    assert counts() == ["0", "1"]


def test_devices_of_a_class_count(cluster: SimulatedCluster) -> None:
    """As many as a claim may get at most, of each class."""
    devices = "gold_deviceclass_resource_k8s_io__devices"
    hard = {"count__resourceclaims_resource_k8s_io": "9", devices: "40", devices.replace("gold", "iron"): "9"}
    cluster.create(quota(**hard))
    cluster.advance(1)

    def wish(name: str, *requests: Tree) -> Tree:
        return trees.tree("resource.k8s.io/v1", "ResourceClaim", name, spec={"devices": {"requests": list(requests)}})

    exactly = {"name": "r", "exactly": {"deviceClassName": "gold", "count": 2}}
    some = [
        {"name": "x", "deviceClassName": "iron", "count": 4},
        {"name": "y", "deviceClassName": "iron", "count": 1},
        {"name": "z", "deviceClassName": "gold", "count": 3},
    ]
    cluster.create(wish("a", exactly, {"name": "s", "firstAvailable": some}))
    cluster.create(wish("b", {"name": "r", "exactly": {"deviceClassName": "gold", "allocationMode": "All"}}))
    cluster.advance(1)
    class_name = "{}.deviceclass.resource.k8s.io/devices"
    found = {
        class_name.format("gold"): "37",
        class_name.format("iron"): "4",
        "count/resourceclaims.resource.k8s.io": "2",
    }
    assert used(cluster) == found
    with pytest.raises(ApiError, match="exceeded quota: q, requested: gold.deviceclass.resource.k8s.io/devices=5"):
        cluster.create(wish("c", {**exactly, "exactly": {"deviceClassName": "gold", "count": 5}}))
    cluster.delete(RESOURCECLAIM, "b", "default")
    cluster.advance(1)
    assert used(cluster)[class_name.format("gold")] == "5"
