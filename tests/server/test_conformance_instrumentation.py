"""The conformance tests of events that are more than one kind's life.

A number is the test's position in upstream's list of conformance tests.
"""

from typing import Any

from tests.server.conftest import Api

CORE = "/api/v1/namespaces/default/events"
NEW = "/apis/events.k8s.io/v1/namespaces/default/events"

Tree = dict[str, Any]


def event(name: str, label: str) -> Tree:
    return {
        "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": name, "labels": {label: "true"}},
        "regarding": {"namespace": "default"}, "eventTime": "2017-09-19T13:49:16.000000Z", "note": "This is " + name,
        "action": "Do", "reason": "Test", "type": "Normal", "reportingController": "test-controller",
        "reportingInstance": "test-node",
    }  # fmt: skip


def plain(obj: Tree) -> Tree:
    """Without what only the server writes."""
    drop = ("resourceVersion", "managedFields")
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in drop}}


async def test_an_event_is_fetched_selected_patched_and_updated(api: Api) -> None:
    """188: found by its reporting controller in both groups; a patch and an update change nothing else."""
    await api.create(NEW, event("event-test", "testevent-constant"))
    for path in ("/apis/events.k8s.io/v1/events", NEW, f"{CORE}?fieldSelector=source=test-controller",
                 f"{NEW}?fieldSelector=reportingController=test-controller"):  # fmt: skip
        assert [item["metadata"]["name"] for item in (await api.get(path))["items"]] == ["event-test"], path
    assert (await api.get(f"{CORE}?fieldSelector=source!=test-controller"))["items"] == []
    before = await api.get(f"{NEW}/event-test")
    once = {"count": 2, "lastObservedTime": "2017-09-19T13:49:11.000000Z"}
    patched = await api.patch(f"{NEW}/event-test", {"series": once}, "strategic")
    assert plain(patched.tree) == plain(before) | {"series": once}
    series = {"count": 100, "lastObservedTime": "2017-09-19T13:49:16.000000Z"}
    without_revision = plain(patched.tree) | {"series": series}
    await api.put(f"{NEW}/event-test", without_revision)
    assert plain(await api.get(f"{NEW}/event-test")) == without_revision
    assert (await api.delete(f"{NEW}/event-test")).status == 200
    assert (await api.get("/apis/events.k8s.io/v1/events"))["items"] == []


async def test_an_event_of_the_core_group_is_patched(api: Api) -> None:
    """190: created with a label, found in all namespaces, its message patched, deleted."""
    body = {
        "kind": "Event", "apiVersion": "v1", "message": "This is a test event", "reason": "Test", "type": "Normal",
        "metadata": {"name": "event-test", "labels": {"testevent-constant": "true"}}, "count": 1,
        "involvedObject": {"namespace": "default"},
    }  # fmt: skip
    await api.create(CORE, body)
    everywhere = "/api/v1/events?labelSelector=testevent-constant=true"
    assert [item["metadata"]["name"] for item in (await api.get(everywhere))["items"]] == ["event-test"]
    await api.patch(f"{CORE}/event-test", {"message": "This is a test event - patched"}, "strategic")
    assert (await api.get(f"{CORE}/event-test"))["message"] == "This is a test event - patched"
    assert (await api.delete(f"{CORE}/event-test")).status == 200
    assert (await api.get(everywhere))["items"] == []


async def test_a_set_of_events_is_deleted(api: Api) -> None:
    """187, 189: three events by their label, in either group."""
    for path in (CORE, NEW):
        for index in range(3):
            await api.create(NEW, event(f"test-event-{index}", "testevent-set"))
        assert len((await api.get(f"{path}?labelSelector=testevent-set=true"))["items"]) == 3
        assert (await api.delete(f"{path}?labelSelector=testevent-set=true")).status == 200
        assert (await api.get(f"{path}?labelSelector=testevent-set=true"))["items"] == []
