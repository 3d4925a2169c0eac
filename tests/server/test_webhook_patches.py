"""What webhooks may do to an object: managedFields, patches that cannot be carried out, warnings."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kinds.core.config_map import CONFIGMAP
from sampan.server import codec
from sampan.server.admission import chain
from sampan.server.call import Call
from sampan.server.identity import User
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request
from tests.server.conftest import Api, config_map
from tests.server.test_webhooks import MAPS, mutating
from tests.server.webhook_server import WebhookServer, add, patch, running

BROKEN = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating "
    "admission controller; please fix your requests: "
)


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with running(tmp_path / "hook") as server:
        yield server


async def test_a_webhook_sees_who_owns_what_and_owns_nothing(api: Api, hook: WebhookServer) -> None:
    """managedFields are made before webhooks are asked; what these add belongs to nobody."""
    hook.on("/add", patch(add("/data/added", "x")))
    await mutating(api, hook.client("/add"))
    made = await api.create(MAPS, config_map("a", given="x"))
    owned: list[dict[str, Any]] = [{"f:data": {".": {}, "f:given": {}}}]
    assert [entry["fieldsV1"] for entry in made["metadata"]["managedFields"]] == owned
    changed = await api.patch(f"{MAPS}/a", {"data": {"given": "y"}})
    assert [entry["fieldsV1"] for entry in changed.tree["metadata"]["managedFields"]] == owned
    for asked in hook.asked:
        seen = asked["request"]["object"]["metadata"]["managedFields"]
        assert [entry["fieldsV1"] for entry in seen] == owned


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("operation", "Guess", "operation must be `Apply` or `Update`"),
        ("apiVersion", "", "apiVersion must not be empty"),
        ("fieldsType", "", "missing fieldsType in managed fields entry 0"),
        ("fieldsType", "FieldsV2", 'invalid fieldsType "FieldsV2" in managed fields entry 0'),
        ("fieldsV1", {"data": {}}, "error decoding versioned set from {pytest Update v1 "),
    ],
)
async def test_broken_owners_are_put_back(api: Api, hook: WebhookServer, field: str, value: Any, why: str) -> None:
    """managedFields that a webhook breaks are as they were before it, and the client is warned."""
    hook.on("/break", patch(add(f"/metadata/managedFields/0/{field}", value), add("/data/added", "x")))
    await mutating(api, hook.client("/break"))
    answer = await api.send("POST", MAPS, config_map("a", given="x"))
    assert answer.status == 201
    assert answer.tree["data"] == {"given": "x", "added": "x"}
    (entry,) = answer.tree["metadata"]["managedFields"]
    assert (entry["operation"], entry["apiVersion"], entry["fieldsType"]) == ("Update", "v1", "FieldsV1")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:given": {}}}
    assert BROKEN + why in answer.headers["warning"].replace('\\"', '"')


async def test_owners_may_be_dropped(api: Api, hook: WebhookServer) -> None:
    """No managedFields at all are a sound state."""
    hook.on("/drop", patch(add("/metadata/managedFields", [])))
    await mutating(api, hook.client("/drop"))
    answer = await api.send("POST", MAPS, config_map("a", given="x"))
    assert "managedFields" not in answer.tree["metadata"]
    assert "warning" not in answer.headers


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (
            add("/metadata/annotations/a", "b"),
            'add operation does not apply: doc is missing path: "/metadata/annotations/a": missing value',
        ),
        (
            {"op": "remove", "path": "/nope"},
            "error in remove for path: '/nope': Unable to remove nonexistent key: nope: missing value",
        ),
        (
            {"op": "replace", "path": "/metadata/finalizers/7", "value": "x"},
            "replace operation does not apply: doc is missing key: /metadata/finalizers/7: missing value",
        ),
        (
            add("/metadata/finalizers/7", "x"),
            (
                "error in add for path: '/metadata/finalizers/7': Unable to access invalid index: 7: "
                "invalid index referenced"
            ),
        ),
        (
            {"op": "move", "path": "/metadata/annotations/a", "from": "/data/given"},
            "move operation does not apply: doc is missing destination path: /metadata/annotations/a: missing value",
        ),
        (
            {"op": "copy", "path": "/data/copied", "from": "/metadata/finalizers/x"},
            "error in copy for from: '/metadata/finalizers/x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ({"op": "test", "path": "/kind", "value": "Secret"}, "testing value /kind failed: test failed"),
        ({"op": "guess", "path": "/kind"}, "Unexpected kind: guess"),
    ],
)
async def test_a_patch_that_cannot_be_applied_is_told(api: Api, hook: WebhookServer, operation: Any, why: str) -> None:
    """The author of a webhook learns what is wrong with its patch."""
    hook.on("/wrong", patch(operation))
    await mutating(api, hook.client("/wrong"))
    body = config_map("a", given="x")
    body["metadata"]["finalizers"] = ["example.com/held"]
    answer = await api.send("POST", MAPS, body)
    assert (answer.status, answer.tree["message"]) == (500, f"Internal error occurred: {why}")


def test_warnings_are_bounded() -> None:
    """Texts are cut to 256 signs when all together have more than 4096, and stop at 4096; control signs are refused."""

    def lengths(*texts: str) -> list[int]:
        header = codec.warning_headers(texts).get("Warning", "")
        return [len(part.strip('"')) for part in header.replace("299 - ", "").split(", ") if part]

    assert lengths("x" * 4000) == [4000]
    assert lengths("x" * 4000, "y" * 200) == [256, 200]
    assert lengths(*(f"{index:03}" + "x" * 97 for index in range(60))) == [100] * 41
    assert lengths("", "two\nlines", "fine", "fine") == [4]


def test_annotations_for_the_audit_log_have_a_form() -> None:
    """The first value under a key stays, and a key that is no qualified name is left out."""
    call = Call(Request("POST", MAPS), RequestInfo(MAPS, "create"), User("jane"), CONFIGMAP, None, 0.0)
    attributes = chain.Attributes(call, chain.CREATE, {})
    attributes.note("hook.example.com/seen", "one")
    attributes.note("hook.example.com/seen", "two")
    for key in ("seen", "hook.example.com/a/b", "hook.example.com/a b", "hook.example.com/" + "x" * 64):
        attributes.note(key, "x")
    assert call.audit == {"hook.example.com/seen": "one"}
