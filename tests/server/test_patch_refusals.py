"""Patches that cannot be read, or make what cannot be: refused in the words and with the codes that clients know."""

from typing import Any

import pytest

from tests.server.conftest import Api, config_map, deployment

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
OPERATIONS = [
    {"op": "add", "path": "/data/b", "value": "2", "foo": 1},
    {"op": "add", "path": "/datum", "value": "x"},
]


HEAD = {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.mark.parametrize(
    "metadata", [{}, {"metadata": None}, {"metadata": {"name": ""}}, {"metadata": {"labels": {"a": "b"}}}]
)
async def test_an_application_without_a_name(api: Api, metadata: dict[str, Any]) -> None:
    """Is about the object of its path, if there is one; else nobody knows what it is to be called."""
    path, config = f"{MAPS}/a?fieldManager=me", {**HEAD, **metadata, "data": {"b": "2"}}
    refused = await api.patch(path, config, "apply")
    assert (refused.status, refused.tree["message"]) == (
        400,
        "the name of the object (a based on URL) was undeterminable: name must be provided",
    )
    await api.create(MAPS, config_map("a", a="1"))
    applied = await api.patch(path, config, "apply")
    assert applied.status == 200, applied.body
    assert applied.tree["metadata"]["name"] == "a" and applied.tree["data"] == {"a": "1", "b": "2"}
    (mine,) = [each for each in applied.tree["metadata"]["managedFields"] if each["manager"] == "me"]
    assert mine["fieldsV1"]["f:data"] == {"f:b": {}}
    again = await api.patch(path, {**config, "data": {}}, "apply")
    assert again.tree["data"] == {"a": "1"} and again.tree["metadata"]["uid"] == applied.tree["metadata"]["uid"]


@pytest.mark.parametrize("metadata", ["x", 1, [], True])
async def test_an_application_with_metadata_that_are_none(api: Api, metadata: Any) -> None:
    """Is refused, whether the object is there or not."""
    for _ in range(2):
        answer = await api.patch(f"{MAPS}/a?fieldManager=me", {**HEAD, "metadata": metadata}, "apply")
        assert 400 <= answer.status < 500, answer.body
        await api.send("POST", MAPS, config_map("a"))


@pytest.mark.parametrize(
    ("kind", "patch", "shown", "why"),
    [
        ("merge", {"data": {"a": 1}}, '{"kind":"ConfigMap"', "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ("merge", {"data": []}, '{"kind":"ConfigMap"', "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"),
        ("merge", {"datum": 1}, '{"kind":"ConfigMap"', 'strict decoding error: unknown field "datum"'),
        ("json", OPERATIONS, '{"kind":"ConfigMap"', 'strict decoding error: json patch unknown field "[0].foo", unknown field "datum"'),
        ("strategic", {"data": {"a": 1}}, "map[data:map[a:1]]", "cannot convert int64 to string"),
        ("strategic", {"data": "x"}, "map[data:x]", "cannot restore map from string"),
        ("strategic", {"z": 1, "d": 1}, "map[d:1 z:1]", 'strict decoding error: unknown field "d", unknown field "z"'),
    ],
)  # fmt: skip
async def test_a_patch_that_makes_what_cannot_be(api: Api, kind: str, patch: Any, shown: str, why: str) -> None:
    """422 about the patch: what it made, or of a strategic one itself, and why that is no object of its type."""
    await api.create(MAPS, config_map("a", a="1"))
    answer = await api.patch(f"{MAPS}/a?fieldValidation=Strict", patch, kind)
    assert answer.status == 422, answer.body
    (cause,) = answer.tree["details"]["causes"]
    assert (cause["field"], cause["reason"]) == ("patch", "FieldValueInvalid")
    assert cause["message"].startswith('Invalid value: "' + shown.replace('"', '\\"'))
    assert cause["message"].endswith(f'": {why}')
    assert answer.tree["message"] == f' "" is invalid: patch: {cause["message"]}'
    assert "name" not in answer.tree["details"]


CONVERTING = "converting (v1.Secret) to (core.ConfigMap): unknown conversion"
SCHEME = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ({"kind": "Secret"}, CONVERTING),
        ({"kind": "Widget"}, f'no kind "Widget" is registered for version "v1" {SCHEME}'),
        ({"apiVersion": "v2"}, f'no kind "ConfigMap" is registered for version "v2" {SCHEME}'),
        ({"apiVersion": "a/b/c"}, "unexpected GroupVersion string: a/b/c"),
        ({"kind": 1}, "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string"),
    ],
)  # fmt: skip
async def test_a_patch_to_another_type(api: Api, patch: dict[str, Any], why: str) -> None:
    """A JSON or merge patch makes nothing that its path does not hold; 422, with what it made."""
    await api.create(MAPS, config_map("a"))
    ((name, value),) = patch.items()
    for kind, body in (("merge", patch), ("json", [{"op": "replace", "path": f"/{name}", "value": value}])):
        answer = await api.patch(f"{MAPS}/a", body, kind)
        assert (answer.status, answer.tree["reason"]) == (422, "Invalid"), answer.body
        assert answer.tree["message"].startswith(' "" is invalid: patch: Invalid value: "{')
        assert answer.tree["message"].endswith(f'": {why}')


async def test_a_strategic_patch_says_nothing_of_the_type(api: Api) -> None:
    """It is of its path's kind, whatever it says; and so is one that takes kind or apiVersion away."""
    await api.create(MAPS, config_map("a"))
    for kind, other in (("strategic", "Secret"), ("strategic", None), ("merge", None)):
        patch = {"kind": other, "apiVersion": other and "apps/v1", "data": {"x": f"{kind}{other}"}}
        answer = await api.patch(f"{MAPS}/a", patch, kind)
        assert answer.status == 200, answer.body
        assert answer.tree["data"] == {"x": f"{kind}{other}"}
        assert (answer.tree["kind"], answer.tree["apiVersion"]) == ("ConfigMap", "v1")
    answer = await api.patch(f"{MAPS}/a", {"kind": 1}, "strategic")
    assert (answer.status, answer.tree["reason"]) == (422, "Invalid"), answer.body
    assert answer.tree["message"].endswith('"map[kind:1]": cannot convert int64 to string')


@pytest.mark.parametrize(
    ("kind", "patch"), [("merge", {"data": {"b": 1}}), ("strategic", {"data": {"b": 1, "c": "ZGQ="}})]
)
async def test_a_patch_of_a_secret_shows_nothing_of_it(api: Api, kind: str, patch: Any) -> None:
    """Whoever may patch it may perhaps not read it."""
    secrets = "/api/v1/namespaces/default/secrets"
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"a": "ZGQ="}}
    await api.create(secrets, secret)
    answer = await api.patch(f"{secrets}/s", patch, kind)
    assert answer.status == 422
    assert answer.tree["message"].startswith(' "" is invalid: patch: Invalid value: "<secret contents redacted>": ')
    assert b"ZGQ=" not in answer.body


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("merge", b"x", "error decoding patch: invalid character 'x' looking for beginning of value"),
        ("merge", b"[]", "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("strategic", b"x", "invalid character 'x' looking for beginning of value"),
        ("strategic", b"[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("json", b"{}", "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        ("json", b"[1]", "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        ("json", b'[{"op":1}]', "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"),
    ],
)  # fmt: skip
async def test_a_patch_that_is_none(api: Api, kind: str, body: bytes, message: str) -> None:
    """400, and what is wrong with it."""
    await api.create(MAPS, config_map("a"))
    answer = await api.patch(f"{MAPS}/a", body, kind)
    assert (answer.status, answer.tree["reason"], answer.tree["message"]) == (400, "BadRequest", message)


async def test_a_patch_is_warned_about(api: Api) -> None:
    """What a patch says twice, or what nobody knows, is a warning unless it is asked to be an error, or nothing."""
    await api.create(MAPS, config_map("a"))
    twice = b'{"data":{"a":"1","a":"2"},"datum":1}'
    for kind in ("merge", "strategic"):
        told = (await api.patch(f"{MAPS}/a?dryRun=All", twice, kind)).headers["warning"]
        assert told == '299 - "duplicate field \\"data.a\\"", 299 - "unknown field \\"datum\\""'
    assert "warning" not in (await api.patch(f"{MAPS}/a?fieldValidation=Ignore", twice, "merge")).headers
    assert (await api.get(f"{MAPS}/a"))["data"] == {"a": "2"}


async def test_an_item_without_its_key_is_told(api: Api) -> None:
    """In a list that is there, as 500 without a reason; a list that is not there is taken as it is."""
    await api.create(DEPLOYMENTS, deployment("d"))
    spec: dict[str, Any] = {"containers": [{"image": "x"}]}
    answer = await api.patch(f"{DEPLOYMENTS}/d", {"spec": {"template": {"spec": spec}}}, "strategic")
    assert (answer.status, answer.tree.get("reason")) == (500, None)
    assert answer.tree["message"] == "map: map[image:x] does not contain declared merge key: name"
    spec = {"imagePullSecrets": [{}]}
    answer = await api.patch(f"{DEPLOYMENTS}/d", {"spec": {"template": {"spec": spec}}}, "strategic")
    assert answer.status == 200, answer.body
    assert answer.tree["spec"]["template"]["spec"]["imagePullSecrets"] == [{}]
    told = '299 - "spec.template.spec.imagePullSecrets[0].name: invalid empty name \\"\\""'
    assert answer.headers["warning"] == told


async def test_a_body_is_about_the_object_of_its_path(api: Api) -> None:
    """A replacement without a name, or with another's, is refused before anybody looks whether there is such an object."""
    await api.create(DEPLOYMENTS, deployment("d"))
    nameless = "the name of the object (d based on URL) was undeterminable: name must be provided"
    other = "the name of the object (e) does not match the name on the URL (d)"
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 3}}
    for path, body in (("d", deployment("d")), ("d/status", deployment("d")), ("d/scale", scale)):
        for metadata, message in (({}, nameless), ({"name": "e"}, other)):
            answer = await api.send("PUT", f"{DEPLOYMENTS}/{path}", {**body, "metadata": metadata})
            assert (answer.status, answer.tree["message"]) == (400, message), path
    for path, body in (("none", deployment("e")), ("none/scale", {**scale, "metadata": {"name": "e"}})):
        assert (await api.send("PUT", f"{DEPLOYMENTS}/{path}", body)).status == 400, path
    assert (await api.get(f"{DEPLOYMENTS}/d"))["spec"]["replicas"] == 1


@pytest.mark.parametrize("kind", ["merge", "strategic", "json"])
async def test_a_patched_scale_is_that_of_its_path(api: Api, kind: str) -> None:
    """A patch that makes it another's, or something else, scales nothing."""
    await api.create(DEPLOYMENTS, deployment("d"))
    other = "the name of the object (e) does not match the name on the URL (d)"
    elsewhere = "the namespace of the provided object does not match the namespace sent on the request"
    for field, value, code, message in (
        ("metadata/name", "e", 400, other),
        ("metadata/namespace", "x", 400, elsewhere),
        ("kind", "Deployment", 200 if kind == "strategic" else 422, 'no kind "Deployment" is registered'),
    ):
        first, _, second = field.partition("/")
        patch: Any = {first: {second: value} if second else value, "spec": {"replicas": 3}}
        if kind == "json":
            scaling = {"op": "replace", "path": "/spec/replicas", "value": 3}
            patch = [{"op": "replace", "path": f"/{field}", "value": value}, scaling]
        answer = await api.patch(f"{DEPLOYMENTS}/d/scale?dryRun=All", patch, kind)
        assert answer.status == code, (field, answer.body)
        assert code == 200 or message in answer.tree["message"]


BIG = b"1" * 40


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("merge", b'{"data":{"a":%s,"a":%s}}' % (BIG, BIG)),
        ("json", b'[{"op":"add","path":"/data/b","op":"add","value":%s}]' % BIG),
    ],
)
async def test_a_large_number_and_a_repeated_key(api: Api, kind: str, body: bytes) -> None:
    """The number is one beyond all integers, and no text."""
    await api.create(MAPS, config_map("a", a="1"))
    answer = await api.patch(f"{MAPS}/a", body, kind)
    assert answer.status == 422, answer.body
    assert "cannot unmarshal number into Go struct field ConfigMap.data of type string" in answer.tree["message"]


async def test_a_patch_that_digs_deeper_than_can_be_written(api: Api) -> None:
    """Nested lists that are copied into their own depth."""
    await api.create(MAPS, config_map("a", a="1"))
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    patch = [{"op": "add", "path": "/data/b", "value": deep}]
    patch += [{"op": "copy", "from": "/data", "path": "/data/b" + "/0" * 150 + "/-"}] * 2
    answer = await api.patch(f"{MAPS}/a", patch, "json")
    assert answer.status == 400, answer.body
    assert answer.tree["message"].endswith("exceeded max depth")


async def test_a_number_beyond_all_floats_is_told(api: Api) -> None:
    """In the words that clients know, however long it is."""
    await api.create(MAPS, config_map("a"))
    for number in ("1" * 5000, "1e400"):
        answer = await api.patch(f"{MAPS}/a", b'{"data":{"a":%s}}' % number.encode(), "merge")
        why = f"json: cannot unmarshal number {number} into Go value of type float64"
        assert (answer.status, answer.tree["message"]) == (400, f"error decoding patch: {why}")


async def test_a_patch_that_means_another_object(api: Api) -> None:
    """Its uid is that of an object that was: unlike a replacement's it is a field that cannot be changed."""
    await api.create(MAPS, config_map("a"))
    for kind, body in (
        ("merge", {"metadata": {"uid": "u"}}),
        ("strategic", {"metadata": {"uid": "u"}}),
        ("json", [{"op": "replace", "path": "/metadata/uid", "value": "u"}]),
    ):
        answer = await api.patch(f"{MAPS}/a", body, kind)
        assert (answer.status, answer.tree["message"]) == (
            422,
            'ConfigMap "a" is invalid: metadata.uid: Invalid value: "u": field is immutable',
        )
