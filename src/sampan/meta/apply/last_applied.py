"""From client-side apply to server-side apply, and back: what the annotation of `kubectl apply` says is kubectl's own.

An apply by kubectl takes, without a conflict, the fields that the annotation says and the object still has so. It then
writes the annotation anew, so that a later client-side apply knows what was said last. Other managers get neither.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply
"""

from typing import Any

import orjson

from sampan.meta import objects, schema, validation
from sampan.meta.apply import checking, comparison, fieldset
from sampan.meta.status import ApiError
from sampan.meta.wire import json

Tree = dict[str, Any]
Set = fieldset.Set

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"


def own_fields(live: Tree, api_version: str, type: schema.Type) -> Set | None:
    """The fields that the object's annotation says, as far as they are still so; None where it says nothing usable."""
    said = _said(live)
    try:
        tree = json.decode_strict(said.encode())[0] if said else None
        if not isinstance(tree, dict) or tree.get("apiVersion") != api_version:
            return None
        if not isinstance(tree.get("metadata"), dict):
            return None
        checking.check(tree, type)
    except ApiError:
        return None
    found = comparison.compare(tree, live, type)
    return fieldset.difference(fieldset.difference(fieldset.applied(tree, type), found.changed), found.removed)


def noted(made: Tree, config: Tree) -> Tree:
    """The object with `config` in its annotation, where it has one; without it where all annotations grew too large."""
    if not _said(made):
        return made
    annotations = {**objects.metadata(made)["annotations"], ANNOTATION: _text(config)}
    if not validation.annotations_fit(annotations):
        del annotations[ANNOTATION]
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}}


def _said(obj: Tree) -> str:
    annotations = objects.metadata(obj).get("annotations")
    said = annotations.get(ANNOTATION) if isinstance(annotations, dict) else None
    return said if isinstance(said, str) else ""


def _text(config: Tree) -> str:
    metadata = config.get("metadata", {})
    if ANNOTATION in (metadata.get("annotations") or {}):
        kept = {name: value for name, value in metadata["annotations"].items() if name != ANNOTATION}
        config = {**config, "metadata": {**metadata, "annotations": kept}}
    return json.escaped(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).decode() + "\n"
