"""The conformance tests of reads that need nothing but the API: discovery, chunks, watches, tables, version.

A number is the test's position in upstream's list of conformance tests.
"""

import asyncio
import re
from typing import Any

import orjson
import pytest

from sampan.meta.wire import protobuf
from tests.server.conftest import Api, config_map

Tree = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NEEDED_GROUPS = {
    "admissionregistration.k8s.io/v1", "apiextensions.k8s.io/v1", "apiregistration.k8s.io/v1", "apps/v1",
    "authentication.k8s.io/v1", "authorization.k8s.io/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1",
    "certificates.k8s.io/v1", "coordination.k8s.io/v1", "discovery.k8s.io/v1", "events.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1", "networking.k8s.io/v1", "node.k8s.io/v1", "policy/v1",
    "rbac.authorization.k8s.io/v1", "resource.k8s.io/v1", "scheduling.k8s.io/v1", "storage.k8s.io/v1",
}  # fmt: skip


async def test_aggregated_discovery_names_every_resource(api: Api) -> None:
    """24, 26: /api and /apis answer in one document when asked for it, with the same resources as plain discovery."""
    for path in ("/api", "/apis"):
        answer = await api.send("GET", path, accept=AGGREGATED)
        assert answer.headers["content-type"] == AGGREGATED
        document = answer.tree
        assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
        for group in document["items"]:
            for version in group["versions"]:
                name = group["metadata"].get("name", "")
                where = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                plain = {r["name"] for r in (await api.get(where))["resources"] if "/" not in r["name"]}
                assert {r["resource"] for r in version["resources"]} == plain
    both = await api.send("GET", "/apis", accept=f"{AGGREGATED},application/json")
    assert both.tree["kind"] == "APIGroupDiscoveryList"
    old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
    assert (await api.send("GET", "/apis", accept=old)).tree["kind"] == "APIGroupList"


async def test_each_group_has_its_versions(api: Api) -> None:
    """47, 48: every group that upstream serves by default, each with a preferred version that it lists."""
    groups = (await api.get("/apis"))["groups"]
    assert {v["groupVersion"] for g in groups for v in g["versions"]} >= NEEDED_GROUPS
    for group in groups:
        assert group["preferredVersion"] in group["versions"]
        assert await api.get(f"/apis/{group['name']}") == {"kind": "APIGroup", "apiVersion": "v1", **group}
        for version in group["versions"]:
            listed = await api.get(f"/apis/{version['groupVersion']}")
            assert listed["groupVersion"] == version["groupVersion"]
            assert listed["resources"]


async def test_chunks_of_a_large_list(api: Api) -> None:
    """86: limit and continue walk 40 objects in order, at one revision, with exact remaining counts."""
    await asyncio.gather(*(api.create(MAPS, config_map(f"chunk-{i:04}")) for i in range(40)))
    names, token, revisions = [], "", set()
    while True:
        page = await api.get(f"{MAPS}?limit=17&continue={token}")
        names += [item["metadata"]["name"] for item in page["items"]]
        revisions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        if not token:
            break
        assert len(page["items"]) == 17
        assert page["metadata"]["remainingItemCount"] == 40 - len(names)
    assert "remainingItemCount" not in page["metadata"]
    assert names == [f"chunk-{i:04}" for i in range(40)]
    assert len(revisions) == 1


async def test_an_old_token_is_told_apart_and_renewed(api: Api) -> None:
    """87: after compaction a token gets 410 with a new token, by which the rest can be read, inconsistently."""
    await asyncio.gather(*(api.create(MAPS, config_map(f"chunk-{i:04}")) for i in range(10)))
    first = await api.get(f"{MAPS}?limit=4")
    await api.create(MAPS, config_map("chunk-9999"))
    store = api.app.cache._store
    await store.compact(await store.revision())
    answer = await api.send("GET", f"{MAPS}?limit=4&continue={first['metadata']['continue']}")
    assert (answer.status, answer.tree["reason"]) == (410, "Expired")
    fresh = answer.tree["metadata"]["continue"]
    rest = await api.get(f"{MAPS}?continue={fresh}")
    assert [i["metadata"]["name"] for i in rest["items"]] == [f"chunk-{i:04}" for i in (4, 5, 6, 7, 8, 9, 9999)]
    assert rest["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


async def test_no_table_of_what_has_no_metadata(api: Api) -> None:
    """88: a review is no row of anything."""
    review = {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}},
    }
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await api.send("POST", path, review, accept=accept)
    assert (answer.status, answer.tree["reason"]) == (406, "NotAcceptable")


async def test_the_version(api: Api) -> None:
    """98: major and minor are numbers."""
    version = await api.get("/version")
    assert (version["major"], version["minor"]) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")
    assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", version["gitCommit"])
    assert {"gitTreeState", "buildDate", "goVersion", "compiler", "platform"} <= set(version)


async def events(api: Api, query: str, count: int) -> list[Tree]:
    """The first events of a watch, read from the server's own stream."""
    from tests.server.test_reads import watched

    return await watched(api, f"{MAPS}?{query}", count)


async def labelled(api: Api, name: str, value: str, **data: str) -> str:
    """Creates or changes an object with a label; returns its revision."""
    body = config_map(name, **data)
    body["metadata"]["labels"] = {"watch-this": value}
    if (await api.send("GET", f"{MAPS}/{name}")).status == 404:
        made = await api.create(MAPS, body)
    else:
        made = await api.put(f"{MAPS}/{name}", body)
    return str(made["metadata"]["resourceVersion"])


async def test_watchers_see_their_label_only(api: Api) -> None:
    """95: three watchers with different selectors each see adds, updates and deletes of theirs."""
    start = (await api.get(MAPS))["metadata"]["resourceVersion"]
    for value in ("a", "b"):
        await labelled(api, value, value)
        await labelled(api, value, value, mutation="1")
        await api.delete(f"{MAPS}/{value}")
    for selector, names in (("watch-this=a", ["a"]), ("watch-this=b", ["b"]), ("watch-this in (a,b)", ["a", "b"])):
        query = f"resourceVersion={start}&labelSelector={selector}"
        found = await events(api, query, 3 * len(names))
        expected = [(kind, name) for name in names for kind in ("ADDED", "MODIFIED", "DELETED")]
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in found] == expected
        assert [e["object"].get("data") for e in found][:3] == [None, {"mutation": "1"}, {"mutation": "1"}]


async def test_a_watch_starts_and_restarts_at_any_revision(api: Api) -> None:
    """93, 94: from a revision, and again from the last one that was seen: no gap, no repetition."""
    await labelled(api, "a", "x")
    first = await labelled(api, "a", "x", mutation="1")
    await labelled(api, "a", "x", mutation="2")
    await api.delete(f"{MAPS}/a")
    found = await events(api, f"resourceVersion={first}&labelSelector=watch-this=x", 2)
    assert [e["type"] for e in found] == ["MODIFIED", "DELETED"]
    seen = found[0]["object"]["metadata"]["resourceVersion"]
    again = await events(api, f"resourceVersion={seen}&labelSelector=watch-this=x", 1)
    assert again == found[1:]


async def test_leaving_and_entering_a_selection(api: Api) -> None:
    """96: an object that stops matching is DELETED for the watcher, one that matches again ADDED."""
    start = (await api.get(MAPS))["metadata"]["resourceVersion"]
    await labelled(api, "a", "x")
    await labelled(api, "a", "wrong")
    await labelled(api, "a", "wrong", mutation="2")
    await labelled(api, "a", "x", mutation="2")
    await api.delete(f"{MAPS}/a")
    found = await events(api, f"resourceVersion={start}&labelSelector=watch-this=x", 4)
    assert [e["type"] for e in found] == ["ADDED", "DELETED", "ADDED", "DELETED"]


async def test_concurrent_watchers_see_one_order(api: Api) -> None:
    """97: watches from each revision on give the same order of the same events."""
    start = (await api.get(MAPS))["metadata"]["resourceVersion"]
    writes = [api.create(MAPS, config_map(f"m{i}")) for i in range(8)]
    await asyncio.gather(*writes)
    await asyncio.gather(*(api.delete(f"{MAPS}/m{i}") for i in range(8)))
    whole = await events(api, f"resourceVersion={start}", 16)
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in whole]
    assert versions == sorted(set(versions))
    for index in (0, 5, 11):
        later = await events(api, f"resourceVersion={versions[index]}", 15 - index)
        assert later == whole[index + 1 :]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ("watch=true&sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (
            "watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 'resourceVersionMatch "exact" is forbidden'),
        ("resourceVersionMatch=Sometime&resourceVersion=1", "supported values"),
    ],
)  # fmt: skip
async def test_forbidden_combinations(api: Api, query: str, text: str) -> None:
    """A reflector that asks wrongly learns it at once, and falls back."""
    answer = await api.send("GET", f"{MAPS}?{query}")
    assert answer.status == 422
    assert text in answer.tree["message"]


async def test_exact_and_recent_revisions(api: Api) -> None:
    """Exact gives the past, NotOlderThan at least the revision, the future is a 504 with when to try again."""
    revision = await labelled(api, "a", "x", n="1")
    await labelled(api, "a", "x", n="2")
    exact = await api.get(f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
    assert (exact["items"][0]["data"], exact["metadata"]["resourceVersion"]) == ({"n": "1"}, revision)
    newer = await api.get(f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan")
    assert newer["items"][0]["data"] == {"n": "2"}
    future = await api.send("GET", f"{MAPS}?resourceVersion=999999999")
    assert (future.status, future.tree["reason"]) == (504, "Timeout")
    assert future.tree["message"].startswith("Too large resource version: 999999999, current: ")
    assert future.tree["details"]["retryAfterSeconds"] == 1
    store = api.app.cache._store
    await store.compact(await store.revision())
    gone = await api.send("GET", f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
    assert (gone.status, gone.tree["reason"]) == (410, "Expired")


async def test_protobuf_lists_and_watch_frames(api: Api) -> None:
    """Go clients' default: lists, objects, Status and length-prefixed watch frames."""
    await labelled(api, "a", "x", n="1")
    proto = "application/vnd.kubernetes.protobuf"
    listed = protobuf.decode((await api.send("GET", MAPS, accept=proto)).body)
    assert listed["items"][0]["data"] == {"n": "1"}
    refused = protobuf.decode((await api.send("GET", f"{MAPS}/none", accept=proto)).body)
    assert (refused["kind"], refused["code"], refused["reason"]) == ("Status", 404, "NotFound")
    answer = await api.send("GET", f"{MAPS}?watch=true&timeoutSeconds=1", accept=f"{proto};stream=watch")
    assert answer.headers["content-type"] == f"{proto};stream=watch"
    length = int.from_bytes(answer.body[:4], "big")
    assert len(answer.body) >= 4 + length


test_protobuf_lists_and_watch_frames = pytest.mark.slow(test_protobuf_lists_and_watch_frames)


async def test_an_unchanged_update_keeps_its_revision(api: Api) -> None:
    """Revisions are decimal, grow with each change, and stay when nothing changed."""
    made = await api.create(MAPS, config_map("a", k="1"))
    same = await api.put(f"{MAPS}/a", made)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    changed = await api.put(f"{MAPS}/a", {**made, "data": {"k": "2"}})
    before, after = made["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]
    assert str(int(after)) == after
    assert int(after) > int(before) > 0
    assert orjson.dumps(changed["data"]) == b'{"k":"2"}'
