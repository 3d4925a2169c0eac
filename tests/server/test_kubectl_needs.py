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


async def test_doors_of_later_versions_are_refused_by_name(api: Api) -> None:
    """And an unknown one is a 404 whose details are there, though empty: kubectl reads them."""
    await api.create(PODS, pod("a"))
    answer = await api.send("GET", f"{PODS}/a/portforward")
    assert answer.status == 405 and answer.tree["message"].startswith("port-forward")
    assert answer.tree["message"].endswith("is not available yet in this version of Sampan")
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


async def test_openapi_v2_in_protobuf(api: Api) -> None:
    """Every definition by name; what is neither JSON nor that protobuf is refused."""
    answer = await api.send("GET", "/openapi/v2", accept=openapi_protobuf.MEDIA)
    assert answer.status == 200 and answer.body.startswith(b"\x0a\x032.0")
    names = (await api.get("/openapi/v2"))["definitions"]
    assert all(name.encode() in answer.body for name in names)
    assert (await api.send("GET", "/openapi/v2", accept="text/html")).status == 406
