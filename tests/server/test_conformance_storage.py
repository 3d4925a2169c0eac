"""The conformance tests of storage that are more than one kind's life: immutable data. (See also test_storage_kinds.)

A number is the test's position in upstream's list of conformance tests.
"""

import pytest

from tests.server.conftest import Api

BASE = "/api/v1/namespaces/default"


@pytest.mark.parametrize(
    ("plural", "kind", "value", "other"),
    [("configmaps", "ConfigMap", "value-1", "value-3"), ("secrets", "Secret", "dmFsdWUtMQ==", "dmFsdWUtMw==")],
)
async def test_immutable_data_stays(api: Api, plural: str, kind: str, value: str, other: str) -> None:
    """368, 436: data may change until `immutable` is set, then neither data nor the field; metadata and deletion may."""
    path = f"{BASE}/{plural}/immutable"
    body = {"kind": kind, "apiVersion": "v1", "metadata": {"name": "immutable"}, "data": {"data-1": value}}
    await api.create(f"{BASE}/{plural}", body)
    live = await api.get(path)
    live["data"]["data-4"] = value
    live = await api.put(path, live)
    live["immutable"] = True
    live = await api.put(path, live)
    for changes, field in (({"data": {"data-1": other}}, "data"), ({"immutable": False}, "immutable")):
        refused = await api.send("PUT", path, {**live, **changes})
        assert (refused.status, refused.tree["reason"]) == (422, "Invalid")
        causes = [(cause["reason"], cause["field"], cause["message"]) for cause in refused.tree["details"]["causes"]]
        word = "Forbidden: field is immutable when `immutable` is set"
        assert ("FieldValueForbidden", field, word) in causes
    unset = {key: part for key, part in live.items() if key != "immutable"}
    assert (await api.send("PUT", path, unset)).status == 422
    live["metadata"]["labels"] = {"label1": "value1"}
    assert (await api.put(path, live))["metadata"]["labels"] == {"label1": "value1"}
    assert (await api.delete(path)).status == 200
    assert (await api.send("GET", path)).status == 404
