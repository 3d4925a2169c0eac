"""Lists, pages, selectors, Tables and watches, as any client sees them."""

import asyncio
from typing import Any

import orjson
import pytest

from sampan.server import reads
from sampan.web.message import Request
from tests.server.conftest import ADMIN, Api, config_map, deployment, pod

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


async def fill(api: Api, count: int) -> None:
    await asyncio.gather(*(api.create(MAPS, config_map(f"m{i:03}")) for i in range(count)))


async def test_pages_are_one_consistent_list(api: Api) -> None:
    """Same resourceVersion on all pages, exact remaining counts, name order, writes in between unseen."""
    await fill(api, 7)
    first = await api.get(f"{MAPS}?limit=3")
    assert first["metadata"]["remainingItemCount"] == 4
    await api.create(MAPS, config_map("m999"))
    await api.delete(f"{MAPS}/m006")
    names, page = [m["metadata"]["name"] for m in first["items"]], first
    while page["metadata"].get("continue"):
        page = await api.get(f"{MAPS}?limit=3&continue={page['metadata']['continue']}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [m["metadata"]["name"] for m in page["items"]]
    assert names == [f"m{i:03}" for i in range(7)]
    assert "remainingItemCount" not in page["metadata"]


async def test_made_up_continue_tokens_are_refused(api: Api) -> None:
    """Edited tokens, and tokens of another list."""
    await fill(api, 3)
    token = (await api.get(f"{MAPS}?limit=1"))["metadata"]["continue"]
    assert (await api.send("GET", f"{MAPS}?limit=1&continue=abc")).status == 400
    assert (await api.send("GET", f"{MAPS}?limit=1&continue=A{token[1:]}")).status in (200, 400)
    assert (await api.send("GET", f"/api/v1/secrets?limit=1&continue={token}")).status == 400


async def test_selectors_choose(api: Api) -> None:
    """Labels and fields; unknown fields are refused."""
    for name, label in (("a", "x"), ("b", "y")):
        labelled = pod(name, nodeName=f"n-{name}")
        labelled["metadata"]["labels"] = {"l": label}
        await api.create(PODS, labelled)

    async def names(query: str) -> list[str]:
        return [p["metadata"]["name"] for p in (await api.get(f"/api/v1/pods?{query}"))["items"]]

    assert await names("labelSelector=l=x") == ["a"]
    assert await names("labelSelector=l in (x,y),l!=x") == ["b"]
    assert await names("fieldSelector=spec.nodeName=n-b") == ["b"]
    assert await names("fieldSelector=metadata.name=a,metadata.namespace=default") == ["a"]
    assert await names("fieldSelector=status.phase!=Pending") == []
    assert (await api.send("GET", f"{PODS}?fieldSelector=spec.nope=1")).status == 400
    assert (await api.send("GET", f"{PODS}?labelSelector=a%in")).status == 400


async def test_resource_versions_are_checked(api: Api) -> None:
    """The future is a 504, nonsense a 400; Exact reads the past."""
    old = (await api.get(MAPS))["metadata"]["resourceVersion"]
    await fill(api, 1)
    assert (await api.get(f"{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact"))["items"] == []
    assert len((await api.get(f"{MAPS}?resourceVersion={old}"))["items"]) == 1
    assert (await api.send("GET", f"{MAPS}?resourceVersion=999999")).status == 504
    assert (await api.send("GET", f"{MAPS}?resourceVersion=-1")).status == 400
    assert (await api.send("GET", f"{MAPS}?resourceVersion=x")).status == 400
    assert (await api.send("GET", f"{MAPS}?resourceVersionMatch=Exact")).status == 422


async def test_tables_have_the_kinds_columns(api: Api) -> None:
    """What kubectl get asks for."""
    await api.create("/apis/apps/v1/namespaces/default/deployments", deployment("web", 2))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = await api.get("/apis/apps/v1/namespaces/default/deployments", accept=accept)
    assert table["kind"] == "Table"
    assert [c["name"] for c in table["columnDefinitions"] if not c["priority"]] == [
        "Name", "Ready", "Up-to-date", "Available", "Age",
    ]  # fmt: skip
    assert table["rows"][0]["cells"][:4] == ["web", "0/2", 0, 0]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = await api.get(MAPS, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    assert partial["kind"] == "PartialObjectMetadataList"


async def test_a_table_of_one_object_has_its_version(api: Api) -> None:
    """Whether it is asked for by name or comes from a watch."""
    made = (await api.create(MAPS, config_map("a")))["metadata"]["resourceVersion"]
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = await api.get(f"{MAPS}/a", accept=accept)
    (event,) = await watched(api, f"{MAPS}?fieldSelector=metadata.name=a", 1, accept)
    assert table["metadata"] == event["object"]["metadata"] == {"resourceVersion": made}


async def watched(api: Api, path: str, count: int, accept: str = "*/*") -> list[dict[str, Any]]:
    """The first events of a watch, over the in-process door (the stream is the same bytes)."""
    path, _, query = path.partition("?")
    pairs = tuple(tuple(part.partition("=")[::2]) for part in query.split("&") if part)
    headers = {"accept": accept}
    response = await api.app.handle(Request("GET", path, (("watch", "true"), *pairs), headers, b"", ADMIN))
    events: list[dict[str, Any]] = []
    if isinstance(response.body, bytes):
        return [orjson.loads(response.body)]
    async for chunk in response.body:
        events += [orjson.loads(line) for line in chunk.splitlines()]
        if len(events) >= count:
            break
    await response.body.aclose()
    return events


async def test_a_watch_resumes_without_gaps(api: Api) -> None:
    """From a revision: every later event, in order, and no other."""
    start = (await api.create(MAPS, config_map("a", k="0")))["metadata"]["resourceVersion"]
    await api.patch(f"{MAPS}/a", {"data": {"k": "1"}})
    await api.create(MAPS, config_map("b"))
    await api.delete(f"{MAPS}/a")
    events = await watched(api, f"{MAPS}?resourceVersion={start}", 3)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
        ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a"),
    ]  # fmt: skip
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(set(versions))


async def test_a_watch_follows_its_selector(api: Api) -> None:
    """DELETED when an object stops matching, ADDED when it matches again."""
    start = (await api.get(MAPS))["metadata"]["resourceVersion"]
    labelled = config_map("a")
    labelled["metadata"]["labels"] = {"l": "x"}
    await api.create(MAPS, labelled)
    await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"l": "y"}}})
    await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"l": "x"}}})
    events = await watched(api, f"{MAPS}?resourceVersion={start}&labelSelector=l=x", 3)
    assert [e["type"] for e in events] == ["ADDED", "DELETED", "ADDED"]


async def test_a_watch_starts_with_what_is_there(api: Api) -> None:
    """Without a revision: synthetic ADDED events; with sendInitialEvents: a bookmark behind them."""
    await fill(api, 2)
    assert [e["type"] for e in await watched(api, MAPS, 2)] == ["ADDED", "ADDED"]
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = await watched(api, f"{MAPS}?{query}", 3)
    assert [e["type"] for e in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (await api.send("GET", f"{MAPS}?watch=true&sendInitialEvents=true")).status == 422


async def test_a_watch_ends_at_its_timeout(api: Api) -> None:
    """timeoutSeconds ends the stream, with a bookmark for those who asked."""
    answer = await api.send("GET", f"{MAPS}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true")
    assert answer.status == 200
    assert [orjson.loads(line)["type"] for line in answer.body.splitlines()] == ["BOOKMARK"]


test_a_watch_ends_at_its_timeout = pytest.mark.slow(test_a_watch_ends_at_its_timeout)


async def test_documents_for_kubectl(api: Api) -> None:
    """Version, health, discovery plain and aggregated, OpenAPI."""
    assert (await api.get("/version"))["minor"] == "36"
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await api.send("GET", path)).body == b"ok"
    assert (await api.get("/api"))["versions"] == ["v1"]
    assert "apps" in [g["name"] for g in (await api.get("/apis"))["groups"]]
    names = {r["name"] for r in (await api.get("/api/v1"))["resources"]}
    assert {"pods", "pods/log", "pods/exec", "pods/binding", "services", "serviceaccounts/token"} <= names
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    assert (await api.get("/apis", accept=accept))["kind"] == "APIGroupDiscoveryList"
    index = await api.get("/openapi/v3")
    assert "apis/apps/v1" in index["paths"]
    document = await api.get("/openapi/v3/apis/apps/v1")
    assert "io.k8s.api.apps.v1.Deployment" in document["components"]["schemas"]
    assert (await api.send("GET", "/nope")).status == 404


@pytest.mark.parametrize("accept", ["application/json", METADATA])
async def test_a_list_in_process_is_the_servers_own_trees(api: Api, accept: str) -> None:
    """Whoever takes trees gets what the server has decoded already, once for all; it says what the bytes say."""
    await api.create(MAPS, config_map("a", key="value"))
    headers = {"accept": accept}
    told = await api.send("GET", MAPS, accept=accept)
    found = [
        (await api.app.handle(Request("GET", MAPS, headers=headers, peer=ADMIN, takes_trees=True))).body for _ in "12"
    ]
    assert isinstance(found[0], dict)
    assert isinstance(found[1], dict)
    said = dict(found[0])
    if accept != METADATA:
        said["items"] = [reads.untyped(item) for item in said["items"]]
    assert said == told.tree | {"metadata": {"resourceVersion": found[0]["metadata"]["resourceVersion"]}}
    assert found[0]["items"][0]["metadata"] is found[1]["items"][0]["metadata"]
