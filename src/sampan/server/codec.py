"""Bodies in and out: media types, strict decoding, and the shape in which a client wants its answer.

In: JSON, YAML and protobuf. Out: JSON or protobuf; whole objects, Tables or metadata only.

https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from sampan.kinds import builtin
from sampan.kinds.autoscaling.scale import SCALE
from sampan.kinds.kind import Kind
from sampan.meta import fields, objects, status
from sampan.meta.wire import json, protobuf, table, yaml
from sampan.server import aside, custom_bodies, other_types
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.web.message import Response

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED_BODIES = (JSON, YAML, PROTOBUF)
MAX_STRICT = 100
SHOWN_BYTES = 30
YAML_WEIGHT = 8
LINE_END = b"\n"
_PROTOBUF_START = b"k8s\0"
YAML_REPEATED = "yaml: unmarshal errors:\n"
MAX_WARNING_LENGTH = 256
MAX_WARNINGS_LENGTH = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Tree = dict[str, Any]
Conformed = Callable[[Tree, Kind], tuple[Tree, list[str]]]
Told = Callable[[list[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is written. `shape` is "" for objects, "Table" or "PartialObjectMetadata"."""

    media: str = JSON
    shape: str = ""
    shape_version: str = "v1"

    @property
    def content_type(self) -> str:
        if not self.shape or self.media == PROTOBUF:
            return self.media
        return f"{self.media};as={self.shape};g=meta.k8s.io;v={self.shape_version}"


_PLAIN = Form()


def negotiate(accept: str, kind: Kind | None) -> Form:
    """The first acceptable form of an Accept header. Raises ApiError 406 when there is none."""
    if not accept or accept == JSON:
        return _PLAIN
    for clause in accept.split(","):
        media, *rest = (part.strip() for part in clause.split(";"))
        found = _form(media, dict(part.split("=", 1) for part in rest if "=" in part), kind)
        if found is not None:
            return found
    raise status.not_acceptable(ACCEPTED_BODIES)


def _form(media: str, parameters: dict[str, str], kind: Kind | None) -> Form | None:
    if media in ("*/*", "application/*"):
        media = JSON
    if media not in ACCEPTED_BODIES:
        return None
    shape = parameters.get("as", "")
    if media == PROTOBUF and not (_has_message(kind) if not shape else _is_metadata(shape, parameters)):
        return None
    if not shape:
        return Form(media)
    if kind is not None and kind.not_stored and "get" not in kind.verbs:
        return None  # a review is no row of anything
    base = shape.removesuffix("List")
    known = parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1")
    if not known or base not in ("Table", "PartialObjectMetadata"):
        return None
    return Form(media, base, parameters["v"])


def _is_metadata(shape: str, parameters: dict[str, str]) -> bool:
    """Whether this is the one shape that has a message: metadata alone, of any kind, custom ones too."""
    return shape.removesuffix("List") == "PartialObjectMetadata" and parameters.get("v") == "v1"


def _has_message(kind: Kind | None) -> bool:
    return (
        kind is not None and not kind.custom and protobuf.message_for(kind.group, kind.version, kind.name) is not None
    )


def media_type(call: Call) -> str:
    return call.request.headers.get("content-type", JSON).partition(";")[0].strip().lower() or JSON


def body_tree(call: Call, kind: Kind | None = None) -> Tree:
    """The object in a request's body, checked against its type. Raises ApiError 400 or 415.

    `kind` is the body's type where it is not the resource's own (a Scale, a TokenRequest).
    """
    kind = kind or call.kind
    body = call.request.body
    if isinstance(body, dict):
        copied: Tree = orjson.loads(orjson.dumps(body))
        return check_fields(call, copied, kind)
    if kind.custom and media_type(call) == PROTOBUF:
        raise status.unsupported_media_type(ACCEPTED_BODIES[:2])
    tree, problems = _object(media_type(call), body, kind)
    check_type(tree, kind, call.info.version if kind is call.kind else kind.version)
    return check_fields(call, tree, kind, problems)


def _object(media: str, body: bytes, kind: Kind) -> tuple[Tree, list[str]]:
    """A body that is to be of this kind, and its repeated fields. Raises ApiError 400 or 415."""
    try:
        tree, problems = _any(media, body)
    except status.ApiError as error:
        if error.code != 400 or media == PROTOBUF:
            raise
        raise _unrecognized(kind, error.message, body) from None
    if tree is None:  # says nothing, which is for the rules to judge
        return {}, problems
    if not isinstance(tree, dict):
        raise _unrecognized(kind, f"{_NO_TYPE} {fields.go_value(tree)} into Go value of type {_TYPE_META}", body)
    for name in ("apiVersion", "kind"):
        if not isinstance(tree.get(name), str | None):
            why = f"{_NO_TYPE} {fields.go_value(tree[name])} into Go struct field .{name} of type string"
            raise _unrecognized(kind, why, body)
    return tree, problems


_NO_TYPE = f"{json.UNREADABLE}json: cannot unmarshal"
_TYPE_META = r"""struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"""


def _unrecognized(kind: Kind, why: str, body: bytes) -> status.ApiError:
    """The refusal of a body that can't be read, with its first bytes, which are shown as they are if it may be JSON."""
    shown = body[:SHOWN_BYTES].decode(errors="replace") if body[:1] == b"{" else body[:SHOWN_BYTES].hex()
    more = " ..." if len(body) > SHOWN_BYTES else ""
    what = f"the object provided is unrecognized (must be of type {kind.name})"
    return status.bad_request(f"{what}: {why} ({shown or '<empty>'}{more})")


async def body(call: Call, kind: Kind | None = None) -> Tree:
    """The same, where a large body holds nobody up."""
    return await aside.run(body_tree, call, kind, size=weight(call))


async def replacement(call: Call, known: Tree | None) -> Tree:
    """The same for an object that takes the place of `known`; it may be the caller's own and is not to be changed."""
    if not isinstance(call.request.body, dict) or not call.request.body.get("metadata"):
        made = await body(call)
        made.setdefault("metadata", {})
        return made
    return check_change(call, call.request.body, known)


def weight(call: Call) -> int:
    """How large a body is, in bytes of JSON that would be as much work."""
    body = call.request.body
    is_yaml = isinstance(body, bytes) and not body.startswith((b"{", b"[", _PROTOBUF_START))
    return len(body) * (YAML_WEIGHT if is_yaml else 1)


def any_tree(call: Call) -> Tree:
    """A body that is not an object of a kind (DeleteOptions). Raises ApiError 400 or 415."""
    return _decode(media_type(call), call.request.body)[0] if isinstance(call.request.body, bytes) else {}


def _decode(media: str, body: bytes) -> tuple[Tree, list[str]]:
    tree, problems = _any(media, body)
    if not isinstance(tree, dict):
        raise status.bad_request("the object provided is unrecognized (must be of type Object)")
    return tree, problems


def _any(media: str, body: bytes) -> tuple[Any, list[str]]:
    if media == JSON:
        tree, problems = json.decode_strict(body)
    elif media in (YAML, "text/yaml", "application/x-yaml"):
        tree, problems = yaml.decode_strict(body)
    elif media == PROTOBUF:
        tree, problems = protobuf.decode(body), []
    else:
        raise status.unsupported_media_type(ACCEPTED_BODIES)
    return tree, list(problems)


def check_type(tree: Tree, kind: Kind, version: str) -> None:
    """Fills in kind and apiVersion where they are missing. Raises ApiError 400 when they are another type's."""
    if kind.custom:
        custom_bodies.check_type(tree, kind)
        return
    expected = f"{kind.group}/{version}" if kind.group else version
    given_kind = tree["kind"] = tree.get("kind") or kind.name
    given_version = tree["apiVersion"] = tree.get("apiVersion") or expected
    if given_kind == kind.name and given_version in kind.said_as:
        tree["apiVersion"] = given_version = expected
    if given_kind != kind.name:
        raise _of_another_type(str(given_version), str(given_kind), kind)
    if given_version != expected:
        raise status.bad_request(
            f"the API version in the data ({given_version}) does not match the expected API version ({expected})"
        )


def _of_another_type(api_version: str, name: str, kind: Kind) -> status.ApiError:
    is_known = builtin.is_type(api_version, name)
    why = (
        other_types.not_converted(api_version, name, kind)
        if is_known
        else other_types.not_registered(api_version, name)
    )
    version = api_version.rpartition("/")[2]
    return status.bad_request(f'{name} in version "{version}" cannot be handled as a {kind.name}: {why}')


def check_fields(call: Call, tree: Tree, kind: Kind, problems: Sequence[str] = (), *, applied: bool = False) -> Tree:
    """The tree as its type keeps it: unknown fields are dropped, and refused or warned about as
    ?fieldValidation= says. Raises ApiError 400, also for values of a wrong type. An `applied` one keeps its zeros.
    """
    return _checked(call, tree, kind, problems, partial(_conformed, applied=applied))


def check_change(call: Call, tree: Tree, known: Tree | None) -> Tree:
    """The same for an object that takes the place of a stored one: what it shares with that is not looked at again."""
    return _checked(call, tree, call.kind, (), partial(_conformed, known=known))


def check_patched(call: Call, tree: Tree, kind: Kind, told: Told, known: Tree | None = None) -> Tree:
    """The same for what a patch made; `told` says what is told of it, given its unknown fields."""
    kept, unknown = _kept(tree, kind, partial(_conformed, known=known))
    _tell(call, kind, told(unknown))
    return kept


def _conformed(tree: Tree, kind: Kind, *, applied: bool = False, known: Tree | None = None) -> tuple[Tree, list[str]]:
    if kind.custom:
        return custom_bodies.conform(tree, kind)
    return fields.conform(tree, kind.type, applied=applied, known=known)


def _checked(call: Call, tree: Tree, kind: Kind, problems: Sequence[str], conformed: Conformed) -> Tree:
    kept, unknown = _kept(tree, kind, conformed)
    _tell(call, kind, fields.in_document_order(tree, unknown, list(problems)) if unknown or problems else ())
    return kept


def _kept(tree: Tree, kind: Kind, conformed: Conformed) -> tuple[Tree, list[str]]:
    """The tree as its type keeps it, and what that does not know. Raises Undecodable."""
    if not kind.schema and kind.own_type is None:
        return tree, []
    try:
        return conformed(tree, kind)
    except fields.Mismatch as error:
        raise fields.mismatch_error(error, kind.name, kind.version) from error


def _tell(call: Call, kind: Kind, texts: Sequence[str]) -> None:
    """Refuses what is told, warns of it or ignores it, as ?fieldValidation= says. Raises Undecodable."""
    mode, texts = call.field_validation, texts[:MAX_STRICT]
    if texts and mode == "Strict":
        raise fields.strict_error(texts, kind.name, kind.version)
    if mode == "Warn":
        call.warnings.extend(line for text in texts for line in _warning_lines(text))


def _warning_lines(text: str) -> list[str]:
    """One warning for each key that a YAML document says twice; any other text as it is."""
    repeated = text.removeprefix(YAML_REPEATED)
    return [text] if repeated == text else [line.strip() for line in repeated.split("\n")]


async def answer(call: Call, item: Item, code: int = 200) -> Response:
    """The same as `respond`, where making the form of a large object holds nobody up."""
    if len(item.stored) < aside.LARGE_BYTES:
        return respond(call, item, code)
    return await aside.run(respond, call, item, code, size=len(item.stored))


def respond(call: Call, item: Item, code: int = 200) -> Response:
    """One object in the form the client wants."""
    form = negotiate(call.request.headers.get("accept", ""), call.kind)
    if form is _PLAIN or form == _PLAIN:
        body = item.tree if call.request.takes_trees else item.wire + LINE_END
        return Response(code, body, warning_headers(call.warnings))
    if form == Form(PROTOBUF):
        data = protobuf.wrap(call.api_version, call.kind.name, item.protobuf)
        return Response(code, data, warning_headers(call.warnings), form.content_type)
    return respond_tree(call, item.copy(), code, form)


def respond_tree(call: Call, tree: Tree, code: int = 200, form: Form | None = None) -> Response:
    """One object, or anything else that has apiVersion and kind (a Scale, a review, a Status)."""
    form = form or negotiate(call.request.headers.get("accept", ""), call.kind)
    headers = warning_headers(call.warnings)
    if form is _PLAIN and call.request.takes_trees:
        return Response(code, tree, headers)
    if form.shape == "Table":
        options = table_options(call)
        columns = SCALE.columns if tree.get("kind") == SCALE.name else call.kind.columns
        version = objects.resource_version(tree)
        made = table.in_version(table.table(columns, [tree], call.now, options, version), form.shape_version)
        return Response(code, encode(made, form), headers, form.content_type)
    if form.shape:
        made = table.in_version(table.partial_metadata(tree), form.shape_version)
        return Response(code, encode(made, form), headers, form.content_type)
    return Response(code, encode(tree, form), headers, form.content_type)


def encode(tree: Tree, form: Form) -> bytes:
    """A tree as JSON, YAML or protobuf; texts end with a line break."""
    if form.media == PROTOBUF:
        return protobuf.encode(tree)
    if form.media == YAML:
        return yaml.encode(tree)
    return json.encode(tree) + LINE_END


def table_options(call: Call) -> str:
    """?includeObject= of a Table request: None, Metadata (the default) or Object."""
    include = call.request.param("includeObject") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise status.bad_request(f"unrecognized includeObject value: {status.show(include)}")
    return include


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    """Warning headers as RFC 7234 writes them, joined: 299 - "text". Texts with control characters are left out."""
    if not warnings:
        return {}
    texts = _bounded([text for text in dict.fromkeys(warnings) if text and not _CONTROL.search(text)])
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return {"Warning": ", ".join(f'299 - "{text}"' for text in quoted)} if texts else {}


def _bounded(texts: Sequence[str]) -> Sequence[str]:
    """Long texts are cut when they are many, and no more are taken once the bound is reached."""
    sums = list(itertools.accumulate(map(len, texts)))
    if not sums or sums[-1] <= MAX_WARNINGS_LENGTH:
        return texts
    too_many = next(index for index, length in enumerate(sums) if length > MAX_WARNINGS_LENGTH)
    kept = [text[:MAX_WARNING_LENGTH] for text in texts[: too_many + 1]]
    written = sum(map(len, kept))
    for text in texts[too_many + 1 :]:
        if written >= MAX_WARNINGS_LENGTH:
            break
        kept.append(text[:MAX_WARNING_LENGTH])
        written += len(kept[-1])
    return kept
