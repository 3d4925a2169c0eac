"""What kubectl relies on beside plain objects: evictions, refusals by name, Tables of scales, OpenAPI in protobuf."""

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
