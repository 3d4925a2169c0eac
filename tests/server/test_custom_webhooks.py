"""Admission webhooks and custom resources: what a webhook adds is pruned, defaulted and stored in the stored version."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.server import service_target
from sampan.server.custom_cleanup import place
from sampan.server.review_call import ReviewCall
from tests.server.conftest import Api
from tests.server.custom import CRDS, WIDGETS, crd, establish, spec_schema, version, widget

Tree = dict[str, Any]
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Answer = Callable[[Tree], list[Tree]]


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Answer]]:
    """What the mutating webhook answers: `patch` makes a JSON patch of an object."""
    answers: dict[str, Answer] = {}

    async def post(
        self: ReviewCall, config: Tree, body: Tree, lookup: service_target.Objects, timeout_seconds: float
    ) -> Tree:
        made = orjson.dumps(answers["patch"](body["request"]["object"]))
        response = {
            "uid": body["request"]["uid"], "allowed": True, "patchType": "JSONPatch",
            "patch": base64.b64encode(made).decode(),
        }  # fmt: skip
        return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}

    monkeypatch.setattr(ReviewCall, "post", post)
    return answers


async def mutate(api: Api) -> None:
    """Registers the webhook for creates and updates of widgets."""
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]}
    hook = {
        "name": "mutate.example.com", "clientConfig": {"url": "https://hook.example.com/"}, "rules": [rule],
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    configuration = {
        "kind": "MutatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": "mutate"}, "webhooks": [hook],
    }  # fmt: skip
    await api.create(HOOKS, configuration)


def add(path: str, value: Any) -> Tree:
    return {"op": "add", "path": path, "value": value}


async def test_what_a_webhook_adds_is_pruned_and_defaulted(api: Api, patches: dict[str, Answer]) -> None:
    """17: fields that a webhook adds and the schema does not know are not stored; defaults follow."""
    text = {"type": "string"}
    extra = {"type": "object", "properties": {"x": {**text, "default": "d"}}}
    await establish(api, crd(schema=spec_schema({"start": text, "stage": text, "extra": extra})))
    await mutate(api)
    patches["patch"] = lambda obj: [add("/spec/stage", "yes"), add("/spec/unknown", "yes"), add("/spec/extra", {})]
    made = await api.create(WIDGETS, widget("w", {"start": "yes"}))
    assert made["spec"] == {"start": "yes", "stage": "yes", "extra": {"x": "d"}}


async def test_a_webhook_sees_its_version_while_another_is_stored(api: Api, patches: dict[str, Answer]) -> None:
    """16: objects are changed by a webhook for v1 whichever version is stored."""
    schema = spec_schema({"start": {"type": "string"}, "stage": {"type": "string"}})
    made = await establish(api, crd(versions=[version("v1", schema, storage=True), version("v2", schema)]))
    await mutate(api)
    seen: list[str] = []

    def patch(obj: Tree) -> list[Tree]:
        seen.append(obj["apiVersion"])
        return [add("/spec/stage", "yes")]

    patches["patch"] = patch
    await api.create(WIDGETS, widget("w", {"start": "yes"}))
    made["spec"]["versions"] = [version("v1", schema), version("v2", schema, storage=True)]
    await api.put(f"{CRDS}/widgets.example.com", made)
    patched = await api.patch(f"{WIDGETS}/w", {"spec": {"start": "again"}})
    assert patched.tree["spec"] == {"start": "again", "stage": "yes"}
    second = await api.patch(f"{WIDGETS.replace('/v1/', '/v2/')}/w", {"spec": {"stage": "no"}})
    assert second.tree["spec"]["stage"] == "yes"
    assert set(seen) == {"example.com/v1"}


async def test_an_empty_write_moves_an_object_to_the_new_storage_version(api: Api) -> None:
    """Storage migration: reading an object and writing it back stores it in the version that is stored now."""
    schema = spec_schema({"a": {"type": "string"}})
    made = await establish(api, crd(versions=[version("v1", schema, storage=True), version("v2", schema)]))
    item = await api.create(WIDGETS, widget("w", {"a": "1"}))
    made["spec"]["versions"] = [version("v1", schema), version("v2", schema, storage=True)]
    changed = await api.put(f"{CRDS}/widgets.example.com", made)

    def stored() -> str:
        kept = api.app.registry.get(place(changed), "default", "w")
        assert kept is not None
        return str(orjson.loads(kept.stored)["apiVersion"])

    assert stored() == "example.com/v1"
    await api.put(f"{WIDGETS}/w", item)
    assert stored() == "example.com/v2"
    changed["status"]["storedVersions"] = ["v2"]
    changed = await api.put(f"{CRDS}/widgets.example.com/status", changed)
    changed["spec"]["versions"] = [version("v2", schema, storage=True)]
    await api.put(f"{CRDS}/widgets.example.com", changed)
    assert (await api.get(f"{WIDGETS.replace('/v1/', '/v2/')}/w"))["spec"] == {"a": "1"}
    assert (await api.send("GET", WIDGETS)).status == 404


async def test_definitions_are_read_in_depth(api: Api) -> None:
    """A wrong type below items is as wrong as anywhere else in a definition."""
    items = {"type": "array", "items": {"type": "string", "maxLength": "three"}}
    refused = await api.send("POST", CRDS, crd(schema=spec_schema({"a": items})))
    assert (refused.status, refused.tree["reason"]) == (400, "BadRequest")
    assert CUSTOMRESOURCEDEFINITION.name in refused.tree["message"]
