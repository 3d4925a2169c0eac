"""Definitions: CustomResourceDefinitions of a layer, and the kinds that its controllers know by them."""

from pathlib import Path

import yaml

from sampan.kinds.apiextensions import custom
from sampan.kinds.kind import Kind, Object


def load(folder: Path) -> tuple[Object, ...]:
    """Every document of the YAML files in a folder, by file name."""
    texts = (file.read_text() for file in sorted(folder.glob("*.yaml")))
    return tuple(document for text in texts for document in yaml.safe_load_all(text) if document)


def kind(definition: Object, version: str = "") -> Kind:
    """The kind in one of the versions that are served, or the stored one: the value that a server makes of it.

    Raises LookupError.
    """
    kinds = custom.kinds_of(definition)
    found = next((each for each in kinds if not version or each.version == version), None)
    if found is None:
        raise LookupError(f"{definition['metadata']['name']} does not serve {version or 'anything'}")
    return found
