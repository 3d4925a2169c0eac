"""Devices in virtual time: claims are made for pods, reserved, given back and deleted; a tainted device is left."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.aim import CONTROLLERS, Aim
from sampan.cluster.history import Change
from sampan.kinds.parts import pod_devices
from sampan.testing.cluster import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

DRIVER = "gpu.example.com"
WRITES = ("create", "update", "patch", "delete")
TROUBLE = "Failed to prepare dynamic resources: prepare dynamic resources:"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=1) as made:
        yield made


def node(cluster: Cluster) -> str:
    return str(cluster.list("node")[0]["metadata"]["name"])


def claim(name: str = "gpu") -> Tree:
    return trees.tree("resource.k8s.io/v1", "ResourceClaim", name, spec=wish())


def template(name: str = "one-gpu") -> Tree:
    return trees.tree("resource.k8s.io/v1", "ResourceClaimTemplate", name, spec={"spec": wish()})


def wish() -> Tree:
    return {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}


def named(name: str = "gpu") -> Tree:
    """What a pod that shares a claim says."""
    return {"name": "gpu", "resourceClaimName": name}


def made(name: str = "one-gpu") -> Tree:
    """What a pod that gets a claim of its own says."""
    return {"name": "gpu", "resourceClaimTemplateName": name}


def pod(name: str, *claims: Tree, **spec: Any) -> Tree:
    return trees.pod(name, resourceClaims=list(claims), **spec)


def allocate(cluster: Cluster, name: str, device: str = "gpu-0", **result: Any) -> None:
    """As the scheduler does: the finalizer first."""
    finalizers = ["resource.kubernetes.io/delete-protection"]
    cluster.patch(f"resourceclaim/{name}", {"metadata": {"finalizers": finalizers}})
    results = [{"request": "gpu", "driver": DRIVER, "pool": node(cluster), "device": device, **result}]
    status = {"allocation": {"devices": {"results": results}}}
    cluster.patch(f"resourceclaim/{name}", {"status": status}, subresource="status")


def reservers(cluster: Cluster, name: str) -> list[str]:
    found = cluster.get("resourceclaim", name) or {}
    return [each["name"] for each in (found.get("status") or {}).get("reservedFor") or ()]


def told(cluster: Cluster, what: str) -> list[str]:
    """The events about an object, each once, in order."""
    return list(dict.fromkeys(f"{e['type']} {e['reason']} {e['message']}" for e in cluster.events(what)))


def own_claim(cluster: Cluster, name: str) -> str:
    """The claim that was made for a pod, once the pod tells of it."""
    found = cluster.wait_for(f"pod/{name}", lambda p: p["status"].get("resourceClaimStatuses"))
    assert [each["name"] for each in found["status"]["resourceClaimStatuses"]] == ["gpu"]
    return str(found["status"]["resourceClaimStatuses"][0]["resourceClaimName"])


def test_a_pod_gets_a_claim_of_its_own(cluster: Cluster) -> None:
    """It is the pod's, says for what it was made, and goes with it."""
    cluster.apply(template(), pod("web", made()))
    name = own_claim(cluster, "web")
    found = cluster.get("resourceclaim", name) or {}
    assert name.startswith("web-gpu-")
    assert found["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "gpu"}
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"], owner["blockOwnerDeletion"]) == (
        "Pod",
        "web",
        True,
        True,
    )
    assert found["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == "gpu"
    cluster.delete("pod/web")
    cluster.wait_for(f"resourceclaim/{name}", "deleted")


def test_a_missing_template_is_told_and_used_when_it_comes(cluster: Cluster) -> None:
    """Again and again, ever less often, until it is there."""
    cluster.apply(pod("web", made()))
    cluster.advance(10)
    (event,) = [e for e in cluster.events("pod/web") if e["reason"] == "FailedResourceClaimCreation"]
    missing = 'resourceclaimtemplate.resource.k8s.io "one-gpu" not found'
    assert event["message"] == f'PodResourceClaim gpu: resource claim template "one-gpu": {missing}'
    assert event["source"]["component"] == "resource_claim"
    assert 8 <= event["count"] <= 14
    cluster.apply(template())
    assert own_claim(cluster, "web")


def test_a_refused_claim_is_told(cluster: Cluster) -> None:
    """In the words of who refused it."""
    quota = trees.tree("v1", "ResourceQuota", "q", spec={"hard": {"count/resourceclaims.resource.k8s.io": "0"}})
    cluster.apply(quota)
    cluster.wait_for("resourcequota/q", lambda q: "hard" in q.get("status", {}))
    cluster.apply(template(), pod("web", made()))
    cluster.advance(2)
    failed = [text for text in told(cluster, "pod/web") if "FailedResourceClaimCreation" in text]
    start = "Warning FailedResourceClaimCreation PodResourceClaim gpu: create ResourceClaim : resourceclaims.resource.k8s.io"
    assert failed
    assert failed[0].startswith(start)
    assert "exceeded quota: q" in failed[0]


def test_a_claim_that_was_deleted_by_mistake_is_made_anew(cluster: Cluster) -> None:
    """Under another name, which the pod then tells."""
    cluster.apply(template(), pod("web", made()))
    first = own_claim(cluster, "web")
    cluster.delete(f"resourceclaim/{first}")
    cluster.advance(5)
    assert own_claim(cluster, "web") != first
    assert [each["metadata"]["name"] for each in cluster.list("resourceclaim")] == [own_claim(cluster, "web")]


def test_a_pod_put_on_a_node_by_hand_runs_once_its_claim_is_allocated(cluster: Cluster) -> None:
    """Until then it waits and says why; its claim is reserved for it."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(claim(), pod("web", named(), nodeName=node(cluster)))
    cluster.advance(5)
    web, gpu = cluster.get("pod/web") or {}, cluster.get("resourceclaim/gpu") or {}
    assert web["status"]["phase"] == "Pending"
    assert web["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    who = f"pod web ({web['metadata']['uid']}) is not allowed to use ResourceClaim gpu ({gpu['metadata']['uid']})"
    assert f"Warning FailedPrepareDynamicResources {TROUBLE} {who}" in told(cluster, "pod/web")
    allocate(cluster, "gpu")
    cluster.wait_for("pod/web", "Ready")
    assert reservers(cluster, "gpu") == ["web"]


def test_a_pod_does_not_start_before_its_claim_is_made(cluster: Cluster) -> None:
    """Nor without its claim, nor with another's."""
    cluster.apply(pod("web", made(), nodeName=node(cluster)))
    cluster.advance(5)
    assert f'{TROUBLE} pod "default/web": ResourceClaim not created yet' in "".join(told(cluster, "pod/web"))
    cluster.apply(pod("other", named("none"), nodeName=node(cluster)))
    cluster.advance(5)
    missing = 'fetch ResourceClaim none: resourceclaims.resource.k8s.io "none" not found'
    assert f"{TROUBLE} {missing}" in "".join(told(cluster, "pod/other"))


def test_no_pod_runs_without_its_driver(cluster: Cluster) -> None:
    """It waits for the driver to come back."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.remove_devices(node(cluster), driver=DRIVER)
    assert cluster.list("resourceslice") == []
    cluster.apply(claim())
    allocate(cluster, "gpu")
    cluster.apply(pod("web", named(), nodeName=node(cluster)))
    cluster.advance(20)
    assert f"Warning FailedPrepareDynamicResources {TROUBLE} DRA driver {DRIVER} is not registered" in told(
        cluster, "pod/web"
    )
    assert (cluster.get("pod/web") or {})["status"]["phase"] == "Pending"
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.wait_for("pod/web", "Ready")


def test_the_last_user_gives_back_the_devices(cluster: Cluster) -> None:
    """A pod that has ended, then one that is gone; then the claim is free, and nothing keeps it."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(claim())
    allocate(cluster, "gpu")
    cluster.apply(pod("one", named(), nodeName=node(cluster)), pod("two", named(), nodeName=node(cluster)))
    cluster.wait_for("pod/one", "Ready")
    cluster.wait_for("pod/two", "Ready")
    assert sorted(reservers(cluster, "gpu")) == ["one", "two"]
    cluster.delete("pod/one")
    cluster.run_until(lambda: reservers(cluster, "gpu") == ["two"])
    assert (cluster.get("resourceclaim/gpu") or {})["status"]["allocation"]
    cluster.delete("pod/two")
    cluster.wait_for("resourceclaim/gpu", lambda c: not c["status"].get("allocation"))
    cluster.wait_for("resourceclaim/gpu", lambda c: "finalizers" not in c["metadata"])


def test_a_deleted_claim_stays_until_it_is_not_used_any_more(cluster: Cluster) -> None:
    """Its finalizer keeps it while a pod has it; then the devices are given back, and it goes."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(claim())
    allocate(cluster, "gpu")
    cluster.apply(pod("web", named(), nodeName=node(cluster)))
    cluster.wait_for("pod/web", "Ready")
    cluster.delete("resourceclaim/gpu")
    cluster.advance(60)
    assert reservers(cluster, "gpu") == ["web"]
    cluster.delete("pod/web")
    cluster.wait_for("resourceclaim/gpu", "deleted")


def test_an_unused_allocation_goes_with_its_claim(cluster: Cluster) -> None:
    """Nobody had reserved it."""
    cluster.apply(claim())
    allocate(cluster, "gpu")
    cluster.advance(120)
    assert (cluster.get("resourceclaim/gpu") or {})["status"]["allocation"]
    cluster.delete("resourceclaim/gpu")
    cluster.wait_for("resourceclaim/gpu", "deleted")


def test_a_pod_that_has_ended_keeps_no_claim_of_its_own(cluster: Cluster) -> None:
    """The pod stays, the claim goes."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    job = pod("job", made(), nodeName=node(cluster), restartPolicy="Never")
    job["metadata"]["annotations"] = {trees.SIMULATED + "run-seconds": "5"}
    cluster.apply(template(), job)
    name = own_claim(cluster, "job")
    allocate(cluster, name)
    cluster.wait_for("pod/job", lambda p: p["status"]["phase"] == "Succeeded")
    cluster.wait_for(f"resourceclaim/{name}", "deleted")
    assert cluster.get("pod/job") is not None


def test_a_pod_of_the_same_name_gets_nothing_of_the_former(cluster: Cluster) -> None:
    """Reservations are by uid."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(claim())
    allocate(cluster, "gpu")
    status = {"reservedFor": [{"resource": "pods", "name": "web", "uid": "long-ago"}]}
    cluster.patch("resourceclaim/gpu", {"status": status}, subresource="status")
    cluster.apply(pod("web", named(), nodeName=node(cluster)))
    cluster.advance(5)
    gpu = cluster.get("resourceclaim/gpu") or {}
    assert all(each["uid"] != "long-ago" for each in gpu["status"].get("reservedFor") or ())


def test_a_pod_leaves_a_device_that_breaks(cluster: Cluster) -> None:
    """At once, or after as long as its claim tolerates it; a taint that goes calls that off."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0", "gpu-1", "gpu-2"])
    patience = [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]
    for name, device, given in (("at-once", "gpu-0", {}), ("later", "gpu-1", {"tolerations": patience})):
        cluster.apply(claim(name))
        allocate(cluster, name, device, **given)
        cluster.apply(pod(name, named(name), nodeName=node(cluster)))
        cluster.wait_for(f"pod/{name}", "Ready")
    taint(cluster, {"key": "broken", "effect": "NoExecute"})
    cluster.wait_for("pod/at-once", "deleted")
    marked = "Normal DeviceTaintManagerEviction Marking for deletion"
    assert marked in told(cluster, "pod/at-once")
    gone = next(c.tree for c in reversed(cluster.history("pod/at-once")) if "conditions" in c.tree["status"])
    target = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["reason"], target["message"]) == (
        "DeletionByDeviceTaintManager",
        "Device Taint manager: deleting due to NoExecute taint",
    )
    cluster.advance(20)
    taint(cluster)
    cluster.advance(60)
    assert told(cluster, "pod/later")[-1] == "Normal DeviceTaintManagerEviction Cancelling deletion"
    taint(cluster, {"key": "broken", "effect": "NoExecute"})
    cluster.advance(50)
    assert cluster.get("pod/later")
    cluster.advance(50)
    assert cluster.get("pod/later") is None


def taint(cluster: Cluster, *taints: Tree) -> None:
    """All devices have these taints from now on."""
    for each in cluster.list("resourceslice"):
        devices = [{"name": device["name"], "taints": list(taints)} for device in each["spec"]["devices"]]
        cluster.patch(f"resourceslice/{each['metadata']['name']}", {"spec": {"devices": devices}})


def test_devices_go_with_their_node(cluster: Cluster) -> None:
    """A slice tells of a node's devices, and is the node's."""
    (first,) = cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    assert first["spec"] == {
        "driver": DRIVER,
        "nodeName": node(cluster),
        "pool": {"name": node(cluster), "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu-0"}],
    }
    fast = {"name": "gpu-1", "attributes": {"model": "a100", "cores": 4, "ecc": True}, "capacity": {"memory": "40Gi"}}
    (second,) = cluster.add_devices(node(cluster), driver=DRIVER, devices=[fast])
    assert second["spec"]["pool"]["generation"] == 2
    assert second["spec"]["devices"] == [
        {"name": "gpu-0"},
        {
            "name": "gpu-1",
            "attributes": {"model": {"string": "a100"}, "cores": {"int": 4}, "ecc": {"bool": True}},
            "capacity": {"memory": {"value": "40Gi"}},
        },
    ]
    assert len(cluster.list("resourceslice")) == 1
    many = cluster.add_devices(node(cluster), driver="nic.example.com", devices=[f"nic-{n}" for n in range(100)])
    assert [len(each["spec"]["devices"]) for each in many] == [64, 36]
    assert {each["spec"]["pool"]["resourceSliceCount"] for each in many} == {2}
    cluster.remove_node(node(cluster))
    cluster.run_until(lambda: not cluster.list("resourceslice"))


def test_a_fork_has_the_devices_and_the_drivers_of_its_origin(cluster: Cluster) -> None:
    """And what happens to them there is nobody else's."""
    name = node(cluster)
    cluster.add_devices(name, driver=DRIVER, devices=["gpu-0"])
    with cluster.fork() as other:
        other.remove_devices(name, driver=DRIVER)
        assert other.list("resourceslice") == []
    assert len(cluster.list("resourceslice")) == 1


@pytest.mark.parametrize("number", range(2, 7))
def test_a_crash_while_a_claim_is_made(cluster: Cluster, number: int) -> None:
    """There is one all the same, and the pod tells its name."""
    cluster.apply(template())
    web = pod("web", made(), nodeName=node(cluster))
    cluster.faults.crash_at_write(number, back_after=3)
    cluster.sim.create(web)
    cluster.advance(60)
    assert [each["metadata"]["name"] for each in cluster.list("resourceclaim")] == [own_claim(cluster, "web")]


@pytest.mark.parametrize("number", range(2, 5))
def test_a_crash_while_a_claim_is_given_back(cluster: Cluster, number: int) -> None:
    """The devices are free all the same, and nothing keeps the claim."""
    cluster.apply(claim())
    allocate(cluster, "gpu")
    cluster.apply(pod("web", named(), nodeName=node(cluster)))
    cluster.wait_for("pod/web", "Ready")
    cluster.faults.crash_at_write(number, back_after=3)
    cluster.delete("pod/web", grace_seconds=0)
    cluster.advance(150)
    gpu = cluster.get("resourceclaim/gpu") or {}
    assert not gpu["status"].get("allocation")
    assert not gpu["status"].get("reservedFor")
    assert "finalizers" not in gpu["metadata"]
    cluster.delete("resourceclaim/gpu")
    assert cluster.get("resourceclaim/gpu") is None


def test_two_sets_of_controllers_make_one_claim_that_counts(cluster: Cluster) -> None:
    """Of two that were made at once the pod tells one, which is the one that it uses."""
    with cluster.faults.duplicate_controllers():
        cluster.apply(template(), pod("web", made(), nodeName=node(cluster)))
        cluster.advance(20)
        name = own_claim(cluster, "web")
        allocate(cluster, name)
        cluster.wait_for("pod/web", "Ready")
        assert reservers(cluster, name) == ["web"]
    cluster.delete("pod/web")
    cluster.run_until(lambda: not cluster.list("resourceclaim"))


def device_class(**spec: Any) -> Tree:
    selectors = [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]
    return trees.tree("resource.k8s.io/v1", "DeviceClass", "gpu", "", spec={"selectors": selectors, **spec})


def test_the_next_pod_gets_the_device_when_the_first_is_done(cluster: Cluster) -> None:
    """From the template to the scheduler, the node, and back."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(device_class(), template(), pod("first", made()))
    cluster.wait_for("pod/first", "Ready")
    cluster.apply(pod("second", made()))
    cluster.advance(30)
    waiting = cluster.get("pod/second") or {}
    assert waiting["status"]["phase"] == "Pending"
    assert "cannot allocate all claims" in str(trees.condition(waiting, "PodScheduled"))
    cluster.delete("pod/first")
    cluster.wait_for("pod/second", "Ready")
    (left,) = cluster.list("resourceclaim")
    assert left["metadata"]["ownerReferences"][0]["name"] == "second"
    assert reservers(cluster, left["metadata"]["name"]) == ["second"]


def test_a_claim_for_extended_resources_goes_with_its_pod(cluster: Cluster) -> None:
    """The scheduler makes it; when the pod has ended nothing is left of it, and the device is free."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(device_class(extendedResourceName="example.com/gpu"))
    for name in ("first", "second"):
        job = trees.pod(name, restartPolicy="Never")
        job["metadata"]["annotations"] = {trees.SIMULATED + "run-seconds": "20"}
        job["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "1"}}
        cluster.apply(job)
    ran = cluster.wait_for("pod/first", "Ready")
    name = ran["status"]["extendedResourceClaimStatus"]["resourceClaimName"]
    assert reservers(cluster, name) == ["first"]
    assert (cluster.get("pod/second") or {})["status"]["phase"] == "Pending"
    cluster.wait_for("pod/first", lambda p: p["status"]["phase"] == "Succeeded")
    cluster.wait_for(f"resourceclaim/{name}", "deleted")
    cluster.wait_for("pod/second", lambda p: p["status"]["phase"] == "Succeeded")
    cluster.run_until(lambda: not cluster.list("resourceclaim"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2, 14))
def test_a_crash_at_any_write_between_template_and_device(cluster: Cluster, number: int) -> None:
    """In the end there is one claim, which the pod that runs has."""
    cluster.add_devices(node(cluster), driver=DRIVER, devices=["gpu-0"])
    cluster.apply(device_class(), template())
    cluster.faults.crash_at_write(number, back_after=3)
    cluster.sim.create(pod("web", made()))
    cluster.run_until(lambda: len(cluster.faults.log) == 2, within=120)
    cluster.wait_for("pod/web", "Ready", within=200)
    assert [each["metadata"]["name"] for each in cluster.list("resourceclaim")] == [own_claim(cluster, "web")]
    assert reservers(cluster, own_claim(cluster, "web")) == ["web"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_everything_goes_wrong(seed: int) -> None:
    """No device is ever given twice; in the end all has been done, and nothing is left of it."""
    with Cluster(seed=seed, nodes=2) as cluster:
        for each in cluster.list("node"):
            cluster.add_devices(each["metadata"]["name"], driver=DRIVER, devices=["gpu-0", "gpu-1"])
        cluster.apply(device_class(), template(), claim("shared"))
        given = watch_devices(cluster)
        job = trees.job(completions=6, parallelism=5, backoffLimit=100, orders={"run_seconds": "4"})
        job["spec"]["template"]["spec"]["resourceClaims"] = [made()]
        cluster.apply(job, *(pod(f"shared-{number}", named("shared")) for number in range(3)))
        troubles = (
            cluster.faults.late_watches(seed, Aim(users=CONTROLLERS)),
            cluster.faults.duplicate_controllers(),
            cluster.faults.crash_at_writes(0.03, back_after=2, times=4),
            cluster.faults.errors(500, Aim(users=CONTROLLERS, verbs=WRITES, chance=0.2)),
        )
        cluster.advance(60)
        for trouble in troubles:
            trouble.end()
        cluster.run_until(lambda: cluster.sim.is_up)
        cluster.wait_for("job/sum", "Complete", within=400)
        cluster.advance(60)
        for number in range(3):
            cluster.delete(f"pod/shared-{number}")
        cluster.advance(200)
        assert [each["metadata"]["name"] for each in cluster.list("resourceclaim")] == ["shared"]
        shared = cluster.get("resourceclaim/shared") or {}
        assert (shared["status"], shared["metadata"].get("finalizers")) == ({}, None)
        assert given == {}


def watch_devices(cluster: Cluster) -> dict[tuple[str, str], str]:
    """Which claim has which device from now on; it fails as soon as two have one."""
    given: dict[tuple[str, str], str] = {}

    def look(change: Change) -> None:
        if change.resource != "resourceclaims.resource.k8s.io":
            return
        for device in [device for device, claim in given.items() if claim == change.key]:
            del given[device]
        for result in pod_devices.results(change.tree) if change.type != "DELETED" else ():
            device = (result["pool"], result["device"])
            assert given.setdefault(device, change.key) == change.key

    cluster.sim.observe(look)
    return given
