"""The schema document: every definition becomes a Type, with what merging and applying need to know."""

import pytest

from sampan.meta import schema
from sampan.meta.schema import Type

CONTAINER = "io.k8s.api.core.v1.Container"


def test_every_definition_becomes_a_type() -> None:
    """No definition is unreadable, and every field of each has a kind."""
    kinds = set()
    for name in schema.definitions():
        found = schema.definition(name)
        kinds |= {found.kind} | {field.kind for field in found.fields.values()}
    assert kinds == {"object", "array", "map", "string", "integer", "number", "boolean", "int-or-string", "quantity",
                     "time", "any"}  # fmt: skip


def test_lists_know_their_keys() -> None:
    """List map keys and patch merge keys come from the extensions."""
    container = schema.definition(CONTAINER)
    ports = container.fields["ports"]
    assert (ports.kind, ports.list_type, ports.list_map_keys) == ("array", "map", ("containerPort", "protocol"))
    assert (ports.patch_strategy, ports.patch_merge_key) == ("merge", "containerPort")
    assert container.fields["args"].list_type == "atomic"
    metadata = schema.definition("io.k8s.api.core.v1.Pod").fields["metadata"]
    assert metadata.fields["finalizers"].list_type == "set"


def test_a_property_may_add_to_what_it_refers_to() -> None:
    """Extensions beside a $ref belong to the field, not to the definition."""
    spec = schema.definition("io.k8s.api.apps.v1.DeploymentSpec")
    assert spec.fields["strategy"].patch_strategy == "retainKeys"
    assert spec.fields["strategy"].name == "io.k8s.api.apps.v1.DeploymentStrategy"
    assert schema.definition("io.k8s.api.apps.v1.DeploymentStrategy").patch_strategy == ""


def test_special_scalars_are_told_apart() -> None:
    """Quantities, times and int-or-string values are kinds of their own."""
    resources = schema.definition(CONTAINER).fields["resources"]
    assert (resources.fields["limits"].kind, resources.fields["limits"].items.kind) == ("map", "quantity")
    assert schema.definition("io.k8s.api.core.v1.HTTPGetAction").fields["port"].kind == "int-or-string"
    meta = schema.definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    assert meta.fields["creationTimestamp"].kind == "time"
    assert meta.fields["managedFields"].items.fields["fieldsV1"].kind == "any"
    assert schema.definition("io.k8s.api.core.v1.LocalObjectReference").map_type == "atomic"


def test_types_are_kept() -> None:
    """A definition is made once, so that compiled checks are too."""
    assert schema.definition(CONTAINER) is schema.definition(CONTAINER)
    assert schema.definition("io.k8s.api.core.v1.PodSpec").fields["containers"].items is schema.definition(CONTAINER)


def test_an_unknown_definition_is_an_error() -> None:
    """A misspelt schema name in a kind file fails at once."""
    with pytest.raises(KeyError):
        schema.definition("io.k8s.api.core.v1.Nonsense")


def test_a_custom_resource_schema_is_read_the_same_way() -> None:
    """x-kubernetes extensions of a CRD's schema mean what they mean in built-in ones."""
    root = Type.from_crd(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "port": {"x-kubernetes-int-or-string": True},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        "when": {"type": "string", "format": "date-time"},
                        "sizes": {"type": "object", "additionalProperties": {"type": "integer"}},
                        "parts": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["id"],
                            "items": {"type": "object", "properties": {"id": {"type": "string", "nullable": True}}},
                        },
                    },
                }
            },
        }
    )
    spec = root.fields["spec"]
    assert {name: field.kind for name, field in spec.fields.items()} == {
        "port": "int-or-string", "free": "any", "when": "string", "sizes": "map", "parts": "array",
    }  # fmt: skip
    assert spec.fields["free"].preserve_unknown
    assert spec.fields["parts"].list_map_keys == ("id",)
    assert root.fields["metadata"].struct == "ObjectMeta"
