"""GET and LIST: answered from the watch cache; pages after the first from the store, at one revision.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter, methodcaller
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.meta import selectors, status
from sampan.meta.schema import Type
from sampan.meta.wire import protobuf, table
from sampan.server import aside, codec, continue_token, list_options, pretty
from sampan.server.cache import Cache, Item, item_key
from sampan.server.call import Call
from sampan.server.list_options import ListOptions
from sampan.server.narrow import Narrow
from sampan.server.versions import Versions
from sampan.store.protocol import Compacted, FutureRevision, Store
from sampan.web.message import Pieces, Response

COLUMN_WEIGHT = 16  # as much work as so many bytes of an object
SIGN_WEIGHT = 16
ITEMS_AT_ONCE = 512
PIECES_FROM_BYTES = 1 << 20
_ZEROS = {"boolean": "false", "integer": "0"}

Match = Callable[[Item], bool]
Page = tuple[Sequence[Item], int, dict[str, Any]]


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
        return await codec.answer(call, item)

    def find(self, call: Call, name: str = "") -> Item:
        """The live object that a call names. Raises ApiError 404."""
        key = item_key(call.kind, call.namespace, name or call.name)
        item = self._cache.of(call.kind).get(key)
        if item is None:
            raise call.not_found(name)
        return item

    async def list(self, call: Call) -> Response:
        """The collection, or one page of it."""
        items, revision, more = await self.select(call)
        return await answer(call, items, revision, more)

    async def select(self, call: Call) -> Page:
        """What a list shows, at which revision, and what its metadata says beside. Raises ApiError 400, 410, 422, 504."""
        options = list_options.of_list(call.request)
        match = await selected(call)
        if options.token:
            return await self._continue(call, match, options)
        revision = options.revision
        await self.at_least(options.version)
        if options.match == "Exact" or (options.limit and revision and not options.match):
            return await self._page(call, match, (revision, "", options.limit))
        items: Sequence[Item] = self._cache.of(call.kind).range(call.namespace, narrowed(call))
        if options.limit and len(items) > options.limit:
            return await self._page(call, match, (self._cache.revision, "", options.limit))
        revision = self._cache.revision
        items = await self._versions.views(call.kind, items)
        return await chosen(call, items, match), revision, {}

    async def at_least(self, wanted: str) -> None:
        """Waits until the cache is at the revision; 504 when it is from the future."""
        revision = list_options.revision(wanted)
        if revision > self._cache.revision:
            raise status.too_new(revision, self._cache.revision)

    async def _continue(self, call: Call, match: Match | None, options: ListOptions) -> Page:
        revision, after = continue_token.read(self._key, _scope(call), options.token)
        if options.version not in ("", "0"):
            raise status.bad_request("specifying resource version is not allowed when using continue")
        return await self._page(call, match, (self._cache.revision if revision < 0 else revision, after, options.limit))

    async def _page(self, call: Call, match: Match | None, where: tuple[int, str, int]) -> Page:
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
            found += await chosen(call, items, match)
            remaining = page.remaining
            last = page.records[-1].key if page.records else last
            if not remaining or not limit or len(found) >= limit:
                break
        more: dict[str, Any] = {}
        if remaining:
            more["continue"] = self._token(call, revision, last[len(cache.prefix) :])
            if match is None:
                more["remainingItemCount"] = remaining
        return found, revision, more

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
        return continue_token.make(self._key, _scope(call), revision, after)


async def answer(call: Call, items: Sequence[Item], revision: int, more: dict[str, Any] | None = None) -> Response:
    """A list at a revision in the form that the client wants: JSON, YAML, protobuf, Table or metadata alone."""
    form = codec.negotiate(call.request.headers.get("accept", ""), call.kind)
    metadata = {"resourceVersion": str(revision), **(more or {})}
    headers = codec.warning_headers(call.warnings)
    if form == codec.Form() and not call.request.takes_trees:
        return Response(200, await joined(call, metadata, items), headers)
    if form == codec.Form(codec.PROTOBUF):
        bodies = await aside.by_turns(lambda item: item.protobuf, items, _size)
        data = protobuf.encode_list(call.api_version, call.kind.list_kind, metadata, bodies)
        return Response(200, data, headers, form.content_type)
    if form.shape == "Table":
        return await _table(call, items, metadata, form)
    if form.shape:
        whole = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.shape_version}"}
        version = form.shape_version
        trees = await aside.by_turns(
            lambda item: table.in_version(table.partial_metadata(item.tree), version), items, _size
        )
    else:
        whole = {"kind": call.kind.list_kind, "apiVersion": call.api_version}
        trees = await aside.by_turns(lambda item: item.tree, items, _size)
    if call.request.takes_trees and form.media == codec.JSON:
        return Response(200, {**whole, "metadata": metadata, "items": trees}, headers)
    if not form.shape and not call.kind.custom:
        trees = [untyped(tree) for tree in trees]
    size = sum(map(_size, items)) if form.media == codec.YAML else 0
    data = await aside.run(codec.encode, {**whole, "metadata": metadata, "items": trees}, form, size=size)
    return Response(200, data, headers, form.content_type)


def untyped(tree: dict[str, Any]) -> dict[str, Any]:
    """An object as an item of a list of a built-in kind: the list says of which kind they are."""
    return {name: value for name, value in tree.items() if name not in ("kind", "apiVersion")}


async def _table(call: Call, items: Sequence[Item], metadata: dict[str, Any], form: codec.Form) -> Response:
    options = codec.table_options(call)

    def row(item: Item) -> Any:
        return table.in_row(table.table(call.kind.columns, [item.tree], call.now, options)["rows"][0], version)

    version = form.shape_version
    whole = table.in_version(table.table(call.kind.columns, [], call.now, options), version)
    width = COLUMN_WEIGHT * len(call.kind.columns)
    rows = await aside.by_turns(row, items, lambda item: len(item.stored) + width)
    whole |= {"metadata": metadata, "rows": rows}
    size = sum(map(_size, items)) if form.media == codec.YAML else 0
    data = await aside.run(codec.encode, whole, form, size=size)
    return Response(200, data, codec.warning_headers(call.warnings), form.content_type)


def _size(item: Item) -> int:
    return len(item.stored)


async def chosen(call: Call, items: Sequence[Item], match: Match | None) -> Sequence[Item]:
    """Those that the call's selectors let through; others have their turn in between."""
    if match is None:
        return items
    found: list[Item] = []
    each, spent = _length(call), 0
    for item in items:
        if match(item):
            found.append(item)
        spent += each + (len(item.stored) >> 3)
        if spent >= aside.LARGE_BYTES:
            await asyncio.sleep(0)
            spent = 0
    return found


async def selected(call: Call) -> Match | None:
    """The selection of a call whose selectors may be long."""
    return await aside.run(selection, call, size=_length(call) * SIGN_WEIGHT)


def _length(call: Call) -> int:
    return len(call.request.param("labelSelector")) + len(call.request.param("fieldSelector"))


async def joined(call: Call, metadata: dict[str, Any], items: Sequence[Item]) -> bytes | Pieces:
    """A list as the items' own bytes; others have their turn while those of many items are made."""
    kind = call.kind
    parts: list[bytes] = [
        b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":['
        % (kind.list_kind.encode(), call.api_version.encode(), orjson.dumps(metadata))
    ]
    head = b'{"kind":"%b","apiVersion":"%b","metadata":{' % (kind.name.encode(), call.api_version.encode())
    wire_of = attrgetter("wire") if kind.custom else methodcaller("listed", head)
    wires = list(map(wire_of, items[:ITEMS_AT_ONCE]))
    for start in range(ITEMS_AT_ONCE, len(items), ITEMS_AT_ONCE):
        await asyncio.sleep(0)
        wires += map(wire_of, items[start : start + ITEMS_AT_ONCE])
    if sum(map(len, wires)) < PIECES_FROM_BYTES or not call.request.takes_pieces or pretty.is_wanted(call.request):
        return parts[0] + b",".join(wires) + b"]}\n"
    for wire in wires:
        parts += (wire, b",")
    parts[-1] = b"]}\n"
    return Pieces(parts)


def selection(call: Call) -> Match | None:
    """What the label and field selectors of a call let through; None when everything. Raises ApiError 400.

    A call that names an object sees no other: that name is what it was authorized for.
    """
    labels = call.request.param("labelSelector")
    wanted = call.request.param("fieldSelector")
    only = call.name
    if not labels and not wanted:
        return (lambda item: _name(item) == only) if only else None
    try:
        label_selector = selectors.parse_labels(labels) if labels else None
        field_selector = selectors.parse_fields(wanted) if wanted else None
    except ValueError as error:
        raise status.bad_request(str(error)) from error
    paths = _field_paths(call.kind, field_selector)
    terms = [
        (_getter(paths[name], _absent(call.kind, paths[name])), operator == "=", value)
        for name, operator, value in (field_selector.terms if field_selector is not None else ())
    ]

    def match(item: Item) -> bool:
        if only and _name(item) != only:
            return False
        if label_selector is not None and not label_selector.matches(item.labels):
            return False
        for get, is_equal, value in terms:  # noqa: SIM110 (asked for each watcher of each change: no generator)
            if (get(item) == value) is not is_equal:
                return False
        return True

    return match


def narrowed(call: Call) -> Narrow | None:
    """What a call with a good field selector can be about at most. None: everything."""
    wanted = call.request.param("fieldSelector")
    fields = selectors.parse_fields(wanted).equalities() if wanted else {}
    name = call.name or fields.get("metadata.name", "")
    namespace = call.namespace or fields.get("metadata.namespace", "")
    if name and (namespace or not call.kind.namespaced):
        return Narrow(key=item_key(call.kind, namespace, name))
    if call.kind.place == ("", "pods") and (node := fields.get("spec.nodeName")):
        return Narrow(node=node)
    return None


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


def _getter(path: str, absent: str) -> Callable[[Item], str]:
    """What gives the text of a field; where there are several ways to it, the first one that leads somewhere counts."""
    if path == "metadata.name":
        return _name
    if path == "metadata.namespace":
        return _namespace
    ways = [way.split(".") for way in path.split("|")]
    if len(ways) == 1 and len(ways[0]) == 2:
        first, second = ways[0]
        return _getter_of_two(first, second, absent)

    def get(item: Item) -> str:
        for way in ways:
            value: Any = item.tree
            for step in way:
                value = value.get(step) if isinstance(value, dict) else None
            if value is not None and value != "":
                return str(value).lower() if isinstance(value, bool) else str(value)
        return absent

    return get


def _getter_of_two(first: str, second: str, absent: str) -> Callable[[Item], str]:
    """The same for spec.nodeName and its like, which are asked of every pod that a node's watch or list passes."""

    def get(item: Item) -> str:
        part = item.tree.get(first)
        value = part.get(second) if isinstance(part, dict) else None
        if type(value) is str:
            return value or absent
        if value is None:
            return absent
        return str(value).lower() if isinstance(value, bool) else str(value)

    return get


def _name(item: Item) -> str:
    return item.key.rpartition("/")[2]


def _namespace(item: Item) -> str:
    return item.key.partition("/")[0]


def _scope(call: Call) -> str:
    return f"{call.kind.resource}/{call.namespace}"
