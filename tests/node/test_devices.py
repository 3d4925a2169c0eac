"""A pod starts only with devices that are its own, and whose drivers are on the node."""

import dataclasses
from typing import Any

import pytest

from sampan.node import devices
from sampan.node.parts import Parts
from sampan.node.volumes.failure import VolumeFailure

Tree = dict[str, Any]

START = "Failed to prepare dynamic resources: prepare dynamic resources:"
ON_A_REAL_NODE: Any = next(field for field in dataclasses.fields(Parts) if field.name == "has_driver").default


def pod(*claims: Tree, **status: Any) -> Tree:
    metadata = {"name": "web", "namespace": "default", "uid": "1"}
    return {"metadata": metadata, "spec": {"resourceClaims": list(claims)}, "status": status}


def claim(
    name: str = "gpu", owner: str = "", users: tuple[str, ...] = ("1",), drivers: tuple[str, ...] = ("d",)
) -> Tree:
    owners = [{"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": owner, "controller": True}] if owner else []
    status: Tree = {"reservedFor": [{"resource": "pods", "name": "web", "uid": user} for user in users]}
    results = [{"request": "r", "driver": driver, "pool": "n", "device": "x"} for driver in drivers]
    status["allocation"] = {"devices": {"results": results}}
    metadata = {"name": name, "namespace": "default", "uid": "c", "ownerReferences": owners}
    return {"metadata": metadata, "status": status}


SHARED = {"name": "gpu", "resourceClaimName": "gpu"}
MADE = {"name": "gpu", "resourceClaimTemplateName": "t"}
TOLD = {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "web-gpu-x"}]}


@pytest.mark.parametrize(
    ("which", "claims", "why"),
    [
        (pod(SHARED), [], 'fetch ResourceClaim gpu: resourceclaims.resource.k8s.io "gpu" not found'),
        (pod(SHARED), [claim(users=("2",))], "pod web (1) is not allowed to use ResourceClaim gpu (c)"),
        (pod(SHARED), [claim(drivers=("here", "gone"))], "DRA driver gone is not registered"),
        (pod(MADE), [], 'pod "default/web": ResourceClaim not created yet'),
        (
            pod(MADE, **TOLD),
            [claim("web-gpu-x", owner="2")],
            "ResourceClaim default/web-gpu-x was not created for pod default/web (pod is not owner)",
        ),
        (
            pod(extendedResourceClaimStatus={"resourceClaimName": "web-extended"}),
            [claim("web-extended", owner="1", drivers=("gone",))],
            "DRA driver gone is not registered",
        ),
    ],
)
def test_why_a_pod_can_not_start(which: Tree, claims: list[Tree], why: str) -> None:
    """In the kubelet's words."""
    with pytest.raises(VolumeFailure) as failure:
        devices.check(which, {each["metadata"]["name"]: each for each in claims}, lambda driver: driver != "gone")
    assert failure.value.reason == "FailedPrepareDynamicResources"
    assert str(failure.value) == f"{START} {why}"


def test_what_a_pod_can_start_with() -> None:
    """Its own devices, shared ones, and none where none is needed."""
    none_needed = {"resourceClaimStatuses": [{"name": "gpu"}]}
    devices.check(pod(SHARED), {"gpu": claim(users=("2", "1"))}, lambda driver: True)
    devices.check(pod(MADE, **TOLD), {"web-gpu-x": claim("web-gpu-x", owner="1")}, lambda driver: True)
    devices.check(pod(MADE, **none_needed), {}, ON_A_REAL_NODE)
    devices.check(pod(), {}, ON_A_REAL_NODE)


def test_a_node_without_drivers_starts_none() -> None:
    """Which a real node is."""
    with pytest.raises(VolumeFailure, match="DRA driver d is not registered"):
        devices.check(pod(SHARED), {"gpu": claim()}, ON_A_REAL_NODE)
