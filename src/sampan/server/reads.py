"""GET and LIST: answered from the watch cache; pages after the first from the store, at one revision.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.meta import objects, selectors, status
from sampan.meta.schema import Type
from sampan.meta.wire import protobuf, table
from sampan.server import codec
from sampan.server.cache import Cache, Item, item_key
from sampan.server.call import Call
from sampan.server.versions import Versions
from sampan.store.protocol import Compacted, FutureRevision, Store
from sampan.web.message import Response

MAX_PAGE = 10_000_000
ITEMS_PER_TURN = 64
_ZEROS = {"boolean": "false", "integer": "0"}

Match = Callable[[Item], bool]


class Reads:
    """The read side of every stored kind. `key` signs continue tokens, so that nobody makes up one."""

    def __init__(self, cache: Cache, store: Store, key: bytes, versions: Versions) -> None:
        self._versions = versions
        self._cache = cache
        self._store = store
        self._key = key

    async def get(self, call: Call) -> Response:
        """One object, not older than ?resourceVersion=."""
        await self.at_least(call.request.param("resourceVersion"))
        item = self.find(call)
        if call.kind.is_satellite:
            item = await self._versions.view(call.kind, item)
        return codec.respond(call, item)

    def find(self, call: Call, name: str = "") -> Item:
        """The live object that a call names. Raises ApiError 404."""
        key = item_key(call.kind, call.namespace, name or call.name)
        item = self._cache.of(call.kind).get(key)
        if item is None:
            raise call.not_found(name)
        return item

    async def list(self, call: Call) -> Response:
        """The collection, or one page of it."""
        request = call.request
        if request.param("sendInitialEvents"):
            raise status.invalid("meta.k8s.io", "ListOptions", "", [
                status.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")])  # fmt: skip
        limit = _limit(request.param("limit"))
        token = request.param("continue")
        match_kind = request.param("resourceVersionMatch")
        revision = parse_revision(request.param("resourceVersion"))
        _check_match(match_kind, request.param("resourceVersion"), token)
        match = selection(call)
        if token:
            return await self._continue(call, match, limit, token)
        await self.at_least(str(revision))
        if match_kind == "Exact":
            return await self._page(call, match, (revision, "", limit))
        items: Sequence[Item] = self._cache.of(call.kind).range(call.namespace)
        if limit and len(items) > limit:
            return await self._page(call, match, (self._cache.revision, "", limit))
        revision = self._cache.revision
        items = await self._versions.views(call.kind, items)
        return await answer(call, [i for i in items if match(i)] if match else items, revision)

    async def at_least(self, wanted: str) -> None:
        """Waits until the cache is at the revision; 504 when it is from the future."""
        revision = parse_revision(wanted)
        if revision > self._cache.revision:
            raise status.too_new(revision, self._cache.revision)

    async def _continue(self, call: Call, match: Match | None, limit: int, token: str) -> Response:
        revision, after = self._read_token(call, token)
        if revision < 0:
            return await self._page(call, match, (self._cache.revision, after, limit))
        return await self._page(call, match, (revision, after, limit))

    async def _page(self, call: Call, match: Match | None, where: tuple[int, str, int]) -> Response:
        """Records of one revision from the store, until the page is full. `where`: revision, after, limit."""
        revision, after, limit = where
        cache = self._cache.of(call.kind)
        prefix = cache.prefix + (f"{call.namespace}/" if call.kind.namespaced and call.namespace else "")
        found: list[Item] = []
        remaining = 0
        last = f"{cache.prefix}{after}" if after else ""
        while True:
            wanted = limit - len(found) if limit else 0
            try:
                page = await self._store.list(prefix, after=last, limit=wanted, revision=revision)
            except Compacted as error:
                raise self._gone(call, after) from error
            except FutureRevision as error:
                raise status.too_new(revision, self._cache.revision) from error
            items = await self._versions.views(
                call.kind, [Item(r.key[len(cache.prefix) :], r.mod_revision, r.value) for r in page.records]
            )
            found += [i for i in items if match(i)] if match else items
            remaining = page.remaining
            last = page.records[-1].key if page.records else last
            if not remaining or not limit or len(found) >= limit:
                break
        more: dict[str, Any] = {}
        if remaining:
            more["continue"] = self._token(call, revision, last[len(cache.prefix) :])
            if match is None:
                more["remainingItemCount"] = remaining
        return await answer(call, found, revision, more)

    def _gone(self, call: Call, after: str) -> status.ApiError:
        """410 whose own continue token goes on at the present revision (an inconsistent list)."""
        error = status.expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
            "list."
        )
        error.status["metadata"] = {"continue": self._token(call, -1, after)}
        return error

    def _token(self, call: Call, revision: int, after: str) -> str:
        body = orjson.dumps({"rv": revision, "after": after, "in": _scope(call)})
        return base64.urlsafe_b64encode(self._sign(body) + body).decode().rstrip("=")

    def _read_token(self, call: Call, token: str) -> tuple[int, str]:
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError) as error:
            raise status.bad_request("continue key is not valid") from error
        signature, body = raw[:16], raw[16:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise status.bad_request("continue key is not valid")
        content = orjson.loads(body)
        if content["in"] != _scope(call):
            raise status.bad_request("continue key is not valid for this list")
        return int(content["rv"]), str(content["after"])

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:16]


async def answer(call: Call, items: Sequence[Item], revision: int, more: dict[str, Any] | None = None) -> Response:
    """A list at a revision in the form that the client wants: JSON, YAML, protobuf, Table or metadata alone."""
    form = codec.negotiate(call.request.headers.get("accept", ""), call.kind)
    metadata = {"resourceVersion": str(revision), **(more or {})}
    headers = codec.warning_headers(call.warnings)
    if form == codec.Form():
        return Response(200, joined(call.kind, call.api_version, metadata, items), headers)
    if form == codec.Form(codec.PROTOBUF):
        bodies = await _by_turns(items, lambda item: item.protobuf)
        data = protobuf.encode_list(call.api_version, call.kind.list_kind, metadata, bodies)
        return Response(200, data, headers, form.content_type)
    if form.shape == "Table":
        return await _table(call, items, metadata, form)
    if form.shape:
        whole = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.shape_version}"}
        trees = await _by_turns(items, lambda item: table.partial_metadata(item.tree))
    else:
        whole = {"kind": call.kind.list_kind, "apiVersion": call.api_version}
        trees = await _by_turns(items, lambda item: item.tree)
    data = codec.encode({**whole, "metadata": metadata, "items": trees}, form)
    return Response(200, data, headers, form.content_type)


async def _table(call: Call, items: Sequence[Item], metadata: dict[str, Any], form: codec.Form) -> Response:
    options = codec.table_options(call)

    def row(item: Item) -> Any:
        return table.table(call.kind.columns, [item.tree], call.now, options)["rows"][0]

    whole = table.table(call.kind.columns, [], call.now, options)
    whole |= {"metadata": metadata, "rows": await _by_turns(items, row)}
    return Response(200, orjson.dumps(whole), codec.warning_headers(call.warnings), form.content_type)


async def _by_turns(items: Sequence[Item], make: Callable[[Item], Any]) -> list[Any]:
    """What `make` makes of each item; others have their turn in between."""
    made = []
    for number, item in enumerate(items, 1):
        made.append(make(item))
        if not number % ITEMS_PER_TURN:
            await asyncio.sleep(0)
    return made


def joined(kind: Kind, api_version: str, metadata: dict[str, Any], items: Iterable[Item]) -> bytes:
    """A list as the items' own bytes."""
    head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        kind.list_kind.encode(),
        api_version.encode(),
        orjson.dumps(metadata),
    )
    return head + b",".join([item.wire for item in items]) + b"]}\n"


def selection(call: Call) -> Match | None:
    """What the label and field selectors of a call let through; None when everything. Raises ApiError 400.

    A call that names an object sees no other: that name is what it was authorized for.
    """
    labels = call.request.param("labelSelector")
    wanted = call.request.param("fieldSelector")
    only = call.name
    if not labels and not wanted:
        return (lambda item: _field(item, "metadata.name") == only) if only else None
    try:
        label_selector = selectors.parse_labels(labels) if labels else None
        field_selector = selectors.parse_fields(wanted) if wanted else None
    except ValueError as error:
        raise status.bad_request(str(error)) from error
    paths = _field_paths(call.kind, field_selector)
    absent = {name: _absent(call.kind, path) for name, path in paths.items()}

    def match(item: Item) -> bool:
        if only and _field(item, "metadata.name") != only:
            return False
        if label_selector is not None and not label_selector.matches(item.labels):
            return False
        return field_selector is None or field_selector.matches(lambda name: _field(item, paths[name], absent[name]))

    return match


def _field_paths(kind: Kind, selector: selectors.FieldSelector | None) -> dict[str, str]:
    known = {"metadata.name": "metadata.name", **kind.selectable}
    if kind.namespaced:
        known["metadata.namespace"] = "metadata.namespace"
    for path, _, _ in selector.terms if selector else ():
        if path not in known:
            raise status.bad_request(
                f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match label selector "", '
                f'field selector "{selector}": "{path}" is not a known field selector: only '
                + ", ".join(f'"{name}"' for name in sorted(known))
                if not kind.selectable
                else f"field label not supported: {path}"
            )
    return known


def _absent(kind: Kind, path: str) -> str:
    """What a field that is not there counts as: built-in kinds have no switch that is neither true nor false."""
    found: Type | None = None if kind.custom or path not in kind.selectable.values() else kind.type
    for name in path.split("."):
        found = found.fields.get(name) if found is not None else None
    return _ZEROS.get(found.kind, "") if found is not None else ""


def _field(item: Item, path: str, absent: str = "") -> str:
    if path == "metadata.name":
        return item.key.rpartition("/")[2]
    if path == "metadata.namespace":
        return item.key.partition("/")[0]
    values = (objects.get_path(item.tree, one) for one in path.split("|"))
    value = next((value for value in values if value not in (None, "")), None)
    if value is None:
        return absent
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scope(call: Call) -> str:
    return f"{call.kind.resource}/{call.namespace}"


def _limit(text: str) -> int:
    if not text:
        return 0
    try:
        value = int(text)
    except ValueError as error:
        raise status.bad_request(f"strconv.ParseInt: parsing {status.show(text)}: invalid syntax") from error
    return max(0, min(value, MAX_PAGE))


def parse_revision(text: str) -> int:
    """A resourceVersion parameter; "" and "0" are 0. Raises ApiError 400."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) >= 1 << 64:
        cause = status.invalid_value(
            "resourceVersion", text, f"strconv.ParseUint: parsing {status.show(text)}: invalid syntax"
        )
        raise status.bad_request(f"resourceVersion: {cause.message}")
    return int(text)


def _check_match(match_kind: str, version: str, token: str) -> None:
    problem = None
    if match_kind and match_kind not in ("Exact", "NotOlderThan"):
        problem = status.not_supported("resourceVersionMatch", match_kind, ["Exact", "NotOlderThan", ""])
    elif match_kind and not version:
        problem = status.forbidden_field(
            "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    elif match_kind and token:
        problem = status.forbidden_field(
            "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"
        )
    elif match_kind == "Exact" and version == "0":
        problem = status.forbidden_field(
            "resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )
    if token and version and version != "0":
        raise status.bad_request("specifying resource version is not allowed when using continue")
    if problem is not None:
        raise status.invalid("meta.k8s.io", "ListOptions", "", [problem])
