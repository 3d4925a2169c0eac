"""Events: one storage, two served forms."""

from typing import Any

from tests.server.conftest import Api, Tree

CORE = "/api/v1/namespaces/default/events"
NEW = "/apis/events.k8s.io/v1/namespaces/default/events"
ABOUT = {"kind": "Pod", "namespace": "default", "name": "web", "apiVersion": "v1"}


def older(name: str, **fields: Any) -> Tree:
    given = {"involvedObject": ABOUT, "reason": "Started", "message": "hello", "type": "Normal", "count": 3}
    return {"kind": "Event", "apiVersion": "v1", "metadata": {"name": name}, **given, **fields}


def newer(name: str, **fields: Any) -> Tree:
    given = {
        "eventTime": "2026-01-01T00:00:00.123456Z", "regarding": ABOUT, "reason": "Started", "action": "Start",
        "note": "hello", "type": "Normal", "reportingController": "example.com/c", "reportingInstance": "c-1",
    }  # fmt: skip
    return {"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": name}, **given, **fields}


async def test_an_event_is_the_same_in_both_groups(api: Api) -> None:
    """188, 190: what one group stores the other shows, field by field; patches through either are seen in both."""
    await api.create(CORE, older("a", source={"component": "kubelet", "host": "n1"}))
    seen = await api.get(f"{NEW}/a")
    assert seen["apiVersion"] == "events.k8s.io/v1"
    assert seen["regarding"] == ABOUT
    assert seen["note"] == "hello"
    assert seen["deprecatedCount"] == 3
    assert seen["deprecatedSource"] == {"component": "kubelet", "host": "n1"}
    await api.create(NEW, newer("b"))
    other = await api.get(f"{CORE}/b")
    assert other["message"] == "hello"
    assert other["reportingComponent"] == "example.com/c"
    assert other["eventTime"] == "2026-01-01T00:00:00.123456Z"
    assert other["involvedObject"] == ABOUT
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}
    patched = await api.patch(f"{NEW}/b", {"series": series})
    assert patched.status == 200, patched.body
    assert (await api.get(f"{CORE}/b"))["series"] == series
    assert (await api.patch(f"{CORE}/b", {"message": "bye"})).status == 200
    assert (await api.get(f"{NEW}/b"))["note"] == "bye"
    assert (await api.delete(f"{NEW}/b")).status == 200
    assert (await api.send("GET", f"{CORE}/b")).status == 404


async def test_a_collection_of_events_goes_by_label(api: Api) -> None:
    """187, 189: labels choose what is deleted, in either group."""
    for name in ("a", "b", "c"):
        body = newer(name)
        body["metadata"]["labels"] = {"set": "x" if name != "c" else "y"}
        await api.create(NEW, body)
    assert len((await api.get(f"{NEW}?labelSelector=set=x"))["items"]) == 2
    assert (await api.delete(f"{NEW}?labelSelector=set=x")).status == 200
    assert [e["metadata"]["name"] for e in (await api.get(CORE))["items"]] == ["c"]
    assert (await api.get("/api/v1/events"))["items"][0]["metadata"]["name"] == "c"


async def test_fields_select_events_in_both_groups(api: Api) -> None:
    """involvedObject.* and source in the old group, regarding.* and reportingController in the new; type and reason."""
    await api.create(CORE, older("a", source={"component": "kubelet"}))
    await api.create(NEW, newer("b", reason="Other", type="Warning"))
    for path, names in (
        (f"{CORE}?fieldSelector=involvedObject.name=web,type=Warning", ["b"]),
        (f"{CORE}?fieldSelector=source=kubelet", ["a"]),
        (f"{CORE}?fieldSelector=reportingComponent=example.com/c", ["b"]),
        (f"{NEW}?fieldSelector=regarding.name=web", ["a", "b"]),
        (f"{NEW}?fieldSelector=reportingController=example.com/c,reason=Other", ["b"]),
    ):
        assert [e["metadata"]["name"] for e in (await api.get(path))["items"]] == names, path


async def test_the_new_group_wants_complete_events(api: Api) -> None:
    """Who, what and when are required, old fields must be unset, and facts do not change afterwards."""
    answer = await api.send("POST", NEW, {**newer("a", deprecatedCount=1), "eventTime": None, "type": "Odd"})
    assert answer.status == 422
    for text in ("eventTime: Required value", 'type: Invalid value: "": has invalid value: Odd', "needs to be unset"):
        assert text in answer.tree["message"], answer.tree["message"]
    lacking = newer("b")
    del lacking["action"], lacking["reportingController"]
    answer = await api.send("POST", NEW, lacking)
    assert "action: Required value" in answer.tree["message"]
    assert "reportingController: Required value" in answer.tree["message"]
    await api.create(NEW, newer("c"))
    answer = await api.patch(f"{NEW}/c", {"note": "other"})
    assert answer.status == 422
    assert "message: Invalid value" in answer.tree["message"]
    once = await api.patch(f"{NEW}/c", {"series": {"count": 1, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}})
    assert 'series.count: Invalid value: "": should be at least 2' in once.tree["message"]


async def test_the_old_group_takes_what_recorders_write(api: Api) -> None:
    """An event lies in the namespace of what it is about; objects of the cluster are told of in default."""
    await api.create(CORE, older("a", involvedObject={"kind": "Node", "name": "n1"}))
    strange = await api.send("POST", CORE, older("b", involvedObject={**ABOUT, "namespace": "kube-system"}))
    assert strange.status == 422
    assert strange.tree["message"].endswith('Invalid value: "kube-system": does not match event.namespace')


async def test_both_groups_print_the_same_table(api: Api) -> None:
    """kubectl get events shows the same cells whichever group it asks."""
    await api.create(CORE, older("a", lastTimestamp="2026-01-01T00:00:00Z"))
    tables = [await api.get(f"{p}/a", accept="application/json;as=Table;v=v1;g=meta.k8s.io") for p in (CORE, NEW)]
    assert tables[0]["rows"][0]["cells"] == tables[1]["rows"][0]["cells"]
    assert tables[0]["rows"][0]["cells"][1:4] == ["Normal", "Started", "pod/web"]
