"""Watches of custom objects: what they see, and when they end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from sampan.web.message import Request
from tests.server.conftest import ADMIN, Api
from tests.server.custom import CRDS, WIDGETS, crd, establish, gone, spec_schema, version, widget

Tree = dict[str, Any]
SCHEMA = spec_schema({"a": {"type": "string"}, "color": {"type": "string"}})


async def watch(api: Api, path: str, **query: str) -> AsyncIterator[Tree]:
    """The events of a watch, asked of the server itself."""
    pairs = (("watch", "1"), *query.items())
    response = await api.app.handle(Request("GET", path, pairs, {"user-agent": "pytest/1"}, b"", ADMIN))
    assert response.status == 200
    return events(response.body)


async def events(body: Any) -> AsyncIterator[Tree]:
    async for chunk in body:
        if isinstance(chunk, dict):
            yield chunk
        else:
            for line in bytes(chunk).splitlines():
                yield orjson.loads(line)


async def test_custom_objects_are_watched(api: Api) -> None:
    """31: creations, changes and deletions of custom objects are seen."""
    await establish(api, crd(schema=SCHEMA))
    stream = await watch(api, WIDGETS)
    await api.create(WIDGETS, widget("w"))
    await api.patch(f"{WIDGETS}/w", {"spec": {"a": "1"}})
    await api.delete(f"{WIDGETS}/w")
    seen = [(await anext(stream))["type"] for _ in range(3)]
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_selectable_field_selects_in_watches(api: Api) -> None:
    """37: an object that stops matching is seen as deleted."""
    await establish(api, crd(schema=SCHEMA, version={"selectableFields": [{"jsonPath": ".spec.color"}]}))
    stream = await watch(api, WIDGETS, fieldSelector="spec.color=blue")
    await api.create(WIDGETS, widget("r", {"color": "red"}))
    await api.create(WIDGETS, widget("b", {"color": "blue"}))
    await api.patch(f"{WIDGETS}/b", {"spec": {"color": "red"}})
    seen = [await anext(stream) for _ in range(2)]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in seen] == [("ADDED", "b"), ("DELETED", "b")]


async def test_a_watch_ends_with_its_version(api: Api) -> None:
    """A watch of a version that is no longer served ends; one of another version that did not change goes on."""
    versions = [version("v1", SCHEMA, storage=True), version("v2", SCHEMA)]
    made = await establish(api, crd(versions=versions))
    stream = await watch(api, WIDGETS.replace("/v1/", "/v2/"))
    made["spec"]["versions"][1]["served"] = False
    await api.put(f"{CRDS}/widgets.example.com", made)
    assert [event async for event in stream] == []


async def test_a_watch_sees_the_deletions_and_ends_with_its_definition(api: Api) -> None:
    """When a definition goes, its watchers see every object go first."""
    await establish(api, crd(schema=SCHEMA))
    stream = await watch(api, WIDGETS)
    for name in "abc":
        await api.create(WIDGETS, widget(name))
    await api.delete(f"{CRDS}/widgets.example.com")
    await gone(api)
    seen = [(event["type"], event["object"]["metadata"]["name"]) async for event in stream]
    assert seen == [(kind, name) for kind in ("ADDED", "DELETED") for name in "abc"]


async def test_deprecated_versions_warn(api: Api) -> None:
    """Every request on a deprecated version is warned, with the definition's words or upstream's."""
    versions = [
        version("v1", SCHEMA, storage=True),
        version("v1beta1", SCHEMA, deprecated=True),
        version("v1alpha1", SCHEMA, deprecated=True, deprecationWarning="do not"),
    ]
    await establish(api, crd(versions=versions))
    warned = await api.send("GET", WIDGETS.replace("/v1/", "/v1beta1/"))
    assert warned.headers["warning"] == '299 - "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget"'
    warned = await api.send("GET", WIDGETS.replace("/v1/", "/v1alpha1/"))
    assert warned.headers["warning"] == '299 - "do not"'
    assert "warning" not in (await api.send("GET", WIDGETS)).headers


async def test_a_definition_deleted_during_writes_leaves_nothing(api: Api) -> None:
    """B16: creates that race with the definition's deletion either happen before it or are refused."""
    await establish(api, crd())

    async def write(number: int) -> int:
        return (await api.send("POST", WIDGETS, widget(f"w{number}"))).status

    writes = [asyncio.ensure_future(write(number)) for number in range(40)]
    deletion = asyncio.ensure_future(api.delete(f"{CRDS}/widgets.example.com"))
    later = [asyncio.ensure_future(write(number)) for number in range(40, 80)]
    codes = await asyncio.gather(*writes, *later)
    assert (await deletion).status == 200
    await gone(api)
    assert set(codes) <= {201, 404, 405}
    await establish(api, crd())
    assert (await api.get(WIDGETS))["items"] == []


async def test_deep_schemas_are_no_trouble(api: Api) -> None:
    """B16: a schema of great depth is either taken or refused, never an error of ours."""
    for depth in (50, 110, 200, 400):
        node = '{"type":"object","properties":{"a":' * depth + '{"type":"string"}' + "}}" * depth
        body = orjson.dumps(crd(schema={"x": "SCHEMA"})).decode().replace('{"x":"SCHEMA"}', node)
        answer = await api.send("POST", f"{CRDS}?dryRun=All", body.encode())
        assert answer.status in (201, 400, 422)
