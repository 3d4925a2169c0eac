"""Custom objects: their schema, defaults, subresources, columns, selectors, and what a body may say."""

from typing import Any

from tests.server.conftest import Api
from tests.server.custom import CRDS, WIDGETS, crd, establish, spec_schema, version, widget

Tree = dict[str, Any]
NAME = "widgets.example.com"


def causes(answer: Any) -> list[str]:
    """field: message of each cause."""
    return [f"{cause['field']}: {cause['message']}" for cause in answer.tree["details"]["causes"]]


async def test_defaults_are_set_on_requests_and_on_reading(api: Api) -> None:
    """35: a default is written with a request, and one that came later is there when the object is read."""
    text = {"type": "string"}
    schema = {"type": "object", "properties": {"a": {**text, "default": "A"}, "b": text}}
    made = await establish(api, crd(schema=schema))
    assert (await api.create(WIDGETS, widget("old")))["a"] == "A"
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = {
        "a": {**text, "default": "A"},
        "b": {**text, "default": "B"},
    }
    await api.put(f"{CRDS}/{NAME}", made)
    read = await api.get(f"{WIDGETS}/old")
    assert (read["a"], read["b"]) == ("A", "B")
    assert (await api.get(WIDGETS))["items"][0]["b"] == "B"
    assert (await api.create(WIDGETS, widget("new")))["b"] == "B"
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = {"a": text, "b": text}
    made["metadata"]["resourceVersion"] = (await api.get(f"{CRDS}/{NAME}"))["metadata"]["resourceVersion"]
    await api.put(f"{CRDS}/{NAME}", made)
    read = await api.get(f"{WIDGETS}/old")
    assert (read.get("a"), read.get("b")) == ("A", None)


async def test_unknown_fields_are_pruned_also_from_what_is_stored(api: Api) -> None:
    """17: a schema's unknown fields are not kept, and not shown when they became unknown later."""
    made = await establish(api, crd(schema=spec_schema({"a": {"type": "string"}, "b": {"type": "string"}})))
    created = await api.create(WIDGETS, widget("w", {"a": "1", "b": "2", "c": "3"}, other=1))
    assert created["spec"] == {"a": "1", "b": "2"}
    assert "other" not in created
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = spec_schema({"a": {"type": "string"}})
    await api.put(f"{CRDS}/{NAME}", made)
    assert (await api.get(f"{WIDGETS}/w"))["spec"] == {"a": "1"}


async def test_nulls_and_nullable(api: Api) -> None:
    """A null is dropped where it may not be, replaced by a default where there is one, kept where it may be."""
    schema = spec_schema(
        {
            "plain": {"type": "string"},
            "default": {"type": "string", "default": "d"},
            "nullable": {"type": "string", "nullable": True, "default": "n"},
        }
    )
    await establish(api, crd(schema=schema))
    made = await api.create(WIDGETS, widget("w", {"plain": None, "default": None, "nullable": None}))
    assert made["spec"] == {"default": "d", "nullable": None}


async def test_objects_are_validated_in_upstreams_words(api: Api) -> None:
    """Each keyword's complaint has upstream's text, reason and field."""
    properties: Tree = {
        "count": {"type": "integer", "minimum": 1},
        "name": {"type": "string", "maxLength": 3},
        "code": {"type": "string", "pattern": "^[a-z]+$"},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "ports": {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
        "ip": {"type": "string", "format": "ipv4"},
        "size": {"x-kubernetes-int-or-string": True},
        "flag": {"type": "boolean"},
    }
    await establish(api, crd(schema=spec_schema(properties, required=["must"])))
    spec = {
        "count": 0, "name": "long", "code": "A1", "color": "green", "ports": [1, "x"], "ip": "1.2.3", "size": True,
        "flag": "yes",
    }  # fmt: skip
    refused = await api.send("POST", WIDGETS, widget("w", spec))
    assert refused.status == 422
    assert causes(refused) == [
        "spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1",
        "spec.name: Too long: may not be more than 3 bytes",
        "spec.code: Invalid value: \"A1\": spec.code in body should match '^[a-z]+$'",
        'spec.color: Unsupported value: "green": supported values: "red", "blue"',
        'spec.ports[1]: Invalid value: "string": spec.ports[1] in body must be of type integer: "string"',
        "spec.ports: Too many: 2: must have at most 1 items",
        'spec.ip: Invalid value: "1.2.3": spec.ip in body must be of type ipv4: "1.2.3"',
        'spec.size: Invalid value: "boolean": spec.size in body must be of type integer,string: "boolean"',
        'spec.flag: Invalid value: "string": spec.flag in body must be of type boolean: "string"',
        "spec.must: Required value",
    ]
    reasons = [cause["reason"] for cause in refused.tree["details"]["causes"]]
    assert reasons[3:6] == ["FieldValueNotSupported", "FieldValueTypeInvalid", "FieldValueTooMany"]


async def test_junctions_are_told_at_the_root(api: Api) -> None:
    """oneOf and its kin are complained about as upstream does, at <nil>."""
    schema = spec_schema(
        {"a": {"type": "string"}, "b": {"type": "string"}}, oneOf=[{"required": ["a"]}, {"required": ["b"]}]
    )
    await establish(api, crd(schema=schema))
    refused = await api.send("POST", WIDGETS, widget("w", {}))
    assert causes(refused) == [
        '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
        "spec.a: Required value",
    ]
    assert (await api.send("POST", WIDGETS, widget("w", {"a": "1"}))).status == 201


async def test_an_expensive_pattern_is_cheap(api: Api) -> None:
    """B16: a pattern that would take a backtracking matcher for ever takes no time."""
    await establish(api, crd(schema=spec_schema({"a": {"type": "string", "pattern": "^(a+)+$"}})))
    refused = await api.send("POST", WIDGETS, widget("w", {"a": "a" * 5000 + "!"}))
    assert refused.status == 422
    bad = await api.send(
        "POST", CRDS, crd("gadgets", schema=spec_schema({"a": {"type": "string", "pattern": "(?=x)"}}))
    )
    assert "must be a valid regular expression, but isn't: error parsing regexp" in bad.tree["message"]


async def test_an_unchanged_value_is_not_complained_about_again(api: Api) -> None:
    """Ratcheting: a stricter schema does not stop updates of other fields."""
    made = await establish(api, crd(schema=spec_schema({"a": {"type": "string"}, "b": {"type": "string"}})))
    await api.create(WIDGETS, widget("w", {"a": "long", "b": "x"}))
    properties = {"a": {"type": "string", "maxLength": 2}, "b": {"type": "string"}}
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = spec_schema(properties)
    await api.put(f"{CRDS}/{NAME}", made)
    assert (await api.patch(f"{WIDGETS}/w", {"spec": {"b": "y"}})).status == 200
    refused = await api.patch(f"{WIDGETS}/w", {"spec": {"a": "longer"}})
    assert causes(refused) == ["spec.a: Too long: may not be more than 2 bytes"]


async def test_items_of_a_list_are_old_only_where_they_have_keys(api: Api) -> None:
    """Sets and lists without a type are judged as a whole once one item is new, by schemas and by rules."""
    text, keyed = {"type": "string"}, {"type": "array", "x-kubernetes-list-type": "map"}

    def lists(leaf: Tree) -> Tree:
        item = {"type": "object", "required": ["key"], "properties": {"key": text, "value": leaf}}
        return spec_schema({
            "plain": {"type": "array", "items": leaf},
            "set": {"type": "array", "items": leaf, "x-kubernetes-list-type": "set"},
            "map": {**keyed, "x-kubernetes-list-map-keys": ["key"], "items": item},
        })  # fmt: skip

    made = await establish(api, crd(schema=lists(text)))
    old: Tree = {"plain": ["a", "b"], "set": ["a", "b"], "map": [{"key": "a", "value": "a"}]}
    await api.create(WIDGETS, widget("w", old))
    for leaf in ({**text, "enum": ["new"]}, {**text, "x-kubernetes-validations": [{"rule": "self == 'new'"}]}):
        made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = lists(leaf)
        made = await api.put(f"{CRDS}/{NAME}", made)
        assert (await api.patch(f"{WIDGETS}/w", {"metadata": {"labels": {"a": "b"}}})).status == 200
        more = {
            "plain": ["a", "b", "new"],
            "set": ["a", "b", "new"],
            "map": [*old["map"], {"key": "b", "value": "new"}],
        }
        refused = [cause.partition(":")[0] for cause in causes(await api.patch(f"{WIDGETS}/w", {"spec": more}))]
        assert sorted(refused) == ["spec.plain[0]", "spec.plain[1]", "spec.set[0]", "spec.set[1]"]


async def test_sets_and_maps_hold_nothing_twice(api: Api) -> None:
    """Duplicates in lists of type set and map are refused."""
    port = {
        "type": "object", "required": ["port"],
        "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}},
    }  # fmt: skip
    properties = {
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {
            "type": "array", "items": port, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
        },
    }  # fmt: skip
    await establish(api, crd(schema=spec_schema(properties)))
    spec = {"tags": ["a", "b", "a"], "ports": [{"port": 1}, {"port": 1, "protocol": "UDP"}, {"port": 1}]}
    refused = await api.send("POST", WIDGETS, widget("w", spec))
    assert causes(refused) == [
        'spec.tags[2]: Duplicate value: "a"',
        'spec.ports[2]: Duplicate value: {"port":1,"protocol":"TCP"}',
    ]


async def test_lists_merge_by_their_keys_in_server_side_apply(api: Api) -> None:
    """x-kubernetes-list-type and map-keys rule what two appliers own."""
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
    }
    items = {
        "type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    }  # fmt: skip
    await establish(api, crd(schema=spec_schema({"items": items})))
    for manager in ("a", "b"):
        body = widget("w", {"items": [{"name": manager, "v": 1}]})
        answer = await api.patch(f"{WIDGETS}/w?fieldManager={manager}", body, "apply")
        assert answer.status in (200, 201)
    assert (await api.get(f"{WIDGETS}/w"))["spec"]["items"] == [{"name": "a", "v": 1}, {"name": "b", "v": 1}]
    conflict = await api.patch(f"{WIDGETS}/w?fieldManager=b", widget("w", {"items": [{"name": "a", "v": 2}]}), "apply")
    assert (conflict.status, conflict.tree["reason"]) == (409, "Conflict")


async def test_status_and_generation(api: Api) -> None:
    """With the status door, the main one leaves status alone; generation counts the rest."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"a": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"b": {"type": "integer"}}},
        },
    }
    await establish(api, crd(schema=schema, version={"subresources": {"status": {}}}))
    made = await api.create(WIDGETS, widget("w", {"a": 1}, status={"b": 1}))
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    made["spec"]["a"], made["status"] = 2, {"b": 2}
    changed = await api.put(f"{WIDGETS}/w", made)
    assert "status" not in changed
    assert changed["metadata"]["generation"] == 2
    changed["spec"]["a"], changed["status"] = 3, {"b": 3}
    changed["metadata"]["labels"] = changed["metadata"]["annotations"] = {"x": "y"}
    shown = await api.put(f"{WIDGETS}/w/status", changed)
    assert (shown["spec"], shown["status"]) == ({"a": 2}, {"b": 3})
    assert shown["metadata"]["generation"] == 2
    assert not {"labels", "annotations"} & shown["metadata"].keys()


async def test_without_the_status_door_status_is_a_field_like_others(api: Api) -> None:
    """Then it is written with the rest, and counts."""
    await establish(api, crd())
    made = await api.create(WIDGETS, widget("w", status={"b": 1}))
    assert made["status"] == {"b": 1}
    changed = await api.patch(f"{WIDGETS}/w", {"status": {"b": 2}})
    assert changed.tree["metadata"]["generation"] == 2
    labelled = await api.patch(f"{WIDGETS}/w", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.tree["metadata"]["generation"] == 2
    assert (await api.send("GET", f"{WIDGETS}/w/status")).status == 404


async def test_scale(api: Api) -> None:
    """The scale door reads and writes at the definition's paths."""
    scale = {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }  # fmt: skip
    await establish(api, crd(version={"subresources": {"scale": scale}}))
    await api.create(WIDGETS, widget("w", {"replicas": 2}, status={"replicas": 1, "selector": "app=w"}))
    shown = await api.get(f"{WIDGETS}/w/scale")
    assert (shown["spec"], shown["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=w"})
    shown["spec"]["replicas"] = 5
    assert (await api.put(f"{WIDGETS}/w/scale", shown))["spec"] == {"replicas": 5}
    scaled = await api.get(f"{WIDGETS}/w")
    assert (scaled["spec"], scaled["metadata"]["generation"]) == ({"replicas": 5}, 2)
    refused = await api.patch(f"{WIDGETS}/w", {"spec": {"replicas": -1}})
    assert causes(refused) == [".spec.replicas: Invalid value: -1: should be a non-negative integer"]


async def test_columns(api: Api) -> None:
    """additionalPrinterColumns fill the table, by JSONPath, typed; without any there is the age."""
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Count", "type": "integer", "jsonPath": ".spec.count", "description": "How many"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
        {"name": "First", "type": "string", "jsonPath": ".spec.list[0]"},
    ]
    await establish(api, crd(version={"additionalPrinterColumns": columns}))
    ready = {"conditions": [{"type": "X", "status": "?"}, {"type": "Ready", "status": "True"}]}
    await api.create(WIDGETS, widget("w", {"count": 3, "list": ["one"]}, status=ready))
    await api.create(WIDGETS, widget("x", {"count": "many"}))
    answer = await api.send("GET", WIDGETS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    defined = [(c["name"], c["type"], c["priority"]) for c in answer.tree["columnDefinitions"]]
    assert defined == [
        ("Name", "string", 0), ("Ready", "string", 0), ("Count", "integer", 0), ("Since", "date", 1),
        ("First", "string", 0),
    ]  # fmt: skip
    assert answer.tree["columnDefinitions"][2]["description"] == "How many"
    assert answer.tree["columnDefinitions"][1]["description"].startswith(
        "Custom resource definition column (in JSONPath"
    )
    assert [row["cells"] for row in answer.tree["rows"]] == [
        ["w", "True", 3, "0s", "one"],
        ["x", None, None, "0s", None],
    ]


async def test_selectable_fields(api: Api) -> None:
    """37: a field that the definition declares selects in lists; another is refused."""
    schema = spec_schema({"color": {"type": "string"}, "size": {"type": "integer"}, "on": {"type": "boolean"}})
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}, {"jsonPath": ".spec.on"}]
    await establish(api, crd(schema=schema, version={"selectableFields": fields}))
    await api.create(WIDGETS, widget("a", {"color": "blue", "size": 1, "on": True}))
    await api.create(WIDGETS, widget("b", {"color": "red", "size": 2, "on": False}))
    for selector, names in (("spec.color=blue", ["a"]), ("spec.size=2", ["b"]), ("spec.on=true", ["a"])):
        listed = await api.get(f"{WIDGETS}?fieldSelector={selector}")
        assert [item["metadata"]["name"] for item in listed["items"]] == names
    assert (await api.send("GET", f"{WIDGETS}?fieldSelector=spec.other=1")).status == 400
    deleted = await api.delete(f"{WIDGETS}?fieldSelector=spec.color=red")
    assert deleted.status == 200
    assert [item["metadata"]["name"] for item in (await api.get(WIDGETS))["items"]] == ["a"]


async def test_selectable_fields_must_be_scalars_of_the_schema(api: Api) -> None:
    """37: a path that is none, or leads to an object, is refused."""
    schema = spec_schema({"o": {"type": "object"}, "s": {"type": "string"}})
    paths = [".spec.none", ".spec.o", ".metadata.name", ".spec.s", ".spec.s", ".spec['s']"]
    fields = [{"jsonPath": path} for path in paths]
    refused = await api.send("POST", CRDS, crd(schema=schema, version={"selectableFields": fields}))
    kinds = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
    assert causes(refused) == [
        'spec.selectableFields[0].jsonPath: Invalid value: ".spec.none": is an invalid path: does not refer to a valid field',
        f'spec.selectableFields[1].jsonPath: Invalid value: ".spec.o": {kinds}',
        (
            'spec.selectableFields[2].jsonPath: Invalid value: ".metadata.name": is an invalid path: does not refer to a valid '
            "field"
        ),
        'spec.selectableFields[4].jsonPath: Duplicate value: ".spec.s"',
        "spec.selectableFields[5].jsonPath: Invalid value: \".spec['s']\": is an invalid path: array notation is not allowed",
    ]


async def test_versions_show_the_same_object(api: Api) -> None:
    """16: an object is shown in each version that is served; the storage version may change under it."""
    schema = spec_schema({"a": {"type": "string"}})
    made = await establish(api, crd(versions=[version("v1", schema, storage=True), version("v2", schema)]))
    await api.create(WIDGETS, widget("w", {"a": "1"}))
    second = WIDGETS.replace("/v1/", "/v2/")
    shown = await api.get(f"{second}/w")
    assert (shown["apiVersion"], shown["spec"]) == ("example.com/v2", {"a": "1"})
    assert (await api.get(second))["items"][0]["apiVersion"] == "example.com/v2"
    made["spec"]["versions"] = [version("v1", schema), version("v2", schema, storage=True)]
    await api.put(f"{CRDS}/{NAME}", made)
    assert (await api.patch(f"{WIDGETS}/w", {"spec": {"a": "2"}})).status == 200
    assert (await api.get(f"{second}/w"))["spec"] == {"a": "2"}
    assert (await api.get(f"{WIDGETS}/w"))["apiVersion"] == "example.com/v1"


async def test_discovery_names_the_kind(api: Api) -> None:
    """25, 27, 36: both forms of discovery have the resource, its names and its subresources."""
    names = {"shortNames": ["wd"], "categories": ["all"]}
    await establish(api, crd(names=names, version={"subresources": {"status": {}}}))
    resources = (await api.get("/apis/example.com/v1"))["resources"]
    assert [r["name"] for r in resources] == ["widgets", "widgets/status"]
    assert (resources[0]["kind"], resources[0]["singularName"]) == ("Widget", "widget")
    assert (resources[0]["shortNames"], resources[0]["categories"]) == (["wd"], ["all"])
    groups = {group["name"]: group for group in (await api.get("/apis"))["groups"]}
    assert groups["example.com"]["preferredVersion"]["groupVersion"] == "example.com/v1"
    assert "apiextensions.k8s.io" in groups
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = await api.get("/apis", accept=accept)
    (mine,) = (item for item in found["items"] if item["metadata"]["name"] == "example.com")
    (resource,) = mine["versions"][0]["resources"]
    assert (resource["resource"], resource["responseKind"]["kind"]) == ("widgets", "Widget")
    assert [sub["subresource"] for sub in resource["subresources"]] == ["status"]


YAML = "application/apply-patch+yaml"


async def apply(api: Api, body: str) -> Any:
    """A strict server-side apply of YAML."""
    path = f"{WIDGETS}/mytest?fieldManager=e2e&fieldValidation=Strict"
    return await api.send("PATCH", path, body.encode(), content_type=YAML)


HEAD = "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: mytest\n  finalizers:\n  - test-finalizer\n"
PORTS: Tree = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": {
        "type": "object",
        "required": ["containerPort", "protocol"],
        "properties": {
            "containerPort": {"type": "integer", "format": "int32"},
            "name": {"type": "string"},
            "protocol": {"type": "string"},
        },
    },
}
CRON: Tree = {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"}
SPEC = (
    'spec:\n  foo: foo1\n  cronSpec: "* * * * */5"\n  ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP\n'
)


async def test_apply_of_a_valid_object(api: Api) -> None:
    """50: what fits the schema is applied."""
    await establish(api, crd(schema=spec_schema({"foo": {"type": "string"}, "cronSpec": CRON, "ports": PORTS})))
    assert (await apply(api, HEAD + SPEC)).status == 201


async def test_apply_without_a_schema(api: Api) -> None:
    """49: where unknown fields are preserved, anything is applied."""
    await establish(api, crd())
    assert (await apply(api, HEAD + SPEC.replace("foo", "unknown"))).status == 201


async def test_apply_of_an_undeclared_field(api: Api) -> None:
    """51: a field that the schema does not declare is refused."""
    await establish(api, crd(schema=spec_schema({"foo": {"type": "string"}, "cronSpec": CRON, "ports": PORTS})))
    refused = await apply(api, HEAD + "unknownField: unknown\n" + SPEC)
    assert refused.tree["message"] == (
        "failed to create typed patch object (/mytest; example.com/v1, Kind=Widget): "
        ".unknownField: field not declared in schema"
    )


async def test_apply_of_duplicates(api: Api) -> None:
    """52: repeated keys are told with their line, also below an object that preserves unknown fields."""
    schema = spec_schema(
        {"foo": {"type": "string"}, "cronSpec": CRON, "ports": PORTS}, **{"x-kubernetes-preserve-unknown-fields": True}
    )
    await establish(api, crd(schema=schema))
    body = "\n" + HEAD + SPEC.replace("  foo: foo1\n", "  unknown: uk1\n  foo: foo1\n  foo: foo2\n")
    refused = await apply(api, body)
    assert 'line 11: key "foo" already set in map' in refused.tree["message"]


async def test_apply_of_unknown_metadata(api: Api) -> None:
    """54: unknown metadata fields are found in the object and in an embedded one."""
    template = {
        "type": "object", "x-kubernetes-embedded-resource": True,
        "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"},
        },
    }  # fmt: skip
    schema = spec_schema({"template": template}, **{"x-kubernetes-preserve-unknown-fields": True})
    await establish(api, crd(schema=schema))
    body = HEAD.replace("  finalizers", "  unknownMeta: unknown\n  finalizers") + (
        "spec:\n  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: unknown\n"
        "      name: subobject\n"
    )
    refused = await apply(api, body)
    assert ".metadata.unknownMeta: field not declared in schema" in refused.tree["message"]
    assert ".spec.template.metadata.unknownSubMeta: field not declared in schema" in refused.tree["message"]


async def test_field_validation_of_creates_and_updates(api: Api) -> None:
    """Strict refuses unknown and duplicate fields together, Warn tells, Ignore drops."""
    await establish(api, crd(schema=spec_schema({"a": {"type": "string"}})))
    body = (
        b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","odd":1},'
        b'"spec":{"a":"1","a":"2","b":3,"c":[1]}}'
    )
    texts = 'unknown field "metadata.odd", duplicate field "spec.a", unknown field "spec.b", unknown field "spec.c"'
    refused = await api.send("POST", f"{WIDGETS}?fieldValidation=Strict", body)
    assert refused.status == 400
    assert f"strict decoding error: {texts}" in refused.tree["message"]
    warned = await api.send("POST", f"{WIDGETS}?fieldValidation=Warn&dryRun=All", body)
    assert warned.headers["warning"].count("299 - ") == 4
    ignored = await api.send("POST", f"{WIDGETS}?fieldValidation=Ignore", body)
    assert "warning" not in ignored.headers
    assert ignored.tree["spec"] == {"a": "2"}
    patched = await api.patch(f"{WIDGETS}/w?fieldValidation=Strict", {"spec": {"b": 1}})
    assert patched.status == 422
    assert patched.tree["message"].endswith('strict decoding error: unknown field "spec.b"')


async def test_media_types(api: Api) -> None:
    """Custom resources take JSON and YAML, no protobuf and no strategic merge patch."""
    await establish(api, crd())
    await api.create(WIDGETS, widget("w"))
    assert (await api.patch(f"{WIDGETS}/w", {}, "strategic")).status == 415
    assert (
        await api.send("POST", WIDGETS, b"k8s\x00", content_type="application/vnd.kubernetes.protobuf")
    ).status == 415
    accept = "application/vnd.kubernetes.protobuf"
    assert (await api.send("GET", f"{WIDGETS}/w", accept=accept)).status == 406


async def test_finalizers_want_a_domain(api: Api) -> None:
    """A bare finalizer is warned about."""
    await establish(api, crd())
    made = widget("w")
    made["metadata"]["finalizers"] = ["mine"]
    answer = await api.send("POST", WIDGETS, made)
    assert "prefer a domain-qualified finalizer name" in answer.headers["warning"]


async def test_a_replacement_says_what_it_replaces(api: Api) -> None:
    """A PUT without a resourceVersion is refused for custom objects and definitions."""
    made = await establish(api, crd())
    await api.create(WIDGETS, widget("w"))
    refused = await api.send("PUT", f"{WIDGETS}/w", widget("w"))
    text = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
    assert (refused.status, refused.tree["message"]) == (422, f'widgets.example.com "w" is invalid: {text}')
    del made["metadata"]["resourceVersion"]
    assert (await api.send("PUT", f"{CRDS}/{NAME}", made)).status == 422


async def test_true_over_one_is_a_change(api: Api) -> None:
    """What Python takes for equal is written all the same: its generation counts, and it is the writer's."""
    free = {"x-kubernetes-preserve-unknown-fields": True}
    await establish(api, crd(schema={"type": "object", "properties": {"spec": {"type": "object", **free}}}))
    made = await api.create(WIDGETS, widget("w", {"a": 1, "b": [0, {"c": 1}]}))
    made["spec"] = {"a": True, "b": [False, {"c": 1}]}
    api.clock.time += 10
    answer = await api.send("PUT", f"{WIDGETS}/w?fieldManager=other", made)
    assert b'"a":true' in answer.body
    assert answer.tree["metadata"]["generation"] == 2
    assert answer.tree["metadata"]["managedFields"][-1]["fieldsV1"] == {"f:spec": {"f:a": {}, "f:b": {}}}
    again = (await api.patch(f"{WIDGETS}/w", {"spec": {"b": [False, {"c": True}]}})).tree
    assert again["spec"]["b"][1]["c"] is True
    assert again["metadata"]["generation"] == 3
    same = (await api.patch(f"{WIDGETS}/w", {"spec": {"b": [False, {"c": True}]}})).tree
    assert same["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


async def test_true_over_one_is_a_change_of_what_may_not_change(api: Api) -> None:
    """Free forms of built-in kinds are compared like that too."""
    revisions = "/apis/apps/v1/namespaces/default/controllerrevisions"
    made = await api.create(
        revisions,
        {
            "kind": "ControllerRevision",
            "apiVersion": "apps/v1",
            "metadata": {"name": "r"},
            "revision": 1,
            "data": {"a": 1},
        },
    )
    answer = await api.send("PUT", f"{revisions}/r", made | {"data": {"a": True}})
    assert (answer.status, causes(answer)) == (422, ['data: Invalid value: {"a":true}: field is immutable'])
    templates = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
    opaque = {"driver": "x.example", "parameters": {"shared": 1}}
    devices = {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}], "config": [{"opaque": opaque}]}
    made = await api.create(
        templates,
        {
            "kind": "ResourceClaimTemplate",
            "apiVersion": "resource.k8s.io/v1",
            "metadata": {"name": "t"},
            "spec": {"spec": {"devices": devices}},
        },
    )
    made["spec"]["spec"]["devices"]["config"][0]["opaque"]["parameters"] = {"shared": True}
    answer = await api.send("PUT", f"{templates}/t", made)
    assert (answer.status, answer.tree["details"]["causes"][0]["field"]) == (422, "spec")
