"""What custom kinds add to the OpenAPI documents."""

from typing import Any

from tests.server.conftest import Api
from tests.server.custom import CRDS, crd, establish, gone, spec_schema, version

Tree = dict[str, Any]
NAME = "com.example.v1.Widget"
GVK = "x-kubernetes-group-version-kind"


async def definitions(api: Api) -> Tree:
    """The version 2 document's definitions."""
    found: Tree = (await api.get("/openapi/v2"))["definitions"]
    return found


async def schemas(api: Api, place: str = "example.com/v1") -> Tree:
    """The version 3 document's schemas."""
    found: Tree = (await api.get(f"/openapi/v3/apis/{place}"))["components"]["schemas"]
    return found


async def test_a_schema_is_published(api: Api) -> None:
    """42: the schema is in both documents, with apiVersion, kind, metadata and the list."""
    bars = {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}}
    schema = spec_schema({"bars": bars}, required=["bars"], description="Spec of Widget")
    await establish(api, crd(schema=schema | {"description": "Widget for Testing"}))
    for found in (await definitions(api), await schemas(api)):
        made = found[NAME]
        assert made["description"] == "Widget for Testing"
        assert made["properties"]["spec"] == schema["properties"]["spec"]
        assert set(made["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
        assert made[GVK] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
        listed = found[f"{NAME}List"]
        assert listed[GVK] == [{"group": "example.com", "version": "v1", "kind": "WidgetList"}]
        assert listed["required"] == ["items"]
        assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in found


async def test_the_root_that_preserves_unknown_fields(api: Api) -> None:
    """40, 43: version 2 says only that it is an object; version 3 says that it preserves unknown fields."""
    await establish(api, crd(schema={"type": "object", "x-kubernetes-preserve-unknown-fields": True}))
    assert (await definitions(api))[NAME] == {
        "type": "object",
        GVK: [{"group": "example.com", "version": "v1", "kind": "Widget"}],
    }
    assert (await schemas(api))[NAME]["x-kubernetes-preserve-unknown-fields"] is True


async def test_an_embedded_object_that_preserves_unknown_fields(api: Api) -> None:
    """41: version 2 says nothing below it, not even its type."""
    inner = {
        "type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "Spec",
        "properties": {"a": {"type": "string"}},
    }  # fmt: skip
    await establish(api, crd(schema={"type": "object", "properties": {"spec": inner}}))
    published = (await definitions(api))[NAME]["properties"]["spec"]
    assert published == {"x-kubernetes-preserve-unknown-fields": True, "description": "Spec"}
    assert (await schemas(api))[NAME]["properties"]["spec"] == inner


async def test_what_version_2_cannot_say(api: Api) -> None:
    """Junctions, nullable and int-or-string are left out of version 2."""
    schema = spec_schema(
        {
            "port": {"x-kubernetes-int-or-string": True},
            "maybe": {"type": "string", "nullable": True},
            "sure": {"type": "string", "anyOf": [{"minLength": 1}, {"maxLength": 9}]},
        },
        required=["maybe", "sure"],
    )
    await establish(api, crd(schema=schema))
    spec = (await definitions(api))[NAME]["properties"]["spec"]
    assert spec["required"] == ["sure"]
    assert spec["properties"] == {
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {},
        "sure": {"type": "string"},
    }
    three = (await schemas(api))[NAME]["properties"]["spec"]["properties"]
    assert three["port"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert three["maybe"]["nullable"] is True


async def test_embedded_resources_have_metadata(api: Api) -> None:
    """An embedded resource is published with the fields of every object."""
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}
    await establish(api, crd(schema=spec_schema({"template": inner})))
    template = (await definitions(api))[NAME]["properties"]["spec"]["properties"]["template"]
    assert set(template["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    assert template["required"] == ["kind", "apiVersion"]


async def test_several_definitions(api: Api) -> None:
    """44, 45, 46: kinds of other groups, of the same group and version, and of other versions stand side by side."""
    schema = spec_schema({"a": {"type": "string"}})
    await establish(api, crd("widgets", schema=schema))
    await establish(api, crd("gadgets", schema=schema))
    await establish(api, crd("widgets", "other.org", schema=schema))
    await establish(api, crd("doodads", versions=[version("v3", schema, storage=True), version("v4", schema)]))
    found = await definitions(api)
    for name in ("com.example.v1.Widget", "com.example.v1.Gadget", "org.other.v1.Widget"):
        assert name in found
    assert {"com.example.v3.Doodad", "com.example.v4.Doodad"} <= found.keys()
    assert {"com.example.v1.Widget", "com.example.v1.Gadget"} <= (await schemas(api)).keys()


async def test_versions_come_and_go(api: Api) -> None:
    """38, 39: a version that is no longer served, or has another name, is published so at once."""
    schema = spec_schema({"a": {"type": "string"}})
    made = await establish(api, crd(versions=[version("v1", schema, storage=True), version("v2", schema)]))
    assert {"com.example.v1.Widget", "com.example.v2.Widget"} <= (await definitions(api)).keys()
    made["spec"]["versions"][1]["name"] = "v3"
    made = await api.put(f"{CRDS}/widgets.example.com", made)
    found = await definitions(api)
    assert "com.example.v3.Widget" in found
    assert "com.example.v2.Widget" not in found
    made["spec"]["versions"][1]["served"] = False
    await api.put(f"{CRDS}/widgets.example.com", made)
    found = await definitions(api)
    assert "com.example.v3.Widget" not in found
    assert "com.example.v1.Widget" in found
    await api.delete(f"{CRDS}/widgets.example.com")
    await gone(api)
    assert "com.example.v1.Widget" not in await definitions(api)
