"""Client: the API's verbs over any transport. The only door to the API for everything above it.

Objects go in and come out as trees; a refusal is an `ApiError` around the server's Status. Keys are
(namespace, name), with namespace "" for cluster-scoped kinds.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, Unpack

import orjson

from sampan.client.transport import Quiet, Transport, TransportError
from sampan.kinds.kind import Kind, Object
from sampan.meta import status
from sampan.meta.status import ApiError
from sampan.web.message import Request, Response

Key = tuple[str, str]
Query = tuple[tuple[str, str], ...]

JSON = "application/json"
METADATA = "application/json;as={};g=meta.k8s.io;v=v1,application/json"
PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class Listing:
    """A consistent list: its items and the resourceVersion to watch from."""

    items: tuple[Object, ...]
    resource_version: str


class WatchEvent(NamedTuple):
    """One change: type is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """How long a watch goes on before it is asked for again, and whether it tells how far it is meanwhile."""

    seconds: int = 480
    bookmarks: bool = True


WATCH = WatchTerms()
CALM = WatchTerms(10 * 365 * 86400, bookmarks=False)
"""For a server in the same process, in virtual time: its stream does not break, and a quiet day costs nothing."""


class DeleteOptions(TypedDict, total=False):
    """Terms of a delete. `uid` and `resource_version` are preconditions; `propagation` is a policy name."""

    uid: str
    resource_version: str
    grace_seconds: int | None
    propagation: str


class Client:
    """Verbs of the API. `user_agent` is also the default field manager, as upstream's is."""

    def __init__(self, transport: Transport, user_agent: str, accept: str = "", watch: WatchTerms = WATCH) -> None:
        self.transport = transport
        self._quiet = transport if isinstance(transport, Quiet) else None
        self.user_agent = user_agent
        self._accept = accept
        self._accepts = [accept.format(f"PartialObjectMetadata{kind}") or JSON for kind in ("", "List")]
        self._watch = watch
        self._known_headers: dict[tuple[str, bool], dict[str, str]] = {}

    def metadata_only(self) -> "Client":
        """The same door, but objects come as PartialObjectMetadata where the server offers it."""
        return Client(self.transport, self.user_agent, METADATA, self._watch)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """The object. Raises ApiError (NotFound)."""
        return await self.call("GET", kind.path(namespace, name))

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        """All matching objects; namespace "" means all namespaces. Items always carry apiVersion and kind."""
        query = _present((("labelSelector", labels), ("fieldSelector", fields)))
        tree = await self.call("GET", kind.path(namespace), query, listing=True)
        items = tuple(typed(kind, item) for item in tree.get("items") or ())
        return Listing(items, str(tree.get("metadata", {}).get("resourceVersion", "")))

    async def create(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        """Creates the object in its own namespace; returns it as stored."""
        name = str(obj["metadata"].get("name", "")) if subresource else ""
        path = kind.path(_namespace(kind, obj), name, subresource)
        return await self.call("POST", path, body=obj)

    async def create_subresource(self, kind: Kind, key: Key, subresource: str, body: Object) -> Object:
        """Posts to an object's subresource: pods/binding, pods/eviction, serviceaccounts/token."""
        return await self.call("POST", kind.path(*key, subresource), body=body)

    async def update(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """Replaces the object; its uid and resourceVersion, if present, are preconditions."""
        path = kind.path(_namespace(kind, obj), str(obj["metadata"]["name"]), subresource)
        return await self.call("PUT", path, body=obj)

    async def patch(self, kind: Kind, key: Key, patch: Any, *, type: str = "merge", subresource: str = "") -> Object:
        """Patches by type: json, merge or strategic."""
        content_type = PATCH_TYPES[type]
        return await self.call("PATCH", kind.path(*key, subresource), body=patch, content_type=content_type)

    async def apply(
        self, kind: Kind, config: Object, *, manager: str, force: bool = False, subresource: str = ""
    ) -> Object:
        """Server-side apply of the fields in `config`."""
        path = kind.path(_namespace(kind, config), str(config["metadata"]["name"]), subresource)
        query: Query = (("fieldManager", manager), ("force", "true" if force else "false"))
        return await self.call("PATCH", path, query, body=config, content_type=PATCH_TYPES["apply"])

    async def delete(self, kind: Kind, key: Key, **options: Unpack[DeleteOptions]) -> Object:
        """Deletes one object: returns it when it goes later (grace, finalizers) or its kind has it so, else a Status."""
        return await self.call("DELETE", kind.path(*key), body=_delete_body(options))

    async def delete_collection(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "", **options: Unpack[DeleteOptions]
    ) -> Object:
        """Deletes every object of the kind in the namespace, or those that the selectors choose."""
        query = _present((("labelSelector", labels), ("fieldSelector", fields)))
        return await self.call("DELETE", kind.path(namespace), query, body=_delete_body(options))

    async def watch(
        self, kind: Kind, namespace: str = "", *, resource_version: str = "", labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, until the server ends the stream. Raises ApiError (410 Expired)."""
        response = await self._send(self.watching(kind, namespace, resource_version, labels, fields))
        body, lines = response.body, _Lines()
        async for chunk in _whole(body) if isinstance(body, bytes | dict) else body:
            for frame in (chunk,) if isinstance(chunk, dict) else lines.more(chunk):
                if frame["type"] == "ERROR" and (close := getattr(body, "aclose", None)) is not None:
                    await close()  # nothing comes after it
                yield _event(kind, frame)
        for frame in lines.end():
            yield _event(kind, frame)

    def watching(self, kind: Kind, namespace: str, resource_version: str, labels: str, fields: str) -> Request:
        """The request of such a watch."""
        query = _present((("resourceVersion", resource_version), ("labelSelector", labels), ("fieldSelector", fields)))
        flags = _present((("watch", "true"), ("allowWatchBookmarks", "true" if self._watch.bookmarks else "")))
        flags = (*flags, ("timeoutSeconds", str(self._watch.seconds)))
        return Request("GET", kind.path(namespace), flags + query, self._headers(JSON))

    def nothing(self, kind: Kind) -> str:
        """The resourceVersion at which there is nothing of the kind, where that is known without asking; else ""."""
        revision = self._quiet.nothing(kind) if self._quiet is not None else 0
        return str(revision) if revision else ""

    def sleep(self, kind: Kind, revision: int, ask: Callable[[], Request], wake: Callable[[], None]) -> bool:
        """Has `wake` called once the watch that `ask` asks for would see something, where that is known; else False."""
        return self._quiet is not None and self._quiet.sleep(kind, revision, ask, wake)

    async def call(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: Any = None,
        content_type: str = JSON,
        **flags: bool,
    ) -> Object:
        """Any request that is answered by one tree, for example discovery. Raises ApiError."""
        headers = self._headers(content_type, listing=flags.get("listing", False))
        request = Request(method, path, query, headers, b"" if body is None else body)
        response = await self._send(request)
        return response.body if isinstance(response.body, dict) else await _tree(response)

    async def fetch(self, path: str, accept: str, etag: str) -> tuple[Object | None, str]:
        """A document and its ETag; None while it is still the one that `etag` names. Raises ApiError."""
        headers = {"accept": accept, "if-none-match": etag, "user-agent": self.user_agent}
        response = await self._send(Request("GET", path, (), {name: value for name, value in headers.items() if value}))
        if response.status == 304:
            return None, etag
        return await _tree(response), response.headers.get("ETag", "")

    async def _send(self, request: Request) -> Response:
        response = await self.transport.request(request)
        if response.status >= 400:
            raise _refusal(response.status, await _payload(response), dict(response.headers))
        return response

    def _headers(self, content_type: str, *, listing: bool = False) -> dict[str, str]:
        """Made once for each sort of request: nobody changes a request's headers."""
        headers = self._known_headers.get((content_type, listing))
        if headers is None:
            headers = {"accept": self._accepts[listing], "content-type": content_type, "user-agent": self.user_agent}
            self._known_headers[content_type, listing] = headers
        return headers


def typed(kind: Kind, obj: Object) -> Object:
    """The object with apiVersion and kind, which items of a list may lack."""
    if "kind" in obj and "apiVersion" in obj:
        return obj
    return {"apiVersion": kind.api_version, "kind": kind.name, **obj}


def _present(pairs: Iterable[tuple[str, str]]) -> Query:
    return tuple(pair for pair in pairs if pair[1])


def _namespace(kind: Kind, obj: Object) -> str:
    return str(obj.get("metadata", {}).get("namespace", "")) if kind.namespaced else ""


def _delete_body(options: DeleteOptions) -> Object | None:
    body: Object = {}
    preconditions = {"uid": options.get("uid"), "resourceVersion": options.get("resource_version")}
    if preconditions := {name: value for name, value in preconditions.items() if value}:
        body["preconditions"] = preconditions
    if options.get("grace_seconds") is not None:
        body["gracePeriodSeconds"] = options["grace_seconds"]
    if options.get("propagation"):
        body["propagationPolicy"] = options["propagation"]
    return {"kind": "DeleteOptions", "apiVersion": "v1", **body} if body else None


async def _payload(response: Response) -> bytes | Object:
    """The whole body: a tree, or bytes joined from a stream."""
    if isinstance(response.body, bytes | dict):
        return response.body
    parts = [chunk async for chunk in response.body]
    if len(parts) == 1 and isinstance(parts[0], dict):
        return parts[0]
    return b"".join(part for part in parts if isinstance(part, bytes))


async def _tree(response: Response) -> Object:
    payload = await _payload(response)
    return payload if isinstance(payload, dict) else _decode(payload)


def _decode(data: bytes) -> Object:
    try:
        tree: Object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise TransportError(f"the server's answer is not JSON: {error}") from error
    return tree


def _refusal(code: int, payload: bytes | Object, headers: dict[str, str]) -> ApiError:
    """The server's Status, or one made from whatever it said instead."""
    tree: Any = payload
    if isinstance(payload, bytes):
        try:
            tree = orjson.loads(payload)
        except orjson.JSONDecodeError:
            tree = {"message": payload[:1024].decode("utf-8", "replace")}
    if isinstance(tree, dict) and tree.get("kind") == "Status":
        return ApiError(tree, headers)
    message = tree.get("message", "") if isinstance(tree, dict) else ""
    return status.failure(code, _REASONS.get(code, "Unknown"), str(message) or f"the server answered {code}")


_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 429: "TooManyRequests"}


def _event(kind: Kind, frame: Object) -> WatchEvent:
    if frame["type"] == "ERROR":
        raise ApiError(frame["object"])
    return WatchEvent(frame["type"], typed(kind, frame["object"]))


class _Lines:
    """Watch frames from bytes that are cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def more(self, chunk: bytes) -> list[Object]:
        """Those that are whole now."""
        *lines, self._rest = (self._rest + chunk).split(b"\n") if self._rest else chunk.split(b"\n")
        return [_decode(line) for line in lines if line.strip()]

    def end(self) -> list[Object]:
        """What was left."""
        return [_decode(self._rest)] if self._rest.strip() else []


async def _whole(body: bytes | Object) -> AsyncIterator[bytes | Object]:
    yield body
