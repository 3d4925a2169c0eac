"""What kubectl relies on beside plain objects: evictions, refusals by name, Tables of scales, OpenAPI in protobuf."""

from typing import Any

import pytest

from sampan.server import openapi_protobuf
from tests.server.conftest import Api, config_map, deployment, pod

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def test_an_eviction_deletes(api: Api) -> None:
    """With its delete options; a dry run does not; another pod's name is refused."""
    await api.create(PODS, pod("a"))
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "a"}}
    other = await api.send("POST", f"{PODS}/a/eviction", {**eviction, "metadata": {"name": "b"}})
    assert other.status == 400
    dry = await api.send("POST", f"{PODS}/a/eviction", {**eviction, "deleteOptions": {"dryRun": ["All"]}})
    assert (dry.status, dry.tree["status"]) == (201, "Success")
    await api.get(f"{PODS}/a")
    done = await api.send("POST", f"{PODS}/a/eviction", {**eviction, "deleteOptions": {"gracePeriodSeconds": 0}})
    assert (done.status, done.tree["code"]) == (201, 201)
    assert (await api.send("GET", f"{PODS}/a")).status == 404


async def test_discovery_offers_evictions(api: Api) -> None:
    """kubectl drain looks for the subresource with its group, version and kind."""
    listed = (await api.get("/api/v1"))["resources"]
    (eviction,) = [entry for entry in listed if entry["name"] == "pods/eviction"]
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")


async def test_unknown_doors_are_not_found(api: Api) -> None:
    """With details, though empty: kubectl reads them."""
    await api.create(PODS, pod("a"))
    answer = await api.send("GET", f"{PODS}/a/nope")
    assert (answer.status, answer.tree["details"]) == (404, {})


async def test_a_dry_run_makes_no_revision(api: Api) -> None:
    """What would be created has a uid, but no resourceVersion."""
    answer = await api.send("POST", f"{MAPS}?dryRun=All", config_map("a", k="v"))
    assert answer.status == 201
    assert answer.tree["metadata"]["uid"] and "resourceVersion" not in answer.tree["metadata"]


async def test_empty_metadata_is_not_kept(api: Api) -> None:
    """Maps and lists without entries are as good as none."""
    made = config_map("a")
    made["metadata"] |= {"labels": {}, "annotations": {"k": "v"}, "finalizers": []}
    created = await api.create(MAPS, made)
    assert not {"labels", "finalizers"} & set(created["metadata"])
    patched = await api.patch(f"{MAPS}/a", {"metadata": {"annotations": {"k": None}}})
    assert patched.status == 200 and "annotations" not in patched.tree["metadata"]


async def test_a_scale_is_printed_as_a_scale(api: Api) -> None:
    """Not with the columns of the object that it scales."""
    await api.create(DEPLOYMENTS, deployment("d", 3))
    table = await api.get(f"{DEPLOYMENTS}/d/scale", accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["d", 3, 0]


async def test_a_patch_cannot_take_the_kind(api: Api) -> None:
    """Without kind and apiVersion the object is what it was."""
    await api.create(MAPS, config_map("a", k="v"))
    answer = await api.patch(f"{MAPS}/a", {"kind": None, "apiVersion": None, "data": {"k": "w"}})
    assert (answer.status, answer.tree["kind"], answer.tree["data"]) == (200, "ConfigMap", {"k": "w"})


METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def fields(data: bytes, wanted: int) -> list[bytes]:
    """What a message has under one number, where that is delimited."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            number()
            continue
        length = number()
        if key >> 3 == wanted:
            found.append(data[at : at + length])
        at += length
    return found


async def test_openapi_v2_in_protobuf(api: Api) -> None:
    """Every definition by name; what is neither JSON nor that protobuf is refused."""
    answer = await api.send("GET", "/openapi/v2", accept=openapi_protobuf.MEDIA)
    assert answer.status == 200 and answer.body.startswith(b"\x0a\x032.0")
    document = await api.get("/openapi/v2")
    assert all(name.encode() in answer.body for name in document["definitions"])
    (paths,) = fields(answer.body, 8)
    found = {fields(entry, 1)[0].decode(): fields(entry, 2)[0] for entry in fields(paths, 2)}
    assert found.keys() == document["paths"].keys()
    for path, item in document["paths"].items():
        for method, number in METHODS.items():
            assert bool(fields(found[path], number)) is (method in item), (path, method)
    (connect,) = fields(found["/api/v1/namespaces/{namespace}/pods/{name}/exec"], METHODS["post"])
    said = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"]
    assert fields(connect, 5) == [said["operationId"].encode()]
    assert b"x-kubernetes-action" in connect and b'"connect"' in connect
    (patch,) = fields(found["/api/v1/namespaces/{namespace}/configmaps/{name}"], METHODS["patch"])
    queries = [fields(fields(fields(one, 1)[0], 2)[0], 3) for one in fields(patch, 8) if fields(fields(one, 1)[0], 2)]
    assert [b"dryRun"] in [fields(query[0], 4) for query in queries]
    assert (await api.send("GET", "/openapi/v2", accept="text/html")).status == 406


async def test_zero_is_any_resource_version(api: Api) -> None:
    """Which a replacement says that does not care what it replaces."""
    await api.create(MAPS, config_map("a", k="1"))
    body = config_map("a", k="2")
    body["metadata"]["resourceVersion"] = "0"
    assert (await api.put(f"{MAPS}/a", body))["data"] == {"k": "2"}
    patched = await api.patch(f"{MAPS}/a", {"metadata": {"resourceVersion": "0"}, "data": {"k": "3"}})
    assert (patched.status, patched.tree["data"]) == (200, {"k": "3"})
    body["metadata"]["resourceVersion"] = "1"
    assert (await api.send("PUT", f"{MAPS}/a", body)).status == 409


async def test_a_pod_is_replaced_by_what_made_it(api: Api) -> None:
    """Though the manifest says nothing of what admission added: tolerations, priority."""
    made = pod("a", serviceAccountName="default", activeDeadlineSeconds=60)
    first = await api.create(PODS, made)
    made["spec"] |= {"activeDeadlineSeconds": 50}
    assert not {"tolerations", "priority"} & set(made["spec"])
    replaced = await api.put(f"{PODS}/a", made)
    assert replaced["spec"] == {**first["spec"], "activeDeadlineSeconds": 50}


async def test_a_body_of_another_type(api: Api) -> None:
    """400, which names both types, or the one that nobody knows."""
    lead = 'Pod in version "v1" cannot be handled as a ConfigMap: '
    answer = await api.send("POST", MAPS, pod("a"))
    assert (answer.status, answer.tree["message"]) == (
        400,
        lead + "converting (v1.Pod) to (core.ConfigMap): unknown conversion",
    )
    answer = await api.send("POST", DEPLOYMENTS, {**pod("a"), "kind": "Podd"})
    why = 'no kind "Podd" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    assert answer.tree["message"] == f'Podd in version "v1" cannot be handled as a Deployment: {why}'


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases", {"kind": "Lease", "spec": {}}),
        ("/apis/policy/v1/namespaces/default/poddisruptionbudgets", {"kind": "PodDisruptionBudget", "spec": {}}),
        ("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {"kind": "ValidatingWebhookConfiguration"}),
        ("/apis/node.k8s.io/v1/runtimeclasses", {"kind": "RuntimeClass", "handler": "x"}),
        ("/apis/storage.k8s.io/v1/csidrivers", {"kind": "CSIDriver", "spec": {}}),
    ],
)  # fmt: skip
async def test_kinds_that_are_not_replaced_blindly(api: Api, path: str, made: dict[str, Any]) -> None:
    """Leases, budgets, webhooks and some more: a replacement says which version it is of. Zero, too, is none."""
    made |= {"apiVersion": "/".join(path.split("/")[2:4]), "metadata": {"name": "a"}}
    first = await api.create(path, made)
    for version in ({}, {"resourceVersion": "0"}):
        refused = await api.send("PUT", f"{path}/a", {**made, "metadata": {"name": "a", **version}})
        assert refused.status == 422, refused.body
        assert (
            "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in refused.tree["message"]
        )
    first["metadata"]["labels"] = {"a": "b"}
    assert (await api.put(f"{path}/a", first))["metadata"]["labels"] == {"a": "b"}
