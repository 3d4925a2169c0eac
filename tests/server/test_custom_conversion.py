"""Conversion webhooks: what they are asked, what they may answer, and that every version shows the object."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from sampan.meta import objects
from sampan.server import service_target
from sampan.server.review_call import CallError, ReviewCall
from tests.server.conftest import Api
from tests.server.custom import CRDS, WIDGETS, crd, establish, version, widget

Tree = dict[str, Any]
Convert = Callable[[Tree, str], Any]

SECOND = WIDGETS.replace("/v1/", "/v2/")
SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CLIENT = {"url": "https://convert.example.com/crd"}
GVK = "example.com/v1, Kind=Widget"


class Webhook:
    """Stands in for a webhook: v1 has hostPort, v2 host and port, as in the documentation's example."""

    def __init__(self) -> None:
        self.calls: list[Tree] = []
        self.convert: Convert = split
        self.answer: Callable[[Tree], Tree] = lambda answer: answer

    async def post(self, config: Tree, body: Tree, lookup: service_target.Objects, timeout_seconds: float) -> Tree:
        assert config == CLIENT
        self.calls.append(body)
        request = body["request"]
        made = [self.convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        response = {"uid": request["uid"], "convertedObjects": made, "result": {"status": "Success"}}
        return self.answer({"kind": "ConversionReview", "apiVersion": body["apiVersion"], "response": response})


def split(obj: Tree, api_version: str) -> Tree:
    """As the documentation's example converts."""
    made: Tree = objects.copy(obj) | {"apiVersion": api_version}
    if api_version.endswith("v2") and "hostPort" in made:
        made["host"], _, made["port"] = made.pop("hostPort").partition(":")
    elif api_version.endswith("v1") and "host" in made:
        made["hostPort"] = f"{made.pop('host')}:{made.pop('port')}"
    return made


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """Takes the place of every call to a webhook."""
    made = Webhook()
    monkeypatch.setattr(ReviewCall, "post", lambda self, *args: made.post(*args))
    return made


async def define(api: Api, storage: str = "v1") -> Tree:
    """A definition with two versions and a conversion webhook."""
    versions = [version(name, SCHEMA, storage=name == storage) for name in ("v1", "v2")]
    hook = {"clientConfig": CLIENT, "conversionReviewVersions": ["v1"]}
    return await establish(api, crd(versions=versions, conversion={"strategy": "Webhook", "webhook": hook}))


async def test_an_object_is_converted(api: Api, webhook: Webhook) -> None:
    """30: an object written in v1 is read in v2 as the webhook makes it, and the other way round."""
    await define(api)
    await api.create(WIDGETS, widget("w", hostPort="localhost:7070"))
    shown = await api.get(f"{SECOND}/w")
    assert (shown["apiVersion"], shown["host"], shown["port"]) == ("example.com/v2", "localhost", "7070")
    made = await api.create(SECOND, widget("x", apiVersion="example.com/v2", host="example.org", port="1"))
    assert made["host"] == "example.org"
    assert (await api.get(f"{WIDGETS}/x"))["hostPort"] == "example.org:1"
    request = webhook.calls[0]
    assert (request["kind"], request["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert request["request"]["desiredAPIVersion"] == "example.com/v2"


async def test_a_list_of_both_versions_is_converted_at_once(api: Api, webhook: Webhook) -> None:
    """29: objects stored in two versions are listed in either; one call converts what has to be."""
    made = await define(api)
    await api.create(WIDGETS, widget("a", hostPort="a:1"))
    for storage in made["spec"]["versions"]:
        storage["storage"] = storage["name"] == "v2"
    await api.put(f"{CRDS}/widgets.example.com", made)
    await api.create(SECOND, widget("b", apiVersion="example.com/v2", host="b", port="2"))
    await api.create(SECOND, widget("c", apiVersion="example.com/v2", host="c", port="3"))
    webhook.calls.clear()
    first = (await api.get(WIDGETS))["items"]
    assert [item["hostPort"] for item in first] == ["a:1", "b:2", "c:3"]
    assert [len(call["request"]["objects"]) for call in webhook.calls] == [2]
    second = (await api.get(SECOND))["items"]
    assert [(item["host"], item["port"]) for item in second] == [("a", "1"), ("b", "2"), ("c", "3")]
    webhook.calls.clear()
    await api.get(WIDGETS)
    await api.get(SECOND)
    assert webhook.calls == []


async def test_metadata_is_not_the_webhooks_to_change(api: Api, webhook: Webhook) -> None:
    """B16: a webhook may change labels and annotations, and nothing else of the metadata."""
    await define(api)
    await api.create(WIDGETS, widget("w", hostPort="h:1"))

    def meddle(obj: Tree, api_version: str) -> Tree:
        made = split(obj, api_version)
        made["metadata"] |= {"labels": {"new": "label"}, "generation": 99, "finalizers": ["x.org/y"]}
        return made

    webhook.convert = meddle
    shown = await api.get(f"{SECOND}/w")
    assert shown["metadata"]["labels"] == {"new": "label"}
    assert shown["metadata"]["generation"] == 1
    assert "finalizers" not in shown["metadata"]


BAD: list[tuple[Convert, str]] = [
    (
        lambda obj, to: {**obj, "apiVersion": "example.com/v9"},
        "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v9)",
    ),
    (
        lambda obj, to: {**obj, "apiVersion": to, "kind": "Other"},
        "returned invalid object at index 0: invalid kind (expected Widget, received Other)",
    ),
    (
        lambda obj, to: {**obj, "apiVersion": to, "metadata": {**obj["metadata"], "name": "other"}},
        "returned invalid object: must have the same name: w != other",
    ),
    (
        lambda obj, to: {**obj, "apiVersion": to, "metadata": {**obj["metadata"], "labels": {"a": 1}}},
        "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
    ),
    (
        lambda obj, to: {"apiVersion": to, "kind": "Widget"},
        "returned invalid metadata: missing metadata in converted object",
    ),
]


@pytest.mark.parametrize(("convert", "text"), BAD)
async def test_a_bad_object_is_refused(api: Api, webhook: Webhook, convert: Convert, text: str) -> None:
    """B16: an answer that is not the same object in the other version is an error in upstream's words."""
    await define(api)
    await api.create(WIDGETS, widget("w", hostPort="h:1"))
    webhook.convert = convert
    refused = await api.send("GET", f"{SECOND}/w")
    assert (refused.status, refused.tree["message"]) == (500, f"conversion webhook for {GVK} {text}")


async def test_a_bad_answer_is_refused(api: Api, webhook: Webhook) -> None:
    """Another uid, a failure, too few objects and no answer at all are told."""
    await define(api)
    await api.create(WIDGETS, widget("w", hostPort="h:1"))

    async def told() -> str:
        refused = await api.send("GET", f"{SECOND}/w")
        assert refused.status == 500
        text: str = refused.tree["message"].removeprefix(f"conversion webhook for {GVK} ")
        return text

    webhook.answer = lambda answer: {**answer, "response": {**answer["response"], "uid": "x"}}
    assert (await told()).endswith(', got "x"')
    webhook.answer = lambda answer: {**answer, "response": {**answer["response"], "convertedObjects": []}}
    assert await told() == "returned 0 objects, expected 1"
    failed = {"status": "Failed", "message": "not today"}
    webhook.answer = lambda answer: {**answer, "response": {**answer["response"], "result": failed}}
    assert await told() == "failed: not today"

    def nobody(answer: Tree) -> Tree:
        raise CallError('Post "https://convert.example.com/crd?timeout=30s": EOF')

    webhook.answer = nobody
    assert await told() == 'failed: Post "https://convert.example.com/crd?timeout=30s": EOF'


async def test_a_webhook_needs_its_configuration(api: Api) -> None:
    """What is missing from a conversion is told."""
    refused = await api.send("POST", CRDS, crd(conversion={"strategy": "Webhook", "webhook": {"clientConfig": {}}}))
    assert [f"{c['field']}: {c['message']}" for c in refused.tree["details"]["causes"]] == [
        "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
        "spec.conversion.conversionReviewVersions: Required value",
    ]


def schema_of(**properties: Tree) -> Tree:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


@pytest.mark.parametrize("strategy", ["None", "Webhook"])
async def test_defaults_are_those_of_the_version_that_was_written(api: Api, webhook: Webhook, strategy: str) -> None:
    """Each version's defaults are set on what is written or stored in it; a conversion adds none, and prunes."""
    text = {"type": "string"}
    first = schema_of(a={"type": "string", "default": "one"}, both=text)
    second = schema_of(b={"type": "string", "default": "two"}, both=text)
    conversion: Tree = {"strategy": strategy}
    if strategy == "Webhook":
        conversion["webhook"] = {"clientConfig": CLIENT, "conversionReviewVersions": ["v1"]}
    versions = [version("v1", first, storage=True), version("v2", second)]
    await establish(api, crd(versions=versions, conversion=conversion))
    assert (await api.create(WIDGETS, widget("w", {"both": "x"})))["spec"] == {"a": "one", "both": "x"}
    assert (await api.get(f"{SECOND}/w"))["spec"] == {"both": "x"}
    given = widget("v", {"both": "x"}) | {"apiVersion": "example.com/v2"}
    assert (await api.create(SECOND, given))["spec"] == {"both": "x"}  # b is not stored, which the answer shows
    assert (await api.get(f"{WIDGETS}/v"))["spec"] == {"a": "one", "both": "x"}
    (kind,) = [kind for kind in api.app.served.all() if kind.plural == "widgets" and kind.version == "v1"]
    stored = {item.key: orjson.loads(item.stored)["spec"] for item in api.app.cache.of(kind).range()}
    assert stored == {"default/w": {"a": "one", "both": "x"}, "default/v": {"both": "x"}}
