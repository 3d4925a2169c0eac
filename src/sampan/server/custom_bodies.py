"""The body of a custom object: what its schema does not know is told and dropped, wrong types are left to validation.

Metadata, the object's own and that of embedded ones, is read as any metadata is.

https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import re
from collections.abc import Sequence
from typing import Any

import orjson

from sampan.kinds.apiextensions import values
from sampan.kinds.kind import Kind
from sampan.meta import fields, objects, schema, status

Tree = dict[str, Any]

_WHOLE = re.compile(rb"\d\.0(?!\d)|\de\+?\d")
_BEYOND_INTEGERS = 2.0**63
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def check_type(tree: Tree, kind: Kind) -> None:
    """A custom object names its type itself; whether the kind is the right one is validation's to say.

    Raises ApiError 400.
    """
    if not isinstance(tree.get("kind"), str) or not tree["kind"]:
        why = f"Object 'Kind' is missing in '{orjson.dumps(tree).decode()}'"
        raise fields.mismatch_error(fields.Mismatch(why), kind.name, kind.version)
    given = tree.get("apiVersion") or ""
    if given != kind.api_version:
        raise status.bad_request(
            f"the API version in the data ({given}) does not match the expected API version ({kind.api_version})"
        )


def conform(tree: Tree, kind: Kind) -> tuple[Tree, list[str]]:
    """The tree as its kind keeps it, and `unknown field "spec.foo"` for each field it does not know.

    Raises ApiError 400 for metadata that is none.
    """
    node = kind.type.node
    data = orjson.dumps(tree)
    made: Tree = orjson.loads(data)
    if _WHOLE.search(data):
        _make_whole(made)
    unknown = _metadata(made, kind)
    try:
        unknown += values.coerce(made, node)
    except values.Malformed as error:
        raise status.bad_request(status.invalid_value(error.field, error.value, str(error)).text) from error
    unknown += values.prune(made, node)
    return made, [f'unknown field "{path}"' for path in unknown]


def _make_whole(value: Any) -> Any:
    """Whole numbers are integers, however they were written: 3.0 is 3."""
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _make_whole(item)
    elif isinstance(value, list):
        value[:] = [_make_whole(item) for item in value]
    elif isinstance(value, float) and value.is_integer() and abs(value) < _BEYOND_INTEGERS:
        return int(value)
    return value


def undeclared(tree: Tree, kind: Kind) -> Sequence[str]:
    """`.spec.foo: field not declared in schema` for each unknown field of an applied configuration."""
    _, unknown = conform(tree, kind)
    return [text.removeprefix('unknown field "').rstrip('"') for text in unknown]


def refuse_undeclared(tree: Tree, kind: Kind, name: str) -> None:
    """An applied configuration says nothing that its schema does not know. Raises ApiError 500, as upstream."""
    paths = undeclared(tree, kind)
    if not paths:
        return
    namespace = objects.namespace(tree)
    what = f"{namespace}/{name}; {kind.api_version}, Kind={kind.name}"
    told = [f".{path}: field not declared in schema" for path in paths]
    why = told[0] if len(told) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in told)
    raise status.failure(500, "", f"failed to create typed patch object ({what}): {why}")


def _metadata(made: Tree, kind: Kind) -> list[str]:
    """The object's own metadata in its form; the paths of unknown fields."""
    if "metadata" not in made:
        return []
    try:
        made["metadata"], unknown = fields.conform(made["metadata"], schema.definition(_OBJECT_META))
    except fields.Mismatch as error:
        raise fields.mismatch_error(error, kind.name, kind.version) from error
    return ["metadata." + text.removeprefix('unknown field "').rstrip('"') for text in unknown]
