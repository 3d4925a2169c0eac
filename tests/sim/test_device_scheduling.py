"""Devices in virtual time: claims get them with their pod, share them, wait for them, and what pods are told."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sampan.kinds.parts import pod_devices
from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

DRIVER = "gpu.example.com"
STILL = "still not schedulable, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=3, nodes=0) as made:
        for name in ("a", "b"):
            made.add_node(name, labels={"kubernetes.io/hostname": name})
        made.create(device_class("gpu"))
        yield made


def device_class(name: str, **spec: Any) -> Tree:
    return trees.tree("resource.k8s.io/v1", "DeviceClass", name, "", spec=spec)


def resource_slice(node: str, devices: Sequence[Any], **spec: Any) -> Tree:
    """All devices of a pool; of one node if it is named."""
    listed = [{"name": each} if isinstance(each, str) else each for each in devices]
    place = {"nodeName": node} if node else {"allNodes": True}
    pool = {"name": node or "net", "generation": 1, "resourceSliceCount": 1}
    wanted = {"driver": DRIVER, "pool": pool, "devices": listed, **place}
    return trees.tree("resource.k8s.io/v1", "ResourceSlice", f"{node or 'net'}-gpu", "", spec=wanted | spec)


def request(name: str = "r", **wish: Any) -> Tree:
    return {"name": name, "exactly": {"deviceClassName": "gpu", **wish}}


def claim(name: str, *requests: Tree, **devices: Any) -> Tree:
    spec = {"devices": {"requests": list(requests or [request()]), **devices}}
    return trees.tree("resource.k8s.io/v1", "ResourceClaim", name, spec=spec)


def template(name: str, *requests: Tree) -> Tree:
    spec = {"spec": {"devices": {"requests": list(requests or [request()])}}}
    return trees.tree("resource.k8s.io/v1", "ResourceClaimTemplate", name, spec=spec)


def pod(name: str, claimed: str = "", made_from: str = "", **spec: Any) -> Tree:
    entry = {"resourceClaimName": claimed} if claimed else {"resourceClaimTemplateName": made_from}
    return trees.pod(name, resourceClaims=[{"name": "dev", **entry}], **spec)


def where(cluster: Cluster, name: str) -> str:
    return ((cluster.get(f"pod/{name}") or {}).get("spec") or {}).get("nodeName") or ""


def refusal(cluster: Cluster, name: str) -> str:
    told = conditions.get(cluster.wait_for(f"pod/{name}", "PodScheduled=False", 5), "PodScheduled")
    assert told is not None
    return f"{told['reason']}: {told['message']}"


def told(cluster: Cluster, name: str) -> list[str]:
    """The scheduler's events about a pod, each once."""
    found = [e for e in cluster.events(f"pod/{name}") if e.get("reportingComponent") == "default-scheduler"]
    return list(dict.fromkeys(f"{e['type']} {e['reason']}: {e['message']}" for e in found))


def got(cluster: Cluster, name: str) -> list[str]:
    """pool/device of each device that a claim has."""
    return [
        f"{each['pool']}/{each['device']}" for each in pod_devices.results(cluster.get("resourceclaim", name) or {})
    ]


def test_a_claim_gets_a_device_where_its_pod_goes(cluster: Cluster) -> None:
    """Finalizer, allocation with a node selector and a timestamp, the pod as its user; then the pod is bound."""
    cluster.create(resource_slice("b", ["gpu-0"]))
    cluster.create(claim("x", request(tolerations=[{"key": "k", "operator": "Exists"}])))
    cluster.create(pod("one", "x"))
    cluster.wait_for("pod/one", "PodScheduled")
    found = cluster.get("resourceclaim/x") or {}
    assert objects.finalizers(found) == [pod_devices.FINALIZER]
    allocation = dict(found["status"]["allocation"])
    assert allocation.pop("allocationTimestamp")
    fields = [{"key": "metadata.name", "operator": "In", "values": ["b"]}]
    result: Tree = {"request": "r", "driver": DRIVER, "pool": "b", "device": "gpu-0"}
    result |= {"tolerations": [{"key": "k", "operator": "Exists"}]}
    assert allocation == {
        "devices": {"results": [result]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": fields}]},
    }
    uid = objects.uid(cluster.get("pod/one") or {})
    assert found["status"]["reservedFor"] == [{"resource": "pods", "name": "one", "uid": uid}]
    assert where(cluster, "one") == "b"
    assert told(cluster, "one") == ["Normal Scheduled: Successfully assigned default/one to b"]


def test_pods_share_a_claim(cluster: Cluster) -> None:
    """Once it is allocated, others with it go where its devices are; who comes meanwhile waits."""
    cluster.create(resource_slice("b", ["gpu-0"]))
    cluster.create(claim("x"))
    for name in ("one", "two", "three"):
        cluster.create(pod(name, "x"))
    for name in ("one", "two", "three"):
        cluster.wait_for(f"pod/{name}", "PodScheduled")
        assert where(cluster, name) == "b"
    users = pod_devices.reservations(cluster.get("resourceclaim/x") or {})
    assert sorted(each["name"] for each in users) == ["one", "three", "two"]
    said = [line for name in ("one", "two", "three") for line in told(cluster, name)]
    why = "resource claim default/x is in the process of being allocated. no new claims to deallocate, preemption: "
    why += "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    waited = f"Warning FailedScheduling: 0/2 nodes are available: {why}"
    assert all(line.startswith("Normal Scheduled") or line == waited for line in said), said


def test_each_pod_of_a_template_gets_its_own(cluster: Cluster) -> None:
    """Four devices on two nodes for five pods: the fifth is told, and gets the device of one that goes."""
    for node in ("a", "b"):
        cluster.create(resource_slice(node, ["gpu-0", "gpu-1"]))
    cluster.create(template("t"))
    for number in range(5):
        cluster.create(pod(f"p{number}", made_from="t"))
    cluster.advance(5)
    waiting = [f"p{number}" for number in range(5) if not where(cluster, f"p{number}")]
    assert len(waiting) == 1
    why = f"0/2 nodes are available: 2 cannot allocate all claims. {STILL}"
    assert refusal(cluster, waiting[0]) == f"Unschedulable: {why}"
    assert told(cluster, waiting[0]) == [f"Warning FailedScheduling: {why}"]
    taken = [device for each in cluster.list("resourceclaim") for device in got(cluster, objects.name(each))]
    assert sorted(taken) == ["a/gpu-0", "a/gpu-1", "b/gpu-0", "b/gpu-1"]
    gone = next(f"p{number}" for number in range(5) if f"p{number}" not in waiting)
    cluster.delete(f"pod/{gone}")
    cluster.wait_for(f"pod/{waiting[0]}", "PodScheduled", 120)


def test_a_pod_waits_silently_for_its_claim(cluster: Cluster) -> None:
    """No condition and no event before the claim is there; then it is bound at once."""
    cluster.create(resource_slice("a", ["gpu-0"]))
    cluster.create(pod("one", "x"))
    cluster.advance(30)
    assert conditions.get(cluster.get("pod/one") or {}, "PodScheduled") is None
    assert told(cluster, "one") == []
    began = cluster.time
    cluster.create(claim("x"))
    cluster.wait_for("pod/one", "PodScheduled", 5)
    assert cluster.time - began < 1


def test_a_class_and_a_slice_come_late(cluster: Cluster) -> None:
    """The pod is told what is missing, and is tried again when it comes."""
    cluster.create(claim("x", {"name": "r", "exactly": {"deviceClassName": "late"}}))
    cluster.create(pod("one", "x"))
    missing = "request r: device class late does not exist. no new claims to deallocate, preemption: "
    missing += "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    assert refusal(cluster, "one") == f"Unschedulable: 0/2 nodes are available: {missing}"
    cluster.create(device_class("late"))
    cluster.advance(15)
    assert refusal(cluster, "one") == f"Unschedulable: 0/2 nodes are available: 2 cannot allocate all claims. {STILL}"
    cluster.create(resource_slice("a", ["gpu-0"]))
    cluster.wait_for("pod/one", "PodScheduled", 15)
    assert where(cluster, "one") == "a"


def test_a_selector_that_cannot_be_evaluated(cluster: Cluster) -> None:
    """That is an error, not a lack; a claim that is made right is tried."""
    cluster.create(resource_slice("a", ["gpu-0"]))
    expression = f'device.attributes["{DRIVER}"].model == "big"'
    cluster.create(claim("x", request(selectors=[{"cel": {"expression": expression}}])))
    cluster.create(pod("one", "x"))
    why = "claim default/x: selector #0: CEL runtime error: no such key: model"
    assert refusal(cluster, "one") == f'SchedulerError: running "DynamicResources" filter plugin: {why}'
    model = {"name": "gpu-0", "attributes": {"model": {"string": "big"}}}
    cluster.patch("resourceslice/a-gpu", {"spec": {"devices": [model]}})
    cluster.wait_for("pod/one", "PodScheduled", 30)


def test_an_idle_claim_that_is_elsewhere_is_taken_back(cluster: Cluster) -> None:
    """Nobody uses it any more, and its devices are not where the pod can go: it is allocated anew."""
    for node in ("a", "b"):
        cluster.create(resource_slice(node, ["gpu-0"]))
    cluster.create(claim("x"))
    cluster.create(pod("one", "x", nodeSelector={"kubernetes.io/hostname": "a"}))
    cluster.wait_for("pod/one", "PodScheduled")
    cluster.create(pod("two", "x", nodeSelector={"kubernetes.io/hostname": "b"}))
    lacking = "1 node(s) didn't match Pod's node affinity/selector, 1 resourceclaim not available on the node"
    assert refusal(cluster, "two").startswith(f"Unschedulable: 0/2 nodes are available: {lacking}. {STILL}")
    assert got(cluster, "x") == ["a/gpu-0"]
    cluster.delete("pod/one")
    cluster.wait_for("pod/two", "PodScheduled", 120)
    assert got(cluster, "x") == ["b/gpu-0"]


def test_the_best_alternative_decides_where_a_pod_goes(cluster: Cluster) -> None:
    """Both nodes would do; the one with what is named first is taken."""
    cluster.create(
        device_class("big", selectors=[{"cel": {"expression": f'device.attributes["{DRIVER}"].?big.orValue(false)'}}])
    )
    cluster.create(resource_slice("a", ["gpu-0"]))
    cluster.create(resource_slice("b", [{"name": "gpu-0", "attributes": {"big": {"bool": True}}}]))
    wishes = [{"name": "big", "deviceClassName": "big"}, {"name": "any", "deviceClassName": "gpu"}]
    for number in range(3):
        cluster.create(claim(f"x{number}", {"name": "r", "firstAvailable": wishes}))
        cluster.create(pod(f"p{number}", f"x{number}"))
        cluster.advance(2)
    assert [where(cluster, f"p{number}") for number in range(3)] == ["b", "a", ""]
    assert pod_devices.results(cluster.get("resourceclaim/x0") or {})[0]["request"] == "r/big"
    assert pod_devices.results(cluster.get("resourceclaim/x1") or {})[0]["request"] == "r/any"


def test_a_device_of_the_network_has_many_users(cluster: Cluster) -> None:
    """Each claim gets a share with an id; what is used up is told to the next."""
    capacity = {
        "bandwidth": {"value": "10G", "requestPolicy": {"default": "1G", "validRange": {"min": "1G", "step": "1G"}}}
    }
    cluster.create(resource_slice("", [{"name": "nic", "allowMultipleAllocations": True, "capacity": capacity}]))
    for number in range(3):
        cluster.create(claim(f"x{number}", request(capacity={"requests": {"bandwidth": "3500M"}})))
        cluster.create(pod(f"p{number}", f"x{number}"))
    cluster.advance(3)
    shares = [share for n in range(3) for share in pod_devices.results(cluster.get(f"resourceclaim/x{n}") or {})]
    assert [share["consumedCapacity"] for share in shares] == [{"bandwidth": "4G"}] * 2
    assert len({share["shareID"] for share in shares}) == 2
    assert sum(1 for n in range(3) if where(cluster, f"p{n}")) == 2
    assert "nodeSelector" not in (cluster.get("resourceclaim/x0") or {})["status"]["allocation"]


def test_a_tainted_device_is_left_alone(cluster: Cluster) -> None:
    """Until the driver takes the taint away."""
    tainted = {"name": "gpu-0", "taints": [{"key": "broken", "effect": "NoSchedule"}]}
    cluster.create(resource_slice("a", [tainted]))
    cluster.create(claim("x"))
    cluster.create(pod("one", "x"))
    assert "2 cannot allocate all claims" in refusal(cluster, "one")
    cluster.patch("resourceslice/a-gpu", {"spec": {"devices": [{"name": "gpu-0"}]}})
    cluster.wait_for("pod/one", "PodScheduled", 15)


def test_devices_stand_in_for_an_extended_resource(cluster: Cluster) -> None:
    """The scheduler makes the claim, and the pod is told which container got what."""
    cluster.create(device_class("fast", extendedResourceName="example.com/gpu"))
    cluster.create(resource_slice("b", ["gpu-0", "gpu-1", "gpu-2"]))
    made = trees.pod("one")
    amounts = {"example.com/gpu": "2", "cpu": "100m"}
    made["spec"]["containers"][0]["resources"] = {"requests": amounts, "limits": {"example.com/gpu": "2"}}
    cluster.create(made)
    cluster.wait_for("pod/one", "PodScheduled")
    assert where(cluster, "one") == "b"
    told = (cluster.get("pod/one") or {})["status"]["extendedResourceClaimStatus"]
    mapping = {"containerName": "main", "resourceName": "example.com/gpu", "requestName": "container-0-request-1"}
    assert told["requestMappings"] == [mapping]
    found = cluster.get("resourceclaim", told["resourceClaimName"]) or {}
    assert objects.name(found).startswith("one-extended-resources-")
    assert objects.annotations(found) == {pod_devices.EXTENDED_ANNOTATION: "true"}
    assert pod_devices.is_for(cluster.get("pod/one") or {}, found)
    wish = {"deviceClassName": "fast", "allocationMode": "ExactCount", "count": 2}
    assert found["spec"]["devices"]["requests"] == [{"name": "container-0-request-1", "exactly": wish}]
    assert got(cluster, objects.name(found)) == ["b/gpu-0", "b/gpu-1"]
    cluster.create({**made, "metadata": {"name": "two", "namespace": "default"}})
    assert "2 cannot allocate all claims" in refusal(cluster, "two")


def test_an_extended_resource_without_devices(cluster: Cluster) -> None:
    """Without a class behind it, nodes have to have it themselves."""
    made = trees.pod("one")
    made["spec"]["containers"][0]["resources"] = {
        "requests": {"example.com/gpu": "1"},
        "limits": {"example.com/gpu": "1"},
    }
    cluster.create(made)
    assert "2 Insufficient example.com/gpu" in refusal(cluster, "one")
    cluster.create(resource_slice("b", ["gpu-0"]))
    cluster.create(device_class("fast", extendedResourceName="example.com/gpu"))
    cluster.wait_for("pod/one", "PodScheduled", 15)


def test_a_class_is_an_extended_resource_by_its_own_name(cluster: Cluster) -> None:
    """Without a word in the class."""
    cluster.create(resource_slice("b", ["gpu-0"]))
    made = trees.pod("one")
    resource = "deviceclass.resource.kubernetes.io/gpu"
    made["spec"]["containers"][0]["resources"] = {"requests": {resource: "1"}, "limits": {resource: "1"}}
    cluster.create(made)
    cluster.wait_for("pod/one", "PodScheduled", 5)
    [found] = cluster.list("resourceclaim")
    assert got(cluster, objects.name(found)) == ["b/gpu-0"]


def attached(cluster: Cluster, name: str, **condition: str) -> None:
    """What the driver says of the only device of a claim."""
    result = pod_devices.results(cluster.get(f"resourceclaim/{name}") or {})[0]
    said = {"lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Said", "message": "", **condition}
    state = {field: result[field] for field in ("driver", "pool", "device")} | {"conditions": [said]}
    cluster.patch(f"resourceclaim/{name}", {"status": {"devices": [state]}}, subresource="status")


def fabric(name: str) -> Tree:
    conditions_ = {"bindingConditions": ["attached"], "bindingFailureConditions": ["broken"], "bindsToNode": True}
    return {"name": name, **conditions_}


def test_a_pod_waits_until_its_device_is_attached(cluster: Cluster) -> None:
    """It is told so, and bound when the driver says that it is."""
    cluster.create(resource_slice("", [fabric("f0")]))
    cluster.create(claim("x"))
    cluster.create(pod("one", "x"))
    cluster.advance(20)
    assert where(cluster, "one") == ""
    allocation = (cluster.get("resourceclaim/x") or {})["status"]["allocation"]
    node = allocation["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
    text = f"waiting for binding conditions for device on node {node}"
    assert told(cluster, "one") == [f"Normal BindingConditionsPending: {text}"]
    attached(cluster, "x", type="attached", status="True")
    cluster.wait_for("pod/one", "PodScheduled", 10)
    assert where(cluster, "one") == node


def test_a_device_that_is_never_attached_is_given_up(cluster: Cluster) -> None:
    """After ten minutes."""
    cluster.create(resource_slice("", [fabric("f0")]))
    cluster.create(claim("x"))
    cluster.create(pod("one", "x"))
    cluster.advance(602)
    why = 'running PreBind plugin "DynamicResources": device binding timeout'
    gone = "2 resourceclaim not available on the node. deallocation of ResourceClaim completed, preemption: "
    gone += "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    assert told(cluster, "one")[1:] == [
        f"Warning FailedScheduling: {why}",
        f"Warning FailedScheduling: 0/2 nodes are available: {gone}",
    ]
    cluster.delete("resourceslice/net-gpu")
    cluster.create(resource_slice("b", ["gpu-0"]))
    cluster.wait_for("pod/one", "PodScheduled", 60)
    assert got(cluster, "x") == ["b/gpu-0"]


def test_a_device_that_cannot_be_attached_is_given_up(cluster: Cluster) -> None:
    """The claim is taken back and gets another one."""
    cluster.create(resource_slice("", [fabric("f0")]))
    cluster.create(claim("x"))
    cluster.create(pod("one", "x"))
    cluster.advance(5)
    attached(cluster, "x", type="broken", status="True", message="no link")
    cluster.advance(0.5)
    why = 'claim x binding failed: reason=Said, message="no link"'
    assert refusal(cluster, "one") == f'SchedulerError: running PreBind plugin "DynamicResources": {why}'
    cluster.delete("resourceslice/net-gpu")
    cluster.create(resource_slice("b", ["gpu-0"]))
    cluster.wait_for("pod/one", "PodScheduled", 60)
    assert got(cluster, "x") == ["b/gpu-0"]
