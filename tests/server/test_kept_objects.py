"""What the server keeps by itself: objects that come back, and events that go."""

import asyncio
from typing import Any

import pytest

from sampan.kinds.core.event import EVENT
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind
from sampan.server.event_expiry import TTL_SECONDS
from tests.server.conftest import NOW, Api
from tests.server.custom import settled
from tests.server.test_reads import watched

BASE = "/api/v1/namespaces/default"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/catch-all"
PATHS = (f"{BASE}/services/kubernetes", f"{BASE}/endpoints/kubernetes", SLICE, FLOW)

Tree = dict[str, Any]


async def returned(api: Api, path: str, uid: str, kind: Kind) -> Tree:
    """The object at the path as soon as there is another than the one with this uid."""

    async def is_new() -> bool:
        answer = await api.send("GET", path)
        return answer.status == 200 and answer.tree["metadata"]["uid"] != uid

    await settled(api, is_new, kind)
    return await api.get(path)


async def test_what_the_server_keeps_comes_back(api: Api) -> None:
    """191, 192: the Service kubernetes, its Endpoints and EndpointSlice, and a mandatory FlowSchema, deleted at once."""
    before = [await api.get(path) for path in PATHS]
    for path in PATHS:
        assert (await api.delete(path)).status == 200
    for path, old in zip(PATHS, before, strict=True):
        kind = api.app.served.by_kind(*_names(old))
        assert kind is not None
        new = await returned(api, path, old["metadata"]["uid"], kind)
        for part in ("spec", "subsets", "endpoints", "ports"):
            assert new.get(part) == old.get(part)


def _names(obj: Tree) -> tuple[str, str, str]:
    group, _, version = obj["apiVersion"].rpartition("/")
    return group, version, obj["kind"]


async def test_what_is_changed_in_the_service_kubernetes_is_put_right(api: Api) -> None:
    """192: its ports and its type stay; labels and other settings may be changed."""
    path = f"{BASE}/services/kubernetes"
    changed = {
        "metadata": {"labels": {"mine": "yes"}},
        "spec": {"sessionAffinity": "ClientIP", "ports": [{"port": 1}], "type": "NodePort"},
    }
    assert (await api.patch(path, changed)).status == 200

    async def is_right() -> bool:
        return bool((await api.get(path))["spec"]["ports"][0]["port"] == 443)

    await settled(api, is_right, SERVICE)
    service = await api.get(path)
    assert (service["spec"]["type"], service["spec"]["clusterIP"]) == ("ClusterIP", "10.96.0.1")
    assert service["metadata"]["labels"]["mine"] == "yes"


def event(name: str) -> Tree:
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    return {"kind": "Event", "apiVersion": "v1", "metadata": {"name": name}, "involvedObject": about}


async def test_events_expire_after_an_hour(api: Api) -> None:
    """Watchers see it; one that was written meanwhile starts its hour again, and other objects stay."""
    path = f"{BASE}/events"
    for name in ("old", "renewed"):
        await api.create(path, event(name))
    revision = (await api.get(path))["metadata"]["resourceVersion"]
    api.clock.time = NOW + TTL_SECONDS / 2
    assert (await api.patch(f"{path}/renewed", {"count": 2})).status == 200
    assert await api.app.event_expiry.sweep() == 0
    api.clock.time = NOW + TTL_SECONDS + 1
    assert await api.app.event_expiry.sweep() == 1
    assert [item["metadata"]["name"] for item in (await api.get(path))["items"]] == ["renewed"]
    _, deleted = await watched(api, f"{path}?resourceVersion={revision}", 2)
    assert (deleted["type"], deleted["object"]["metadata"]["name"]) == ("DELETED", "old")
    api.clock.time += TTL_SECONDS
    assert await api.app.event_expiry.sweep() == 1
    assert not api.app.cache.of(EVENT).items
    assert (await api.send("GET", f"{BASE}/serviceaccounts/default")).status == 200


async def test_only_events_that_are_there_are_remembered(api: Api) -> None:
    """Each once, however often it was written."""
    path = f"{BASE}/events"
    for name in ("kept", "gone"):
        await api.create(path, event(name))
    for count in range(2, 12):
        assert (await api.patch(f"{path}/kept", {"count": count})).status == 200
    assert (await api.send("DELETE", f"{path}/gone")).status == 200
    assert list(api.app.event_expiry._written) == ["default/kept"]


@pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)
async def test_many_events_expire_in_pieces(api: Api) -> None:
    """More than are deleted at once."""
    await asyncio.gather(*(api.create(f"{BASE}/events", event(f"e{i}")) for i in range(150)))
    api.clock.time = NOW + TTL_SECONDS
    assert await api.app.event_expiry.sweep() == 150
