"""What a schema in a CustomResourceDefinition may say."""

from typing import Any

import pytest

from sampan.kinds.apiextensions import crd_spec, schema_rules

STRING = {"type": "string"}


def _texts(schema: dict[str, Any]) -> list[str]:
    return [cause.text for cause in schema_rules.causes(crd_spec.Part("s", schema, status=False), None)]


@pytest.mark.parametrize("name", ["additionalItems", "dependencies"])
def test_some_keywords_are_refused_even_when_empty(name: str) -> None:
    """They are there or not; patterns of properties count when there are some."""
    assert _texts({"type": "object", name: {}}) == [f"s.{name}: Forbidden: {name} is not supported"]
    assert _texts({"type": "object", "patternProperties": {}}) == []


def test_a_dialect_cannot_be_named() -> None:
    """$schema is refused anywhere, when all else is well."""
    text = "s: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"
    below = {"type": "object", "properties": {"a": {**STRING, "$schema": "http://json-schema.org/schema"}}}
    assert _texts(below) == [text]
    assert text not in _texts({**below, "uniqueItems": True})
