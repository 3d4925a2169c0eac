"""Dynamic resource allocation: classes, claims, templates and slices of devices."""

from typing import Any

import pytest

from tests.server import crud
from tests.server.conftest import Api

GROUP = "/apis/resource.k8s.io/v1"
CLASSES = f"{GROUP}/deviceclasses"
SLICES = f"{GROUP}/resourceslices"
CLAIMS = f"{GROUP}/namespaces/default/resourceclaims"
TEMPLATES = f"{GROUP}/namespaces/default/resourceclaimtemplates"

Tree = dict[str, Any]


def resource(kind: str, name: str, spec: Tree) -> Tree:
    return {"kind": kind, "apiVersion": "resource.k8s.io/v1", "metadata": {"name": name}, "spec": spec}


def claim_spec(**request: Any) -> Tree:
    return {"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "my-class", **request}}]}}


def slice_spec(**device: Any) -> Tree:
    pool = {"name": "pool", "generation": 1, "resourceSliceCount": 1}
    return {"driver": "dra.example.com", "nodeName": "n1", "pool": pool, "devices": [{"name": "dev-0", **device}]}


async def test_a_class_of_devices_lives(api: Api) -> None:
    """Conformance 340: a DeviceClass through all verbs, its spec counted in generations."""
    await crud.walk(api, CLASSES, resource("DeviceClass", "my-class", {}), {})
    made = await api.create(CLASSES, resource("DeviceClass", "my-class", {}))
    assert made["metadata"]["generation"] == 1
    selector = {"cel": {"expression": 'device.driver == "dra.example.com"'}}
    patched = await api.patch(f"{CLASSES}/my-class", {"spec": {"selectors": [selector]}})
    assert patched.tree["metadata"]["generation"] == 2


async def test_a_claim_lives(api: Api) -> None:
    """Conformance 341: a ResourceClaim through all verbs; a request is for one device; the wish stays."""
    await crud.walk(api, CLAIMS, resource("ResourceClaim", "c", claim_spec()), {})
    made = await api.create(CLAIMS, resource("ResourceClaim", "c", claim_spec()) | {"status": {"reservedFor": []}})
    exactly = made["spec"]["devices"]["requests"][0]["exactly"]
    assert (exactly["allocationMode"], exactly["count"]) == ("ExactCount", 1)
    assert not made.get("status")
    answer = await api.patch(f"{CLAIMS}/c", {"spec": claim_spec(count=2)})
    assert answer.status == 422 and "spec: Invalid value" in answer.tree["message"]
    assert answer.tree["message"].endswith("field is immutable")


async def test_a_claims_state_is_written_apart(api: Api) -> None:
    """Conformance 341: resourceclaims/status; what is allocated stays until it is given back, and its state with it."""
    await api.create(CLAIMS, resource("ResourceClaim", "c", claim_spec()))
    consumer = {"resource": "pods", "name": "p", "uid": "u"}
    answer = await api.patch(f"{CLAIMS}/c/status", {"status": {"reservedFor": [consumer]}})
    assert "status.reservedFor: Forbidden: may not be specified when `allocated` is not set" in answer.tree["message"]
    result = {"request": "req-0", "driver": "dra.example.com", "pool": "pool", "device": "dev-0"}
    device = {k: v for k, v in result.items() if k != "request"}
    allocated = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer], "devices": [device]}
    patched = await api.patch(f"{CLAIMS}/c/status", {"status": allocated})
    assert patched.status == 200 and patched.tree["status"]["allocation"]["devices"]["results"] == [result]
    table = await api.send("GET", CLAIMS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert table.tree["rows"][0]["cells"] == ["c", "allocated,reserved", "0s"]
    moved = {"allocation": {"devices": {"results": [{**result, "device": "dev-1"}]}}}
    answer = await api.patch(f"{CLAIMS}/c/status", {"status": moved})
    assert answer.status == 422 and "status.allocation: Invalid value" in answer.tree["message"]
    freed = await api.patch(f"{CLAIMS}/c/status", {"status": {"allocation": None, "reservedFor": None}})
    assert freed.status == 200 and "devices" not in freed.tree["status"]


async def test_a_template_lives(api: Api) -> None:
    """Conformance 342: a ResourceClaimTemplate through all verbs; it stays."""
    made = resource("ResourceClaimTemplate", "t", {"metadata": {"labels": {"a": "b"}}, "spec": claim_spec()})
    await crud.walk(api, TEMPLATES, made, {})
    await api.create(TEMPLATES, made)
    answer = await api.patch(f"{TEMPLATES}/t", {"spec": {"metadata": {"labels": {"a": "c"}}}})
    assert answer.status == 422 and "field is immutable" in answer.tree["message"]
    named = resource("ResourceClaimTemplate", "u", {"metadata": {"name": "x"}, "spec": claim_spec()})
    answer = await api.send("POST", TEMPLATES, named)
    assert "spec.metadata.name: Forbidden: cannot be set" in answer.tree["message"]


async def test_a_slice_lives(api: Api) -> None:
    """Conformance 343: a ResourceSlice through all verbs, found by node and driver; driver, node and pool stay."""
    device = {"attributes": {"model": {"string": "a"}}, "capacity": {"memory": {"value": "1Gi"}}}
    await crud.walk(api, SLICES, resource("ResourceSlice", "s", slice_spec(**device)), {})
    made = await api.create(SLICES, resource("ResourceSlice", "s", slice_spec(**device)))
    assert made["metadata"]["generation"] == 1
    for selector, count in (("spec.nodeName=n1", 1), ("spec.driver=dra.example.com", 1), ("spec.nodeName=n2", 0)):
        found = await api.get(f"{SLICES}?fieldSelector={selector}")
        assert len(found["items"]) == count
    for field, value in (("nodeName", "n2"), ("driver", "b.example.com"), ("pool", {"name": "other"})):
        answer = await api.patch(f"{SLICES}/s", {"spec": {field: value}})
        assert answer.status == 422 and "field is immutable" in answer.tree["message"]
    tainted = slice_spec(taints=[{"key": "a.b/c", "effect": "NoExecute"}])
    made = await api.create(SLICES, resource("ResourceSlice", "t", tainted))
    assert made["spec"]["devices"][0]["taints"][0]["timeAdded"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            {"selectors": [{"cel": {"expression": "device.x"}}]},
            "compilation failed: ERROR: <input>:1:7: undefined field 'x'",
        ),
        ({"selectors": [{"cel": {"expression": "1"}}]}, "must evaluate to bool or the unknown type, not int"),
        ({"selectors": [{}]}, "spec.devices.requests[0].exactly.selectors[0].cel: Required value"),
        ({"allocationMode": "Some"}, 'Unsupported value: "Some": supported values: "All", "ExactCount"'),
        ({"allocationMode": "All", "count": 1}, "must not be specified when allocationMode is 'All'"),
        ({"deviceClassName": ""}, "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        ({"tolerations": [{"operator": "Exists", "value": "a"}]}, "must be empty for operator `Exists`"),
        (
            {"adminAccess": True},
            "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label",
        ),
    ],
)
async def test_a_bad_wish_is_refused(api: Api, request_: Tree, text: str) -> None:
    """In the reference server's words; expressions are compiled."""
    answer = await api.send("POST", CLAIMS, resource("ResourceClaim", "c", claim_spec(**request_)))
    assert answer.status == 422 and text in answer.tree["message"], answer.tree["message"]


async def test_good_expressions_compile(api: Api) -> None:
    """Attributes, capacities, versions and quantities are there to be asked for."""
    expressions = (
        'device.driver == "a" && device.attributes["a"].model == "b" && device.allowMultipleAllocations == true',
        'device.capacity["a"].memory.compareTo(quantity("1Gi")) >= 0',
        'device.attributes["a"].version.isGreaterThan(semver("1.0.0"))',
        'device.attributes["a"].?model.orValue("b") == "b"',
        'cel.bind(dra, device.attributes["a"], dra.healthy)',
    )
    selectors = [{"cel": {"expression": expression}} for expression in expressions]
    await api.create(CLASSES, resource("DeviceClass", "c", {"selectors": selectors}))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            slice_spec() | {"nodeName": None},
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`",
        ),
        (slice_spec() | {"allNodes": True}, "is required, but multiple fields are set"),
        (
            slice_spec() | {"pool": {"name": "p"}},
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
        ),
        (slice_spec() | {"devices": [{"name": "a"}, {"name": "a"}]}, 'spec.devices[1]: Duplicate value: "a"'),
        (
            slice_spec(attributes={"a": {}}),
            'spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be',
        ),
        (slice_spec(attributes={"a-b": {"int": 1}}), "a valid C identifier must start with alphabetic character"),
        (slice_spec(attributes={"v": {"version": "1"}}), "must be a string compatible with semver.org spec 2.0.0"),
        (
            slice_spec(nodeName="a"),
            "can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ),
        (slice_spec(taints=[{"key": "a"}]), "spec.devices[0].taints[0].effect: Required value"),
        (slice_spec(capacity={"m": {"value": "1", "requestPolicy": {}}}), "allowMultipleAllocations must be true"),
    ],
)
async def test_a_bad_slice_is_refused(api: Api, spec: Tree, text: str) -> None:
    """In the reference server's words."""
    answer = await api.send("POST", SLICES, resource("ResourceSlice", "s", spec))
    assert answer.status == 422 and text in answer.tree["message"], answer.tree["message"]
