"""The conformance tests of SIG node that are more than one kind's life: keys of data, a node's status at its birth.

A number is the test's position in upstream's list of conformance tests.
"""

import pytest

from tests.server.conftest import Api, config_map

BASE = "/api/v1/namespaces/default"


@pytest.mark.parametrize(
    ("plural", "kind", "value"), [("configmaps", "ConfigMap", "value-1"), ("secrets", "Secret", "dmFsdWUtMQ0K")]
)
async def test_an_empty_key_is_refused(api: Api, plural: str, kind: str, value: str) -> None:
    """241, 322: a key must be a name, with upstream's words."""
    body = {"kind": kind, "apiVersion": "v1", "metadata": {"name": "empty-key"}, "data": {"": value}}
    refused = await api.send("POST", f"{BASE}/{plural}", body)
    assert (refused.status, refused.tree["reason"]) == (422, "Invalid")
    (cause,) = refused.tree["details"]["causes"]
    assert cause["field"] == "data[]"
    assert "a valid config key must consist of alphanumeric characters, '-', '_' or '.'" in cause["message"]


async def test_a_config_map_is_updated(api: Api) -> None:
    """243: data replaced by an update is what is read."""
    made = await api.create(f"{BASE}/configmaps", config_map("a", data="value"))
    made["data"]["data"] = "value2"
    await api.put(f"{BASE}/configmaps/a", made)
    assert (await api.get(f"{BASE}/configmaps/a"))["data"] == {"data": "value2"}


async def test_a_config_map_is_found_and_changed_by_label(api: Api) -> None:
    """242: patched, found in all namespaces by its label, seen by a watch, gone with its collection."""
    body = {
        **config_map("m", valueName="value"),
        "metadata": {"name": "m", "labels": {"test-configmap-static": "true"}},
    }
    await api.create(f"{BASE}/configmaps", body)
    patch = {"metadata": {"labels": {"test-configmap": "patched"}}, "data": {"valueName": "value1"}}
    await api.patch(f"{BASE}/configmaps/m", patch, "strategic")
    listed = (await api.get("/api/v1/configmaps?labelSelector=test-configmap-static=true"))["items"]
    assert [(item["data"], item["metadata"]["labels"]["test-configmap"]) for item in listed] == [
        ({"valueName": "value1"}, "patched")
    ]
    assert (await api.delete(f"{BASE}/configmaps?labelSelector=test-configmap-static=true")).status == 200
    assert (await api.get("/api/v1/configmaps?labelSelector=test-configmap-static=true"))["items"] == []


async def test_a_secret_is_patched(api: Api) -> None:
    """323: found in all namespaces by its label; a strategic merge patch changes label and data."""
    labels = {"testsecret-constant": "true"}
    body = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s", "labels": labels}, "type": "Opaque"}
    await api.create(f"{BASE}/secrets", {**body, "data": {"key": "dmFsdWU="}})
    patch = {"metadata": {"labels": {"testsecret": "true"}}, "data": {"key": "dmFsdWUx"}}
    await api.patch(f"{BASE}/secrets/s", patch, "strategic")
    (found,) = (await api.get("/api/v1/secrets?labelSelector=testsecret=true"))["items"]
    assert (found["data"], found["metadata"]["labels"]) == ({"key": "dmFsdWUx"}, labels | {"testsecret": "true"})
    assert (await api.delete(f"{BASE}/secrets?labelSelector=testsecret=true")).status == 200
    assert (await api.get("/api/v1/secrets?labelSelector=testsecret-constant=true"))["items"] == []


async def test_a_node_may_be_born_with_a_status(api: Api) -> None:
    """279: a node that says at its creation that it is ready is kept so; labels are patched, selected and updated."""
    ready = {"type": "Ready", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    body = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "fake"}, "spec": {"unschedulable": True}}
    made = await api.create("/api/v1/nodes", {**body, "status": {"phase": "Running", "conditions": [ready]}})
    (condition,) = made["status"]["conditions"]
    assert condition.items() >= ready.items()
    assert made["status"]["phase"] == "Running"
    await api.patch("/api/v1/nodes/fake", {"metadata": {"labels": {"fake": "patched"}}}, "strategic")
    (found,) = (await api.get("/api/v1/nodes?labelSelector=fake=patched"))["items"]
    found["metadata"]["labels"]["fake"] = "updated"
    assert (await api.put("/api/v1/nodes/fake", found))["metadata"]["labels"]["fake"] == "updated"
    assert (await api.delete("/api/v1/nodes/fake")).status == 200
    assert (await api.send("GET", "/api/v1/nodes/fake")).status == 404
