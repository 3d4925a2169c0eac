"""A patch as its client sent it: read, and refused in upstream's words where it, or what it makes, cannot be read.

https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from typing import Any, NamedTuple

import orjson

from sampan.kinds.kind import Kind
from sampan.meta import fields, go_text, status
from sampan.meta.wire import json
from sampan.server import other_types
from sampan.server.call import Call
from sampan.server.served import Served

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

Tree = dict[str, Any]

REDACTED = "<secret contents redacted>"
_STEP_FIELDS = ("op", "path", "from", "value")


class Patch(NamedTuple):
    """A JSON, merge or strategic merge patch; `problems` are its repeated and unknown fields."""

    document: Any
    media: str
    problems: tuple[str, ...] = ()

    def told(self, unknown: list[str]) -> list[str]:
        """What is told of a patch that made an object with these unknown fields."""
        return [*self.problems, *(sorted(unknown) if self.media == STRATEGIC_PATCH else unknown)]

    def unfit(self, made: Any, kind: Kind, error: fields.Undecodable) -> status.ApiError:
        """The 422 for a patch that made what its type cannot hold; of a Secret it shows nothing."""
        is_strategic = self.media == STRATEGIC_PATCH
        why = error.why.unfit if is_strategic else str(error.why)
        if kind.name == "Secret" and not kind.group:
            shown = REDACTED
        else:
            shown = go_text.text(self.document) if is_strategic else orjson.dumps(made).decode()
        return status.invalid("", "", "", [status.invalid_value("patch", shown, why)])


def read(call: Call, media: str) -> Patch:
    """The patch in a request's body. Raises ApiError 400."""
    body = call.request.body
    if not isinstance(body, bytes):
        return Patch(body, media)
    is_typed = call.field_validation != "Ignore"
    lead = "error decoding patch: " if is_typed and media != STRATEGIC_PATCH else ""
    try:
        document, problems = json.decode_strict(body)
    except status.ApiError as error:
        raise status.bad_request(lead + error.message.removeprefix(json.UNREADABLE)) from None
    if media == JSON_PATCH:
        problems = _step_problems(document, problems, is_typed=is_typed)
    elif not isinstance(document, dict):
        raise _of_wrong_type(document, "Go value of type map[string]interface {}", lead)
    return Patch(document, media, tuple(problems))


def typed(patch: Patch, made: Tree, kind: Kind, version: str, served: Served) -> Tree:
    """What a patch of a built-in kind made, as an object of that; a strategic patch cannot make it another's.

    The others may have made it one of another version of the kind (see `version_said`). Raises ApiError 422.
    """
    names = {"kind": kind.name, "apiVersion": f"{kind.group}/{version}" if kind.group else version}
    given = {name: made.get(name) or value for name, value in names.items()}
    if patch.media == STRATEGIC_PATCH:
        given = {name: names[name] if isinstance(value, str) else value for name, value in given.items()}
    elif given != names and _version_of(given, kind, served) is None:
        error = fields.mismatch_error(fields.Mismatch(_why_of_another(given, names, kind, served)), kind.name, version)
        raise patch.unfit(made, kind, error)
    return made if all(made.get(name) == value for name, value in given.items()) else {**made, **given}


def version_said(patch: Patch, made: Tree, kind: Kind, served: Served) -> Kind:
    """The kind in the version that a patched object says to be of, in which it is read. Raises ApiError 422."""
    if made.get("apiVersion") == kind.api_version:
        return kind
    found = _version_of({"kind": kind.name, "apiVersion": made.get("apiVersion")}, kind, served)
    if found is None:
        error = fields.mismatch_error(fields.Mismatch(_why_not_converted(made, kind)), kind.name, kind.version)
        raise patch.unfit(made, kind, error)
    return found


def _version_of(given: Tree, kind: Kind, served: Served) -> Kind | None:
    """The served kind of this name and apiVersion, if its objects are the kind's own in another version."""
    if given["kind"] != kind.name or not isinstance(given["apiVersion"], str):
        return None
    group, _, version = given["apiVersion"].rpartition("/")
    found = served.by_kind(group, version, kind.name)
    return found if found is not None and found.place == kind.place else None


def _why_not_converted(made: Tree, kind: Kind) -> str:
    """Why a custom object of this apiVersion does not become one of the kind's."""
    given = made.get("apiVersion")
    if not isinstance(given, str):
        shown = f"json: cannot unmarshal {fields.go_value(given)} into Go struct field .apiVersion of type string"
        return json.UNREADABLE + shown
    if given.count("/") > 1:
        return f"unexpected GroupVersion string: {given}"
    group, _, version = given.rpartition("/")
    if group != kind.group:
        what = f"{group}/{version}, Kind={made.get('kind')}"
        return f'{what} is unstructured and is not suitable for converting to "{kind.api_version}"'
    return f"request to convert CR from an invalid group/version: {given}"


def _why_of_another(given: Tree, wanted: dict[str, str], kind: Kind, served: Served) -> str:
    """Why something of this kind and apiVersion is nothing of the wanted one."""
    for name, value in given.items():
        if not isinstance(value, str):
            shown = f"json: cannot unmarshal {fields.go_value(value)} into Go struct field .{name} of type string"
            return json.UNREADABLE + shown
    name, api_version = given["kind"], given["apiVersion"]
    if api_version.count("/") > 1:
        return f"unexpected GroupVersion string: {api_version}"
    group, _, version = api_version.rpartition("/")
    found = served.by_kind(group, version, name)
    if found is None or found.custom:
        return other_types.not_registered(api_version, name)
    return other_types.not_converted(api_version, name, kind)


def _step_problems(document: Any, duplicates: list[str], *, is_typed: bool) -> list[str]:
    """What a JSON patch says that it should not. Raises ApiError 400 when it is no list of operations."""
    lead = "error decoding patch: " if is_typed else ""
    if not isinstance(document, list):
        raise _of_wrong_type(
            document, f"Go value of type {'[]handlers.jsonPatchOp' if is_typed else 'jsonpatch.Patch'}", lead
        )
    unknown = []
    for index, step in enumerate(document):
        if not isinstance(step, dict):
            name = "handlers.jsonPatchOp" if is_typed else "jsonpatch.Operation"
            raise _of_wrong_type(step, f"Go value of type {name}", lead)
        for name in ("op", "path", "from") if is_typed else ():
            if not isinstance(step.get(name), str | None):
                raise _of_wrong_type(step[name], f"Go struct field jsonPatchOp.{name} of type string", lead)
        unknown += [f'unknown field "[{index}].{name}"' for name in step if name not in _STEP_FIELDS]
    return [f"json patch {text}" for text in fields.in_document_order(document, unknown, duplicates)]


def _of_wrong_type(value: Any, wanted: str, lead: str) -> status.ApiError:
    return status.bad_request(f"{lead}json: cannot unmarshal {fields.go_value(value)} into {wanted}")
