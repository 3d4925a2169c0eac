"""OpenAPI documents: the schemas and paths of what the API serves, as `kubectl explain` and apply read them.

Pure functions of the kinds; the caller keeps what they return. Each group and version has a version 3
document of its own; version 2 is one document for all.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.meta import schema
from sampan.server import discovery, openapi_paths
from sampan.server.openapi_paths import Operation

Tree = dict[str, Any]

VERSION = "v1.36.0"
FORM = 2
"""Of the documents: to be raised whenever the same kinds give other ones, so that clients ask for them anew."""
_PATCHES = (
    "application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)  # fmt: skip
_BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_COMMON = ("DeleteOptions", "Status", "WatchEvent", "APIResourceList", "Patch")


class _Group:
    """The kinds of one group and version; equal only to the very same values, so that what is made of them is kept."""

    __slots__ = ("group", "kinds", "version")

    def __init__(self, kinds: Sequence[Kind], group: str, version: str) -> None:
        self.group, self.version = group, version
        self.kinds = tuple(kinds)

    def __hash__(self) -> int:
        return hash((self.group, self.version, *map(id, self.kinds)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Group)
            and (self.group, self.version) == (other.group, other.version)
            and len(self.kinds) == len(other.kinds)
            and all(mine is its for mine, its in zip(self.kinds, other.kinds, strict=True))
        )

    @property
    def path(self) -> str:
        return f"apis/{self.group}/{self.version}" if self.group else f"api/{self.version}"


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one group and version add to the version 2 document: its paths (JSON without the braces), the names of
    the definitions it needs, and those that are its own (custom resources).
    """

    paths: bytes
    names: frozenset[str]
    own: Mapping[str, Tree]


def v3_index(kinds: Sequence[Kind]) -> Tree:
    """/openapi/v3: where each group and version's document is, with a hash that changes when it does."""
    paths = {}
    for group in _groups(kinds):
        paths[group.path] = {"serverRelativeURL": f"/openapi/v3/{group.path}?hash={_digest(group)}"}
    return {"paths": paths}


def v3(kinds: Sequence[Kind], path: str) -> Tree | None:
    """/openapi/v3/PATH for apis/G/V or api/V; None when nothing is served there."""
    place = _group_version(path)
    here = _Group(discovery.by_place(kinds).get(place, ()), *place)
    if not here.kinds:
        return None
    made = [operation for kind in here.kinds for operation in openapi_paths.operations(kind, here.version)]
    own = _own(here.kinds, 3)
    names = closure([*_roots(made), *(name for node in own.values() for name in references(node))])
    schemas = {name: node_v3(name, node) for name, node in names.items()} | own
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": _paths(made, _operation_v3, _parameter_v3),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": {"BearerToken": _BEARER}},
    }


def v2(kinds: Sequence[Kind]) -> bytes:
    """/openapi/v2: everything, as Swagger 2.0, in JSON. Pieces that were made before are joined, not made again."""
    pieces = [_piece(group) for group in _groups(kinds)]
    head = {"swagger": "2.0", "info": {"title": "Kubernetes", "version": VERSION}}
    tail = {"securityDefinitions": {"BearerToken": _BEARER}, "security": [{"BearerToken": []}]}
    return b'%b,"paths":{%b},"definitions":%b,%b' % (
        orjson.dumps(head)[:-1],
        b",".join(piece.paths for piece in pieces if piece.paths),
        orjson.dumps(_definitions(pieces)),
        orjson.dumps(tail)[1:],
    )


def _groups(kinds: Sequence[Kind]) -> Iterator[_Group]:
    places = discovery.by_place(kinds)
    for group, versions in discovery.group_versions(kinds).items():
        for version in versions:
            yield _Group(places[group, version], group, version)


@functools.lru_cache(maxsize=256)
def _piece(group: _Group) -> _Piece:
    made = [operation for kind in group.kinds for operation in openapi_paths.operations(kind, group.version)]
    own = _own(group.kinds, 2)
    roots = [*_roots(made), *(name for node in own.values() for name in references(node))]
    paths = orjson.dumps(_paths(made, _operation_v2, _parameter_v2))[1:-1]
    return _Piece(paths, frozenset(closure(roots)), own)


def _definitions(pieces: Sequence[_Piece]) -> Tree:
    everything = schema.definitions()
    found = {name: everything[name] for name in frozenset().union(*(piece.names for piece in pieces))}
    for piece in pieces:
        found |= piece.own
    return dict(sorted(found.items()))


def _own(kinds: Sequence[Kind], form: int) -> dict[str, Tree]:
    """The definitions that custom kinds bring along, as this version of OpenAPI writes them."""
    found: dict[str, Tree] = {}
    for kind in kinds:
        if kind.custom:
            from sampan.server import openapi_custom

            found |= openapi_custom.definitions(kind, form)
    return found


_BEARER = {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}


def closure(roots: Iterable[str]) -> dict[str, Tree]:
    """The named definitions and all that they refer to, by name in order."""
    everything = schema.definitions()
    found: dict[str, Tree] = {}
    waiting = [name for name in roots if name in everything]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = everything[name]
            waiting += references(everything[name])
    return dict(sorted(found.items()))


def references(node: Any) -> list[str]:
    """The definitions that a schema names."""
    if isinstance(node, list):
        return [name for item in node for name in references(item)]
    if not isinstance(node, dict):
        return []
    own = node.get("$ref")
    found = [own.rpartition("/")[2]] if isinstance(own, str) else []
    return found + [name for value in node.values() for name in references(value)]


def node_v3(name: str, node: Tree) -> Tree:
    """A definition as version 3 writes it: references inside allOf, alternatives instead of odd formats."""
    kind = schema.definition(name).kind
    if kind == "quantity":
        return {"description": node["description"], "oneOf": [{"type": "string"}, {"type": "number"}]}
    if kind == "int-or-string":
        shape = {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"description": node["description"], **shape}
    made = _dress(node)
    assert isinstance(made, dict)
    return made


def _dress(node: Any) -> Any:
    if isinstance(node, list):
        return [_dress(item) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return {key: _dress(value) for key, value in node.items()}
    rest = {key: value for key, value in node.items() if key != "$ref"}
    return {**rest, "allOf": [{"$ref": _ref_v3(reference.removeprefix(schema.REF_PREFIX))}]}


def _ref_v3(name: str) -> str:
    return f"#/components/schemas/{name}"


def _group_version(path: str) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) == len(("api", "version")):
        return "", parts[1]
    return (parts[1], parts[2]) if parts[0] == "apis" and len(parts) == len(("apis", "group", "version")) else ("", "")


@functools.lru_cache(maxsize=256)
def _digest(group: _Group) -> str:
    told = [
        (kind.name, kind.plural, kind.versions, kind.scope, kind.schema, kind.verbs,
         [(s.name, s.verbs, s.group, s.version, s.kind) for s in kind.subresources],
         orjson.dumps(kind.own_type.node) if kind.own_type else b"")
        for kind in group.kinds
    ]  # fmt: skip
    return hashlib.sha512(repr((VERSION, FORM, told)).encode()).hexdigest().upper()


def _roots(made: Sequence[Operation]) -> set[str]:
    named = {name for operation in made for name in (operation.body, operation.answer) if name}
    return named | {openapi_paths.META + name for name in _COMMON}


def _paths(made: Sequence[Operation], dress: Callable[[Operation], Tree], parameter: Callable[..., Tree]) -> Tree:
    paths: Tree = {}
    for operation in made:
        item = paths.setdefault(operation.path, {})
        item[operation.method] = dress(operation)
        names = [name for name in ("name", "namespace") if f"{{{name}}}" in operation.path]
        if names:
            item["parameters"] = [parameter(name, "path") for name in names]
    return dict(sorted(paths.items()))


def _operation_v3(operation: Operation) -> Tree:
    made = _start(operation, _parameter_v3)
    if operation.body:
        media = _patches(operation) if operation.method == "patch" else ("*/*",)
        content = {"schema": {"$ref": _ref_v3(operation.body)}}
        made["requestBody"] = {"content": dict.fromkeys(media, content), "required": operation.method != "delete"}
    answer: Tree = {"description": "OK"}
    if operation.answer:
        content = {"schema": {"$ref": _ref_v3(operation.answer)}}
        answer["content"] = dict.fromkeys(_BODIES, content)
    return made | {"responses": _responses(operation, answer)}


def _operation_v2(operation: Operation) -> Tree:
    made = _start(operation, _parameter_v2)
    made |= {"schemes": ["https"], "produces": list(_BODIES)}
    if operation.body:
        body = {"name": "body", "in": "body", "schema": {"$ref": schema.REF_PREFIX + operation.body}}
        made["parameters"].insert(0, body | ({} if operation.method == "delete" else {"required": True}))
        made["consumes"] = list(_patches(operation)) if operation.method == "patch" else ["*/*"]
    answer: Tree = {"description": "OK"}
    if operation.answer:
        answer["schema"] = {"$ref": schema.REF_PREFIX + operation.answer}
    return made | {"responses": _responses(operation, answer)}


def _patches(operation: Operation) -> tuple[str, ...]:
    return tuple(media for media in _PATCHES if not (operation.is_custom and "strategic" in media))


def _start(operation: Operation, parameter: Callable[..., Tree]) -> Tree:
    return {
        "description": operation.summary,
        "operationId": operation.identity,
        "tags": [operation.tag],
        "parameters": [parameter(name, "query") for name in operation.query],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.gvk,
    }


def _responses(operation: Operation, answer: Tree) -> Tree:
    codes = ("200", "201") if operation.is_created else ("200",)
    return {code: {**answer, "description": "Created" if code == "201" else "OK"} for code in codes} | {
        "401": {"description": "Unauthorized"}
    }


def _parameter_v3(name: str, place: str) -> Tree:
    made = _parameter(name, place)
    return made | {"schema": {"type": openapi_paths.TYPES.get(name, "string"), "uniqueItems": True}}


def _parameter_v2(name: str, place: str) -> Tree:
    return _parameter(name, place) | {"type": openapi_paths.TYPES.get(name, "string"), "uniqueItems": True}


def _parameter(name: str, place: str) -> Tree:
    made: Tree = {"name": name, "in": place, "description": openapi_paths.DESCRIPTIONS[name]}
    return made | {"required": True} if place == "path" else made
