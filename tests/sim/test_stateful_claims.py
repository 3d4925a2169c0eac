"""A StatefulSet's claims in virtual time: made with the pods, kept or not when pods or the set go."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.meta import objects
from sampan.testing.cluster import Cluster
from tests.sim import stateful, trees
from tests.sim.stateful import WEB, stateful_set
from tests.sim.trees import Tree


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made


def with_claims(replicas: int = 2, deleted: str = "Retain", scaled: str = "Retain", **spec: Any) -> Tree:
    """A set whose pods have a claim each."""
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    templates = [stateful.claim_template()]
    return stateful_set(replicas, volumeClaimTemplates=templates, persistentVolumeClaimRetentionPolicy=policy, **spec)


def claims(cluster: Cluster) -> dict[str, list[str]]:
    """Name -> the kinds of the owners of each claim."""
    found = cluster.list(PERSISTENTVOLUMECLAIM)
    return {objects.name(c): [r["kind"] for r in objects.owner_references(c)] for c in found}


def uids(cluster: Cluster) -> dict[str, str]:
    """Name -> uid of each claim."""
    return {objects.name(c): objects.uid(c) for c in cluster.list(PERSISTENTVOLUMECLAIM)}


def test_each_pod_has_its_claim(cluster: Cluster) -> None:
    """Made before the pod, with the selector's labels; the pod's volume of that name is the claim."""
    template = stateful.template()
    template["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    wanted = with_claims(template=template)
    wanted["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"] = {"tier": "fast"}
    cluster.create(wanted)
    stateful.wait_ready(cluster, 2)
    claim = cluster.get("persistentvolumeclaim/data-web-1") or {}
    assert objects.labels(claim) == {"app": "web", "tier": "fast"}
    assert claim["spec"]["resources"] == {"requests": {"storage": "1Gi"}}
    pod = cluster.get("pod/web-1") or {}
    assert [v for v in pod["spec"]["volumes"] if v["name"] in ("data", "tmp")] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    assert stateful.told(cluster) == [
        "Normal SuccessfulCreate create Claim data-web-0 Pod web-0 in StatefulSet web success",
        "Normal SuccessfulCreate create Pod web-0 in StatefulSet web successful",
        "Normal SuccessfulCreate create Claim data-web-1 Pod web-1 in StatefulSet web success",
        "Normal SuccessfulCreate create Pod web-1 in StatefulSet web successful",
    ]


def test_claims_stay_by_default(cluster: Cluster) -> None:
    """Scaled down and up again the pods have the same ones; even the set's end is not theirs."""
    cluster.create(with_claims())
    stateful.wait_ready(cluster, 2)
    before = uids(cluster)
    cluster.scale(WEB, 0)
    cluster.wait_for(WEB, lambda found: found["status"]["replicas"] == 0)
    cluster.scale(WEB, 2)
    stateful.wait_ready(cluster, 2)
    cluster.delete(WEB)
    cluster.advance(60)
    assert (uids(cluster), claims(cluster)) == (before, {"data-web-0": [], "data-web-1": []})


def test_claims_may_go_with_the_set(cluster: Cluster) -> None:
    """Then the set owns them; pods that are scaled away leave theirs."""
    made = cluster.create(with_claims(deleted="Delete"))
    stateful.wait_ready(cluster, 2)
    claim = cluster.get("persistentvolumeclaim/data-web-0") or {}
    assert objects.owner_references(claim) == [objects.owner_reference(made)]
    cluster.scale(WEB, 1)
    stateful.wait_ready(cluster, 1)
    cluster.advance(30)
    assert claims(cluster) == {"data-web-0": ["StatefulSet"], "data-web-1": ["StatefulSet"]}
    cluster.delete(WEB)
    cluster.advance(60)
    assert claims(cluster) == {}


@pytest.mark.parametrize(("policy", "is_kept"), [("OrderedReady", False), ("Parallel", True)])
def test_claims_may_go_with_scaled_pods(cluster: Cluster, policy: str, is_kept: bool) -> None:
    """The pod owns its claim then. Wanted again while it ends: in order it waits for the claim's end, else it is kept."""
    cluster.behave("web", {"stop": 5})
    cluster.create(with_claims(3, scaled="Delete", podManagementPolicy=policy))
    stateful.wait_ready(cluster, 3)
    before = uids(cluster)
    assert claims(cluster) == {f"data-web-{n}": [] for n in range(3)}
    cluster.scale(WEB, 1)
    cluster.advance(2)
    assert claims(cluster) == {"data-web-0": [], "data-web-1": ["Pod"], "data-web-2": ["Pod"]}
    cluster.scale(WEB, 3)
    stateful.wait_ready(cluster, 3)
    cluster.advance(60)
    after = uids(cluster)
    assert after["data-web-0"] == before["data-web-0"]
    assert (after["data-web-2"] == before["data-web-2"]) is is_kept
    cluster.scale(WEB, 1)
    cluster.advance(60)
    assert list(claims(cluster)) == ["data-web-0"]


def test_a_replaced_pod_keeps_its_claim(cluster: Cluster) -> None:
    """Whatever the policy is: a rollout is no scaling down."""
    cluster.create(with_claims(deleted="Delete", scaled="Delete"))
    stateful.wait_ready(cluster, 2)
    before = uids(cluster)
    stateful.set_image(cluster, "web:2")
    stateful.wait_ready(cluster, 2)
    assert uids(cluster) == before


def test_another_policy_changes_the_owners(cluster: Cluster) -> None:
    """Of claims that are there already, which is told as an update of their pods."""
    cluster.create(with_claims(1))
    stateful.wait_ready(cluster, 1)
    cluster.patch(WEB, {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}})
    cluster.advance(5)
    assert claims(cluster) == {"data-web-0": ["StatefulSet"]}
    assert stateful.told(cluster)[-1] == "Normal SuccessfulUpdate update Pod web-0 in StatefulSet web successful"
    cluster.patch(WEB, {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}})
    cluster.advance(5)
    assert claims(cluster) == {"data-web-0": []}


def test_claims_of_another_controller_are_left_alone(cluster: Cluster) -> None:
    """And an event says so."""
    keeper = cluster.create(trees.config_map("keeper"))
    claim = {**stateful.claim_template(), "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    claim["metadata"] = {"name": "data-web-0", "ownerReferences": [objects.owner_reference(keeper)]}
    cluster.create(claim)
    cluster.create(with_claims(1, deleted="Delete"))
    stateful.wait_ready(cluster, 1)
    cluster.advance(10)
    assert claims(cluster) == {"data-web-0": ["ConfigMap"]}
    text = (
        "has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this"
    )
    line = f"Warning ConflictingController PersistentVolumeClaim data-web-0 {text} claim"
    assert any(told.startswith(line) for told in stateful.told(cluster))


def test_refused_claims_hold_their_pod_back(cluster: Cluster) -> None:
    """In parallel the others run all the same; both the claim and the pod are told of."""
    hard = {"persistentvolumeclaims": "2"}
    cluster.create(trees.tree("v1", "ResourceQuota", "few", spec={"hard": hard}))
    cluster.advance(1)
    cluster.create(with_claims(3, podManagementPolicy="Parallel"))
    cluster.advance(30)
    assert list(stateful.pods(cluster)) == ["web-0", "web-1"]
    error = 'persistentvolumeclaims "data-web-2" is forbidden: exceeded quota: few, requested: persistentvolumeclaims=1'
    about = "Pod web-2 in StatefulSet web failed error:"
    told = stateful.told(cluster)
    assert any(t.startswith(f"Warning FailedCreate create Claim data-web-2 for {about} {error}") for t in told)
    failed = f"Warning FailedCreate create {about} failed to create PVC data-web-2: {error}"
    assert any(t.startswith(failed) for t in told)
    cluster.delete("resourcequota/few")
    stateful.wait_ready(cluster, 3, within=600)


def test_a_claim_on_its_way_out_holds_the_pod_back(cluster: Cluster) -> None:
    """The pod comes once the claim is gone and made anew."""
    cluster.create(with_claims(1))
    stateful.wait_ready(cluster, 1)
    cluster.patch("persistentvolumeclaim/data-web-0", {"metadata": {"finalizers": ["example.com/hold"]}})
    cluster.delete("persistentvolumeclaim/data-web-0")
    cluster.delete("pod/web-0")
    cluster.advance(60)
    assert stateful.pods(cluster) == {}
    text = "create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted"
    assert any(t.startswith(f"Warning FailedCreate {text}") for t in stateful.told(cluster))
    before = uids(cluster)
    cluster.patch("persistentvolumeclaim/data-web-0", {"metadata": {"finalizers": None}})
    stateful.wait_ready(cluster, 1)
    assert uids(cluster)["data-web-0"] != before["data-web-0"]


def test_a_pod_that_waits_for_a_node_gets_its_lost_claim_again(cluster: Cluster) -> None:
    """A claim that is deleted under a pending pod is made anew."""
    template = stateful.template()
    template["spec"]["nodeSelector"] = {"disk": "fast"}
    cluster.create(with_claims(1, template=template))
    cluster.advance(10)
    before = uids(cluster)
    cluster.delete("persistentvolumeclaim/data-web-0")
    cluster.run_until(lambda: uids(cluster).get("data-web-0") not in (None, before["data-web-0"]))
