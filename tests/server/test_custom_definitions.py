"""CustomResourceDefinitions: names, conditions, status, what is refused, and what happens when one goes."""

from typing import Any

import pytest

from sampan.kinds.apiextensions import naming
from sampan.kinds.kind import Kind
from sampan.meta import conditions
from tests.server.conftest import Api
from tests.server.custom import CRDS, WIDGETS, crd, establish, gone, settled, spec_schema, version, widget

NAME = "widgets.example.com"
WIDGET = Kind("example.com", ("v1",), "Widget", "widgets")
Tree = dict[str, Any]


def causes(answer: Any) -> list[str]:
    """field: message of each cause."""
    return [f"{cause['field']}: {cause['message']}" for cause in answer.tree["details"]["causes"]]


async def test_a_definition_is_established_and_served_and_goes_with_its_kind(api: Api) -> None:
    """32: a definition can be created and deleted, and its kind is served in between."""
    made = await establish(api, crd())
    assert made["status"]["acceptedNames"] == {
        "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
    }  # fmt: skip
    assert [(c["type"], c["status"], c["reason"]) for c in made["status"]["conditions"]] == [
        ("NamesAccepted", "True", "NoConflicts"),
        ("Established", "True", "InitialNamesAccepted"),
    ]
    assert (await api.get(WIDGETS))["kind"] == "WidgetList"
    assert (await api.delete(f"{CRDS}/{NAME}")).status == 200
    await gone(api)
    assert (await api.send("GET", WIDGETS)).status == 404


async def test_definitions_are_listed_and_deleted_by_label(api: Api) -> None:
    """34: ten definitions are found by their label, and go as a collection."""
    for letter in "abcdefghij":
        definition = crd(f"{letter}things")
        definition["metadata"]["labels"] = {"e2e": "yes"}
        await establish(api, definition)
    await establish(api, crd("others"))
    listed = await api.get(f"{CRDS}?labelSelector=e2e=yes")
    assert len(listed["items"]) == 10
    assert (await api.delete(f"{CRDS}?labelSelector=e2e=yes")).status == 200
    for letter in "abcdefghij":
        await gone(api, f"{letter}things.example.com")
    assert [item["metadata"]["name"] for item in (await api.get(CRDS))["items"]] == ["others.example.com"]


async def test_the_status_of_a_definition_has_its_own_door(api: Api) -> None:
    """33: status is read, replaced and patched by itself."""
    made = await establish(api, crd())
    condition = {
        "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    made["status"]["conditions"].append(condition)
    made["spec"]["scope"] = "Cluster"
    answered = await api.put(f"{CRDS}/{NAME}/status", made)
    assert conditions.get(answered, "StatusUpdate") == condition
    assert answered["spec"]["scope"] == "Namespaced"
    patch = {"status": {"conditions": [condition]}}
    patched = await api.patch(f"{CRDS}/{NAME}/status", patch)
    assert patched.status == 200
    assert (await api.get(f"{CRDS}/{NAME}/status"))["status"]["conditions"][0] == condition


async def test_a_poor_condition_stops_nothing(api: Api) -> None:
    """As upstream's own test writes it: a condition without type and status; this and other definitions go on."""
    await establish(api, crd())
    patched = await api.patch(f"{CRDS}/{NAME}/status", {"status": {"conditions": [{"message": "patched"}]}})
    assert patched.status == 200

    async def is_established() -> bool:
        return conditions.is_true(await api.get(f"{CRDS}/{NAME}"), "Established")

    await settled(api, is_established)
    assert "patched" in [one.get("message") for one in (await api.get(f"{CRDS}/{NAME}"))["status"]["conditions"]]
    await establish(api, crd("gadgets"))


async def test_a_fault_with_one_definition_stops_no_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is told in the log, and the next definition is looked at."""
    told = naming.status

    def faulty(definition: dict[str, Any], *more: Any) -> dict[str, Any]:
        if definition["metadata"]["name"] == NAME:
            raise KeyError("planted")
        return told(definition, *more)

    monkeypatch.setattr(naming, "status", faulty)
    await api.create(CRDS, crd())
    await establish(api, crd("gadgets"))


async def test_the_objects_of_a_deleted_definition_go_first(api: Api) -> None:
    """A definition waits for its objects; those with finalizers are marked, and no new ones are made."""
    await establish(api, crd())
    await api.create(WIDGETS, widget("plain"))
    held = widget("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.create(WIDGETS, held)
    answer = await api.delete(f"{CRDS}/{NAME}")
    pending = conditions.get(answer.tree, "Terminating")
    assert pending is not None
    assert pending["reason"] == "InstanceDeletionPending"
    assert answer.tree["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]

    async def is_in_progress() -> bool:
        found = conditions.get(await api.get(f"{CRDS}/{NAME}"), "Terminating")
        return found is not None and found["reason"] == "InstanceDeletionInProgress"

    await settled(api, is_in_progress)
    left = (await api.get(WIDGETS))["items"]
    assert [(item["metadata"]["name"], "deletionTimestamp" in item["metadata"]) for item in left] == [("held", True)]
    refused = await api.send("POST", WIDGETS, widget("late"))
    assert (refused.status, refused.tree["message"]) == (
        405,
        "create not allowed while custom resource definition is terminating",
    )
    assert (await api.patch(f"{WIDGETS}/held", {"metadata": {"finalizers": None}})).status == 200
    await gone(api)


async def test_a_definition_comes_back_empty(api: Api) -> None:
    """What a deleted definition held is not there when it is made again."""
    await establish(api, crd())
    for number in range(250):
        await api.create(WIDGETS, widget(f"w{number}"))
    await api.delete(f"{CRDS}/{NAME}")
    await gone(api)
    await establish(api, crd())
    assert (await api.get(WIDGETS))["items"] == []


async def test_a_name_that_is_taken_is_not_accepted_until_it_is_free(api: Api) -> None:
    """The second definition with a kind or a short name is not established; it is when the first goes."""
    await establish(api, crd(names={"shortNames": ["wd"]}))
    second = crd("gadgets", names={"kind": "Widget", "listKind": "GadgetList", "shortNames": ["wd"]})
    await api.create(CRDS, second)
    path = f"{CRDS}/gadgets.example.com"

    async def is_refused() -> bool:
        return conditions.is_false(await api.get(path), "NamesAccepted")

    await settled(api, is_refused)
    found = await api.get(path)
    accepted, established = (conditions.get(found, name) for name in ("NamesAccepted", "Established"))
    assert accepted is not None
    assert (accepted["reason"], accepted["message"]) == ("KindConflict", '"Widget" is already in use')
    assert established is not None
    assert (established["status"], established["reason"]) == ("False", "NotAccepted")
    assert (await api.send("GET", "/apis/example.com/v1/namespaces/default/gadgets")).status == 404
    await api.delete(f"{CRDS}/{NAME}")

    async def is_free() -> bool:
        return conditions.is_true(await api.get(path), "Established")

    await settled(api, is_free)
    assert (await api.get("/apis/example.com/v1/namespaces/default/gadgets"))["items"] == []


async def test_a_built_in_resource_keeps_its_place(api: Api) -> None:
    """A definition of networking.k8s.io/ingresses neither hides nor, when it goes, deletes Ingresses."""
    definition = crd("leases", "coordination.k8s.io")
    definition["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
    await establish(api, definition)
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "mine"}}
    await api.create(leases, lease)
    await api.delete(f"{CRDS}/leases.coordination.k8s.io")
    await gone(api, "leases.coordination.k8s.io")
    assert (await api.get(f"{leases}/mine"))["metadata"]["name"] == "mine"


async def test_protected_groups_need_approval(api: Api) -> None:
    """A *.k8s.io group needs the annotation, and a condition tells what it says."""
    definition = crd("things", "stuff.k8s.io")
    refused = await api.send("POST", CRDS, definition)
    assert causes(refused) == [
        (
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval "
            'annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
        )
    ]
    definition["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://github.com/kubernetes/pull/1"}
    made = await establish(api, definition)
    found = conditions.get(made, "KubernetesAPIApprovalPolicyConformant")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "ApprovedAnnotation")


async def test_what_is_wrong_with_a_definition_is_told_as_upstream(api: Api) -> None:
    """Each complaint has upstream's words and place."""
    bad = crd(schema={"type": "object", "properties": {"spec": {"properties": {"a": {"type": "array"}}}}})
    bad["metadata"]["name"] = "other.example.com"
    bad["spec"]["versions"][0]["subresources"] = {"scale": {"specReplicasPath": ".status.x"}}
    bad["spec"]["versions"][0]["additionalPrinterColumns"] = [{"name": "A", "type": "text", "jsonPath": "spec.a"}]
    refused = await api.send("POST", CRDS, bad)
    assert refused.status == 422
    assert causes(refused) == [
        'metadata.name: Invalid value: "other.example.com": must be spec.names.plural+"."+spec.group',
        'spec.subresources.scale.specReplicasPath: Invalid value: ".status.x": should be a json path under .spec',
        "spec.subresources.scale.statusReplicasPath: Required value",
        'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
        'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec.a": must be a simple json path starting with .',
        "spec.validation.openAPIV3Schema.properties[spec].properties[a].items: Required value: must be specified",
        (
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object "
            "fields"
        ),
    ]


async def test_references_are_refused(api: Api) -> None:
    """B16: a schema cannot refer to itself."""
    refused = await api.send("POST", CRDS, crd(schema={"type": "object", "properties": {"a": {"$ref": "#"}}}))
    assert refused.status == 422
    path = "spec.validation.openAPIV3Schema.properties[a]"
    assert f"{path}.$ref: Forbidden: $ref is not supported" in causes(refused)


async def test_a_thousand_versions_are_served(api: Api) -> None:
    """B16: many versions are no trouble."""
    schema = spec_schema({"a": {"type": "string"}})
    versions = [version(f"v{number}", schema, storage=number == 1) for number in range(1, 1001)]
    await establish(api, crd(versions=versions))
    answer = await api.get("/apis/example.com/v777/namespaces/default/widgets")
    assert answer["apiVersion"] == "example.com/v777"


async def test_defaults_must_fit(api: Api) -> None:
    """B16: a default that its schema refuses is refused with the definition."""
    schema = spec_schema(
        {
            "n": {"type": "integer", "maximum": 3, "default": 5},
            "o": {"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}},
        }
    )
    refused = await api.send("POST", CRDS, crd(schema=schema))
    path = "spec.validation.openAPIV3Schema.properties[spec].properties"
    assert causes(refused) == [
        f"{path}[n].default: Invalid value: 5:  in body should be less than or equal to 3",
        f'{path}[o].default: Invalid value: {{"b":1}}: must not have unknown fields',
    ]


async def test_names_and_scope_do_not_change_once_established(api: Api) -> None:
    """What decides where objects are stored is immutable."""
    made = await establish(api, crd())
    made["spec"]["scope"] = "Cluster"
    made["spec"]["names"]["kind"] = "Gadget"
    refused = await api.send("PUT", f"{CRDS}/{NAME}", made)
    assert causes(refused) == [
        'spec.scope: Invalid value: "Cluster": field is immutable',
        'spec.names.kind: Invalid value: "Gadget": field is immutable',
    ]


async def test_the_storage_version_is_remembered(api: Api) -> None:
    """storedVersions grows, and a version in it cannot be taken away."""
    schema = spec_schema({"a": {"type": "string"}})
    made = await establish(api, crd(versions=[version("v1", schema, storage=True), version("v2", schema)]))
    assert made["status"]["storedVersions"] == ["v1"]
    made["spec"]["versions"] = [version("v1", schema), version("v2", schema, storage=True)]
    changed = await api.put(f"{CRDS}/{NAME}", made)
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    changed["spec"]["versions"] = [version("v2", schema, storage=True)]
    refused = await api.send("PUT", f"{CRDS}/{NAME}", changed)
    assert causes(refused) == [
        (
            'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, '
            "and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes "
            "v1 from status.storedVersions"
        )
    ]


async def test_unknown_formats_are_warned_about(api: Api) -> None:
    """A format that nobody checks is told once."""
    answer = await api.send("POST", CRDS, crd(schema=spec_schema({"a": {"type": "string", "format": "color"}})))
    assert answer.headers["warning"] == '299 - "unrecognized format \\"color\\""'


async def test_a_definition_can_be_applied(api: Api) -> None:
    """Server-side apply of a definition makes it, and again changes nothing."""
    schema = spec_schema({"a": {"type": "array", "items": {"type": "string", "default": "x"}}})
    path = f"{CRDS}/{NAME}?fieldManager=me"
    assert (await api.patch(path, crd(schema=schema), "apply")).status == 201

    async def is_established() -> bool:
        return conditions.is_true(await api.get(f"{CRDS}/{NAME}"), "Established")

    await settled(api, is_established)
    before = await api.get(f"{CRDS}/{NAME}")
    again = await api.patch(path, crd(schema=schema), "apply")
    assert again.status == 200
    assert again.tree["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    changed = await api.patch(path, crd(schema=spec_schema({"b": {"type": "string"}})), "apply")
    assert changed.tree["metadata"]["generation"] == 2
    assert (await api.create(WIDGETS, widget("w", {"a": ["1"], "b": "2"})))["spec"] == {"b": "2"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"foo": 1}, ".foo"),
        ({"properties": {"spec": {"type": "object", "foo": 1}}}, ".properties.spec.foo"),
        ({"anyOf": [{"foo": 1}]}, ".anyOf[0].foo"),
        ({"not": {"foo": 1}}, ".not.foo"),
        ({"properties": {"spec": {"type": "array", "items": {"type": "string", "foo": 1}}}}, ""),
        ({"properties": {"spec": {"type": "object", "additionalProperties": {"type": "string", "foo": 1}}}}, ""),
    ],
)
async def test_unknown_fields_of_a_schema(api: Api, schema: dict[str, Any], path: str) -> None:
    """They are told at any depth, but below items and additionalProperties, which upstream decodes apart."""
    definition = crd(schema={"type": "object", **schema})
    strict = await api.send("POST", f"{CRDS}?fieldValidation=Strict&dryRun=All", definition)
    warned = await api.send("POST", f"{CRDS}?fieldValidation=Warn", definition)
    assert warned.status == 201
    assert "foo" not in str(warned.tree["spec"]["versions"])
    if not path:
        assert (strict.status, "warning" in warned.headers) == (201, False)
        return
    told = f'unknown field "spec.versions[0].schema.openAPIV3Schema{path}"'
    assert strict.status == 400
    assert strict.tree["message"].endswith(f"strict decoding error: {told}")
    assert warned.headers["warning"].replace('\\"', '"') == f'299 - "{told}"'
