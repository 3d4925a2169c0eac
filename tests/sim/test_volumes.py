"""Claims and volumes in virtual time: bound at once or with their pod, made on the pod's node, and what is left of them."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from sampan.client.transport import TransportError
from sampan.cluster.aim import CONTROLLERS, Aim
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.parts import local_volumes
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.testing.cluster import Cluster
from tests import thorough
from tests.sim import stateful, trees
from tests.sim.trees import Tree

EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner 'sampan.dev/local' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
    "registered."
)
SELECTED = "volume.kubernetes.io/selected-node"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made


def claim(name: str = "data", mode: str = "ReadWriteOnce", **spec: Any) -> Tree:
    """A claim of 1 GiB."""
    wanted = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    return trees.tree("v1", "PersistentVolumeClaim", name, spec=wanted | spec)


def volume(name: str, node: str = "", storage_class: str = "", **spec: Any) -> Tree:
    """A volume of 1 GiB that an administrator has made, of one node alone if it is named."""
    wanted: Tree = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    wanted |= {"storageClassName": storage_class, **({"nodeAffinity": local_volumes.affinity(node)} if node else {})}
    made = trees.tree("v1", "PersistentVolume", name, spec=wanted | spec)
    del made["metadata"]["namespace"]
    return made


def storage_class(name: str, provisioner: str, mode: str = "WaitForFirstConsumer") -> Tree:
    metadata = {"name": name}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata}
    return {**kind, "provisioner": provisioner, "volumeBindingMode": mode}


def pod(name: str = "web", claimed: str = "data", **spec: Any) -> Tree:
    """A pod with a claim."""
    return trees.pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claimed}}], **spec)


def told(cluster: Cluster, what: str) -> list[str]:
    """The events about an object, each once, in order."""
    return list(dict.fromkeys(f"{e['type']} {e['reason']} {e['message']}" for e in cluster.events(what)))


def phase(cluster: Cluster, what: str) -> str:
    found = cluster.get(what)
    return str(found["status"]["phase"]) if found is not None else "gone"


def node_of(cluster: Cluster, name: str) -> str:
    return str((cluster.get("pod", name) or {})["spec"].get("nodeName", ""))


def refusal(cluster: Cluster, name: str) -> str:
    """Why the pod has no node."""
    found = cluster.get("pod", name) or {}
    return next(c["message"] for c in found["status"]["conditions"] if c["type"] == "PodScheduled")


def test_a_claim_of_the_default_class_gets_a_folder_of_its_pods_node(cluster: Cluster) -> None:
    """It waits for the pod; the scheduler writes its node down, the volume is made there, then the pod is bound."""
    cluster.create(claim())
    cluster.advance(10)
    assert phase(cluster, "pvc/data") == "Pending"
    assert cluster.get("pvc/data")["spec"]["storageClassName"] == "standard"  # type: ignore[index]
    cluster.create(pod())
    cluster.wait_for("pod/web", "Ready")
    found = cluster.get("pvc/data") or {}
    name, node = found["spec"]["volumeName"], node_of(cluster, "web")
    assert (name, found["status"]["phase"]) == (f"pvc-{objects.uid(found)}", "Bound")
    assert found["status"] | {"phase": ""} == {
        "phase": "",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
    }
    assert objects.annotations(found) == {
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.beta.kubernetes.io/storage-provisioner": "sampan.dev/local",
        "volume.kubernetes.io/storage-provisioner": "sampan.dev/local",
        SELECTED: node,
    }
    made = cluster.get("pv", name) or {}
    assert made["status"]["phase"] == "Bound"
    assert made["spec"]["nodeAffinity"] == local_volumes.affinity(node)
    assert sorted(told(cluster, "pvc/data")) == sorted(
        [
            "Normal WaitForFirstConsumer waiting for first consumer to be created before binding",
            f"Normal ExternalProvisioning {EXTERNAL}",
            'Normal Provisioning External provisioner is provisioning volume for claim "default/data"',
            f"Normal ProvisioningSucceeded Successfully provisioned volume {name}",
        ]
    )
    order = [
        change.resource
        for change in cluster.history()
        if (change.resource == "persistentvolumeclaims" and SELECTED in objects.annotations(change.tree))
        or (change.resource == "persistentvolumes")
        or (change.resource == "pods" and change.tree["spec"].get("nodeName"))
    ]
    assert list(dict.fromkeys(order)) == ["persistentvolumeclaims", "persistentvolumes", "pods"]


def test_the_folder_goes_with_the_claim(cluster: Cluster) -> None:
    """But not while a pod uses it; the node takes the folder away, then the volume is deleted."""
    cluster.create(claim())
    cluster.create(pod())
    cluster.wait_for("pod/web", "Ready")
    cluster.delete("pvc/data")
    cluster.advance(20)
    assert phase(cluster, "pvc/data") == "Bound"
    node = node_of(cluster, "web")
    cluster.crash_node(node)
    cluster.delete("pod/web", grace_seconds=0)
    cluster.advance(5)
    assert phase(cluster, "pvc/data") == "gone"
    [left] = cluster.list("pv")
    assert left["status"]["phase"] == "Released"
    assert local_volumes.over(cluster.get("node", node) or {}) == [objects.name(left)]
    cluster.start_node(node)
    cluster.advance(30)
    assert cluster.list("pv") == []
    assert local_volumes.over(cluster.get("node", node) or {}) == []


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_a_volume_that_is_deleted_before_its_claim(cluster: Cluster, policy: str) -> None:
    """Its folder is taken away all the same, unless it is to be retained."""
    cluster.create(claim())
    cluster.create(pod())
    cluster.wait_for("pod/web", "Ready")
    [made] = cluster.list("pv")
    what = f"pv/{objects.name(made)}"
    cluster.patch(what, {"spec": {"persistentVolumeReclaimPolicy": policy}})
    cluster.delete(what)
    cluster.advance(5)
    assert phase(cluster, what) == "Bound"
    node = f"node/{node_of(cluster, 'web')}"
    cluster.delete("pod/web", grace_seconds=0)
    cluster.delete("pvc/data")
    cluster.advance(30)
    assert phase(cluster, what) == "gone"
    marks = [local_volumes.over(change.tree) for change in cluster.history(node)]
    assert ([objects.name(made)] in marks) == (policy == "Delete")


def test_volumes_that_are_there_are_bound_at_once(cluster: Cluster) -> None:
    """The smallest that suits; what is retained is Released when its claim goes, and nobody else gets it."""
    cluster.create(volume("big", capacity={"storage": "5Gi"}))
    cluster.create(volume("small"))
    cluster.create(claim(storageClassName=""))
    cluster.wait_for("pvc/data", lambda found: found["status"]["phase"] == "Bound")
    assert [phase(cluster, f"pv/{name}") for name in ("big", "small")] == ["Available", "Bound"]
    cluster.delete("pvc/data")
    cluster.advance(5)
    assert phase(cluster, "pv/small") == "Released"
    cluster.create(claim("more", storageClassName=""))
    cluster.create(claim("late", storageClassName=""))
    cluster.advance(5)
    assert (cluster.get("pvc/more") or {})["spec"]["volumeName"] == "big"
    assert phase(cluster, "pvc/late") == "Pending"
    assert told(cluster, "pvc/late") == [
        "Normal FailedBinding no persistent volumes available for this claim and no storage class is set"
    ]
    cluster.create(volume("new"))
    cluster.advance(1)
    assert phase(cluster, "pvc/late") == "Bound"


def test_the_life_of_a_volume_and_its_claim(cluster: Cluster) -> None:
    """Made, bound, listed, labelled in each way; the volume stays while it is bound; all can be deleted at once."""
    labels = {"e2e": "life"}
    for kept in (volume("one"), claim("one", storageClassName="")):
        kept["metadata"]["labels"] = labels
        cluster.create(kept)
    cluster.wait_for("pvc/one", lambda found: found["status"]["phase"] == "Bound")
    for what in ("pv/one", "pvc/one"):
        assert [objects.name(o) for o in cluster.list(what.partition("/")[0], labels="e2e=life")] == ["one"]
        cluster.patch(what, {"metadata": {"labels": {"patched": "yes"}}})
        assert objects.labels(cluster.get(what) or {}) == {**labels, "patched": "yes"}
    updated = cluster.get("pv/one") or {}
    metadata = {**updated["metadata"], "labels": {**objects.labels(updated), "updated": "yes"}}
    cluster.run(cluster.client.update(PERSISTENTVOLUME, {**updated, "metadata": metadata}))
    cluster.delete("pv/one")
    cluster.advance(5)
    assert objects.is_deleting(cluster.get("pv/one") or {})
    cluster.run(cluster.client.delete_collection(PERSISTENTVOLUMECLAIM, "default"))
    cluster.advance(5)
    assert (cluster.list("pvc"), cluster.list("pv")) == ([], [])


def test_a_claim_without_a_class_gets_the_default_when_there_is_one(cluster: Cluster) -> None:
    """Also one that was made before the class."""
    cluster.delete("storageclass/standard")
    cluster.create(claim())
    cluster.advance(5)
    assert "storageClassName" not in (cluster.get("pvc/data") or {})["spec"]
    cluster.create(local_volumes.default_class())
    cluster.advance(5)
    assert (cluster.get("pvc/data") or {})["spec"]["storageClassName"] == "standard"


def test_a_claim_whose_volume_is_taken_away_is_lost(cluster: Cluster) -> None:
    """It is Bound again when the volume is back, and still its own."""
    cluster.create(volume("only"))
    cluster.create(claim(storageClassName=""))
    cluster.wait_for("pvc/data", lambda found: found["status"]["phase"] == "Bound")
    kept = cluster.get("pv/only") or {}
    cluster.delete("pv/only")
    cluster.patch("pv/only", {"metadata": {"finalizers": None}})
    cluster.advance(1)
    assert phase(cluster, "pvc/data") == "Lost"
    lost = "Warning ClaimLost Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    assert lost in told(cluster, "pvc/data")
    cluster.create(volume("only", claimRef=kept["spec"]["claimRef"]))
    cluster.advance(1)
    assert phase(cluster, "pvc/data") == "Bound"


def test_pods_of_a_set_go_back_to_their_volumes(cluster: Cluster) -> None:
    """A pod that is made anew goes to the node of its volume, or nowhere."""
    template = stateful.template()
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    template["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
    ]
    wanted = stateful.stateful_set(2, template=template, volumeClaimTemplates=[stateful.claim_template()])
    cluster.create(wanted)
    stateful.wait_ready(cluster, 2)
    before = {name: node_of(cluster, name) for name in ("web-0", "web-1")}
    assert len(set(before.values())) == 2
    cluster.patch(f"node/{before['web-1']}", {"spec": {"unschedulable": True}})
    cluster.delete("pod/web-1")
    cluster.advance(40)
    assert refusal(cluster, "web-1") == (
        "0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) were unschedulable. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    cluster.patch(f"node/{before['web-1']}", {"spec": {"unschedulable": None}})
    stateful.wait_ready(cluster, 2)
    assert {name: node_of(cluster, name) for name in before} == before


def test_a_sets_template_is_judged_by_its_pods(cluster: Cluster) -> None:
    """A mount without a volume may be that of a claim; if it is none, no pod can be made, which is told."""
    template = stateful.template()
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    cluster.create(stateful.stateful_set(1, template=template))
    cluster.advance(2)
    why = 'Pod "web-0" is invalid: spec.containers[0].volumeMounts[0].name: Not found: "data"'
    [said] = stateful.told(cluster)
    assert said.startswith(f"Warning FailedCreate create Pod web-0 in StatefulSet web failed error: {why}")


def test_a_pod_waits_for_its_claims(cluster: Cluster) -> None:
    """One that is not there; one that is bound at once but for which there is nothing yet."""
    cluster.create(pod())
    cluster.advance(5)
    hint = (
        "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    missing = 'persistentvolumeclaim "data" not found'
    assert refusal(cluster, "web") == f"0/2 nodes are available: {missing}. {hint}"
    cluster.create(claim(storageClassName=""))
    cluster.advance(15)
    unbound = "pod has unbound immediate PersistentVolumeClaims"
    assert refusal(cluster, "web") == f"0/2 nodes are available: {unbound}. {hint}"
    cluster.create(volume("late"))
    cluster.wait_for("pod/web", "Ready")


def test_volumes_of_nodes_without_a_provisioner(cluster: Cluster) -> None:
    """Each pod takes one where it goes; the scheduler binds it, and there are no more than there are."""
    cluster.create(storage_class("disks", "kubernetes.io/no-provisioner"))
    nodes = sorted(objects.name(node) for node in cluster.list("nodes"))
    for number, node in enumerate(nodes):
        cluster.create(volume(f"disk-{number}", node, "disks"))
    for number in range(3):
        cluster.create(claim(f"c-{number}", storageClassName="disks"))
        cluster.create(pod(f"p-{number}", f"c-{number}"))
    cluster.advance(30)
    placed = {number: node_of(cluster, f"p-{number}") for number in range(3)}
    assert sorted(placed.values()) == ["", *nodes]
    for number, node in placed.items():
        bound = (cluster.get(f"pvc/c-{number}") or {})["spec"].get("volumeName")
        assert bound == (f"disk-{nodes.index(node)}" if node else None)
    [left] = [f"p-{number}" for number, node in placed.items() if not node]
    text = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    assert refusal(cluster, left).startswith(text)


def test_pods_of_one_shape_are_judged_by_their_own_claims(cluster: Cluster) -> None:
    """That one finds no volume says nothing of another one that needs none."""
    cluster.create(storage_class("disks", "kubernetes.io/no-provisioner"))
    cluster.create(claim(storageClassName="disks"))
    cluster.create(pod("without"))
    cluster.advance(5)
    assert "didn't find available persistent volumes" in refusal(cluster, "without")
    cluster.create(trees.pod("other"))
    cluster.wait_for("pod/other", "Ready")


def test_nobody_is_pushed_out_where_the_volume_is_not(cluster: Cluster) -> None:
    """Less important pods on another node stay, since their going would not help."""
    for name, value in (("low", 1), ("high", 10)):
        kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        cluster.create({**kind, "value": value})
    cluster.create(volume("there", "sampan"))
    cluster.create(claim(storageClassName=""))
    containers = [{"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "20"}}}]
    cluster.create(trees.pod("mine", containers=containers, nodeName="sampan", priorityClassName="high"))
    cluster.create(trees.pod("least", containers=containers, nodeName="sampan-2", priorityClassName="low"))
    cluster.create(pod(containers=containers, priorityClassName="high"))
    cluster.advance(20)
    assert node_of(cluster, "web") == ""
    assert phase(cluster, "pod/least") == "Running"


def test_one_pod_alone_uses_a_claim_for_one_pod(cluster: Cluster) -> None:
    """The second one waits until the first is gone."""
    cluster.create(claim(mode="ReadWriteOncePod"))
    cluster.create(pod("first"))
    cluster.wait_for("pod/first", "Ready")
    cluster.create(pod("second"))
    cluster.advance(20)
    text = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert text in refusal(cluster, "second")
    cluster.delete("pod/first")
    cluster.wait_for("pod/second", "Ready")


def test_a_claim_for_one_pod_goes_to_the_more_important_one(cluster: Cluster) -> None:
    """Who has it is pushed out, wherever it is."""
    cluster.create(claim(mode="ReadWriteOncePod"))
    metadata = {"name": "high"}
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata}
    cluster.create({**kind, "value": 1000})
    cluster.create(pod("first"))
    cluster.wait_for("pod/first", "Ready")
    cluster.create(pod("second", priorityClassName="high"))
    cluster.wait_for("pod/second", "Ready", 60)
    assert cluster.get("pod/first") is None
    assert node_of(cluster, "second") == cluster.get("pvc/data")["metadata"]["annotations"][SELECTED]


def test_storage_that_is_measured_decides_where_a_pod_goes(cluster: Cluster) -> None:
    """A driver that tells how much there is gets pods only where there is enough; more of it helps at once."""
    metadata = {"name": "csi.example.com"}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": metadata}
    cluster.create({**kind, "spec": {"storageCapacity": True}})
    cluster.create(storage_class("measured", "csi.example.com"))
    cluster.create(claim(storageClassName="measured"))
    cluster.create(pod())
    cluster.advance(5)
    assert refusal(cluster, "web").startswith("0/2 nodes are available: 2 node(s) did not have enough free storage.")
    name = cluster.list("node")[1]["metadata"]["name"]
    told = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": {"name": "there"}}
    told |= {"storageClassName": "measured", "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": name}}}
    cluster.create({**told, "capacity": "512Mi"})
    cluster.advance(20)
    assert SELECTED not in cluster.get("pvc/data")["metadata"].get("annotations", {})
    cluster.patch("csistoragecapacity/there", {"capacity": "2Gi"})
    chosen = cluster.wait_for("pvc/data", lambda c: c["metadata"].get("annotations", {}).get(SELECTED), 30)
    assert chosen["metadata"]["annotations"][SELECTED] == name


def test_a_scheduler_that_does_not_look_at_volumes() -> None:
    """Its configuration leaves the plugins out, and pods go where their volumes are not."""
    off = {"disabled": [{"name": "VolumeBinding"}]}
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"plugins": {"multiPoint": off}}],
    }
    with Cluster(nodes=1, scheduling=configuration) as cluster:
        cluster.create(pod(claimed="missing"))
        cluster.wait_for("pod/web", lambda p: p["spec"].get("nodeName"))


def test_zones_of_volumes(cluster: Cluster) -> None:
    """A volume that is labelled with a zone wants its pod there."""
    cluster.add_node("far", labels={"topology.kubernetes.io/zone": "b"})
    for node in ("sampan", "sampan-2"):
        cluster.patch(f"node/{node}", {"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}})
    there = volume("there")
    there["metadata"]["labels"] = {"topology.kubernetes.io/zone": "b"}
    cluster.create(there)
    cluster.create(claim(storageClassName=""))
    cluster.create(pod())
    cluster.wait_for("pod/web", "Ready")
    assert node_of(cluster, "web") == "far"


def test_ephemeral_volumes_live_as_long_as_their_pod(cluster: Cluster) -> None:
    """A claim is made for the pod, and goes with it, as the volume does."""
    template = {"metadata": {"labels": {"of": "web"}}, "spec": claim()["spec"]}
    cluster.create(trees.pod("web", volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]))
    cluster.wait_for("pod/web", "Ready")
    made = cluster.get("pvc/web-v") or {}
    assert (made["status"]["phase"], objects.labels(made)) == ("Bound", {"of": "web"})
    cluster.delete("pod/web")
    cluster.advance(30)
    assert (cluster.list("pvc"), cluster.list("pv")) == ([], [])


def test_a_claim_grows(cluster: Cluster) -> None:
    """The volume first; a folder has room at once."""
    cluster.create(claim())
    cluster.create(pod())
    cluster.wait_for("pod/web", "Ready")
    cluster.patch("pvc/data", {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})
    cluster.advance(2)
    found = cluster.get("pvc/data") or {}
    assert found["status"]["capacity"] == {"storage": "3Gi"}
    assert (cluster.get("pv", found["spec"]["volumeName"]) or {})["spec"]["capacity"] == {"storage": "3Gi"}
    name = found["spec"]["volumeName"]
    assert told(cluster, "pvc/data")[-2:] == [
        f"Normal Resizing External resizer is resizing volume {name}",
        "Normal VolumeResizeSuccessful Resize volume succeeded",
    ]


def test_a_provisioner_that_gives_up_has_the_pod_scheduled_anew(cluster: Cluster) -> None:
    """Somebody else's provisioner takes the node back, as one does that has no room there."""
    cluster.create(storage_class("slow", "example.com/disks"))
    cluster.create(claim(storageClassName="slow"))
    cluster.create(pod())
    cluster.run_until(lambda: SELECTED in objects.annotations(cluster.get("pvc/data") or {}))
    first = objects.annotations(cluster.get("pvc/data") or {})[SELECTED]
    assert node_of(cluster, "web") == ""
    cluster.patch(f"node/{first}", {"spec": {"unschedulable": True}})
    cluster.patch("pvc/data", {"metadata": {"annotations": {SELECTED: None}}})
    cluster.run_until(lambda: SELECTED in objects.annotations(cluster.get("pvc/data") or {}), within=30)
    second = objects.annotations(cluster.get("pvc/data") or {})[SELECTED]
    assert second != first
    text = 'running PreBind plugin "VolumeBinding": binding volumes: selectedNode annotation reset for PVC "data"'
    assert f"Warning FailedScheduling {text}" in told(cluster, "pod/web")
    cluster.create(volume("made", second, "slow", claimRef={"namespace": "default", "name": "data"}))
    cluster.wait_for("pod/web", "Ready")


@pytest.mark.parametrize("late", [0.0, 2.0])
def test_two_at_once(cluster: Cluster, late: float) -> None:
    """Another set of controllers and another scheduler, of which one may see late: each claim has one volume of its own."""
    for number in range(3):
        cluster.create(volume(f"made-{number}"))
    with cluster.faults.duplicate_controllers(late=late):
        for number in range(3):
            cluster.create(claim(f"old-{number}", storageClassName=""))
            cluster.create(claim(f"new-{number}"))
            cluster.create(pod(f"p-{number}", f"new-{number}"))
        cluster.advance(60)
    cluster.advance(30)
    bound = {objects.name(c): c["spec"]["volumeName"] for c in cluster.list("pvc") if c["status"]["phase"] == "Bound"}
    assert len(bound) == len(set(bound.values())) == 6
    found = {
        objects.name(v): v["spec"]["claimRef"]["name"] for v in cluster.list("pv") if v["status"]["phase"] == "Bound"
    }
    assert found == {volume_name: name for name, volume_name in bound.items()}
    assert len(cluster.list("pv")) == 6
    for number in range(3):
        cluster.wait_for(f"pod/p-{number}", "Ready")


@pytest.mark.parametrize("number", thorough.each(3, range(1, 24)))
def test_a_crash_at_any_write(number: int) -> None:
    """Whatever was under way, in the end the claim is bound, and the pod runs where its volume is."""
    with Cluster(seed=1, nodes=2) as cluster:
        cluster.faults.crash_at_write(number, back_after=3)
        client = cluster.client
        insist(cluster, lambda: client.create(PERSISTENTVOLUMECLAIM, claim()), lambda: client.create(POD, pod()))
        assert phase(cluster, "pvc/data") == "Bound"
        [made] = cluster.list("pv")
        assert made["spec"]["nodeAffinity"] == local_volumes.affinity(node_of(cluster, "web"))
        cluster.wait_for("pod/web", "Ready")


@pytest.mark.parametrize("number", thorough.each(3, range(1, 16)))
def test_a_crash_while_all_goes(number: int) -> None:
    """In the end nothing is left."""
    with Cluster(seed=1, nodes=2) as cluster:
        cluster.create(claim())
        cluster.create(pod())
        cluster.wait_for("pod/web", "Ready")
        cluster.faults.crash_at_write(number, back_after=3)
        client, keys = cluster.client, (("default", "web"), ("default", "data"))
        insist(cluster, lambda: client.delete(POD, keys[0]), lambda: client.delete(PERSISTENTVOLUMECLAIM, keys[1]))
        assert (cluster.list("pvc"), cluster.list("pv")) == ([], [])
        assert [local_volumes.over(node) for node in cluster.list("nodes")] == [[], []]


def insist(cluster: Cluster, *steps: Callable[[], Awaitable[object]]) -> None:
    """Each until it is done, in spite of the fault; what was done before the answer was lost is found so."""
    for do in steps:
        done = False
        while not done:
            try:
                cluster.run(do())
                done = True
            except TransportError:
                cluster.advance(1)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
                done = True
    cluster.advance(45)
    cluster.faults.end()
    cluster.advance(45)


def csi_volume(name: str, **spec: Any) -> Tree:
    """A volume of a driver."""
    made = volume(name, csi={"driver": "disks.example.com", "volumeHandle": f"h-{name}"}, **spec)
    del made["spec"]["hostPath"]
    return made


def attach(cluster: Cluster) -> None:
    """What the driver's attacher does."""
    for found in cluster.list("volumeattachments"):
        cluster.patch(f"volumeattachment/{objects.name(found)}", {"status": {"attached": True}}, subresource="status")


def test_volumes_of_drivers_are_attached_where_their_pods_are(cluster: Cluster) -> None:
    """The attacher is asked, the node and the pod are told; it is detached when the pod is gone."""
    cluster.create(csi_volume("disk"))
    cluster.create(claim(storageClassName=""))
    cluster.create(pod())
    cluster.wait_for("pod/web", "Ready")
    [found] = cluster.list("volumeattachments")
    node = node_of(cluster, "web")
    assert found["spec"] == {
        "attacher": "disks.example.com",
        "nodeName": node,
        "source": {"persistentVolumeName": "disk"},
    }
    attach(cluster)
    cluster.advance(1)
    told_of = (cluster.get(f"node/{node}") or {})["status"]["volumesAttached"]
    assert told_of == [{"name": "kubernetes.io/csi/disks.example.com^h-disk", "devicePath": ""}]
    attached = 'Normal SuccessfulAttachVolume AttachVolume.Attach succeeded for volume "disk" '
    assert told(cluster, "pod/web").count(attached) == 1
    cluster.delete("pod/web")
    cluster.advance(40)
    assert cluster.list("volumeattachments") == []
    assert "volumesAttached" not in (cluster.get(f"node/{node}") or {})["status"]


def test_an_attacher_that_fails_is_heard(cluster: Cluster) -> None:
    """Its words are the pod's event; what it manages later counts."""
    cluster.create(csi_volume("disk"))
    cluster.create(claim(storageClassName=""))
    cluster.create(pod())
    cluster.advance(2)
    [found] = cluster.list("volumeattachments")
    failed = {"time": "2026-01-01T00:00:00Z", "message": "rpc error: code = Internal desc = no such disk"}
    name = f"volumeattachment/{objects.name(found)}"
    cluster.patch(name, {"status": {"attachError": failed}}, subresource="status")
    cluster.advance(1)
    text = 'Warning FailedAttachVolume AttachVolume.Attach failed for volume "disk" : ' + failed["message"]
    assert told(cluster, "pod/web").count(text) == 1
    cluster.patch(name, {"status": {"attached": True, "attachError": None}}, subresource="status")
    cluster.advance(1)
    assert any("SuccessfulAttachVolume" in line for line in told(cluster, "pod/web"))


def test_a_volume_for_one_node_is_not_attached_to_two(cluster: Cluster) -> None:
    """The second node waits until the first one's pod is gone."""
    cluster.create(csi_volume("disk"))
    cluster.create(claim(storageClassName=""))
    cluster.create(pod("first", nodeName="sampan"))
    cluster.advance(2)
    cluster.create(pod("second", nodeName="sampan-2"))
    cluster.advance(2)
    assert [found["spec"]["nodeName"] for found in cluster.list("volumeattachments")] == ["sampan"]
    text = 'Warning FailedAttachVolume Multi-Attach error for volume "disk" Volume is already used by pod(s) first'
    assert text in told(cluster, "pod/second")
    cluster.delete("pod/first")
    cluster.advance(40)
    assert [found["spec"]["nodeName"] for found in cluster.list("volumeattachments")] == ["sampan-2"]


def test_a_volume_that_is_still_being_detached_is_not_attached_to_another_node(cluster: Cluster) -> None:
    """Nobody uses it any more, and the event names nobody."""
    cluster.create(csi_volume("disk"))
    cluster.create(claim(storageClassName=""))
    cluster.create(pod("first", nodeName="sampan"))
    cluster.advance(2)
    [attachment] = cluster.list("volumeattachments")
    cluster.patch(
        f"volumeattachment/{objects.name(attachment)}", {"metadata": {"finalizers": ["example.com/attacher"]}}
    )
    cluster.delete("pod/first", grace_seconds=0)
    cluster.wait_for("pod/first", "deleted")
    cluster.create(pod("second", nodeName="sampan-2"))
    cluster.advance(2)
    text = "Volume is already exclusively attached to one node and can't be attached to another"
    assert f'Warning FailedAttachVolume Multi-Attach error for volume "disk" {text}' in told(cluster, "pod/second")


def test_a_deleted_claim_outlives_late_news_of_its_pod(cluster: Cluster) -> None:
    """Its pod was bound a moment ago; whoever has not heard of that looks before the claim may go."""
    cluster.create(volume("v"))
    cluster.create(claim(storageClassName=""))
    cluster.advance(2)
    with cluster.faults.late_watches(5, Aim(users=CONTROLLERS, resources=("pods",))):
        cluster.create(pod(nodeName="sampan"))
        cluster.delete("pvc/data")
        cluster.advance(3)
        found = cluster.get("pvc/data")
        cluster.advance(10)
    assert found is not None and objects.is_deleting(found)
    assert cluster.get("pvc/data") is not None
    cluster.delete("pod/web")
    cluster.wait_for("pvc/data", "deleted")
