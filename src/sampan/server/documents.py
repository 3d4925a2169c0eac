"""The documents about the API itself: discovery, OpenAPI, and the token issuer's OIDC pages.

Made when first asked for, and kept until other kinds are served.
"""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from sampan.kinds.kind import Kind
from sampan.meta import status
from sampan.meta.wire import json
from sampan.server import aside, codec, discovery, openapi, openapi_protobuf
from sampan.server.aggregation.aggregator import Aggregator
from sampan.server.served import Served
from sampan.server.tokens import Tokens
from sampan.web.message import Request, Response

Tree = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_LONG = ("/api", "/openapi/")  # these tell of every kind
_CACHED = {"Cache-Control": "public, max-age=3600"}
_KEY_SET = "application/jwk-set+json"  # RFC 7517
ROOT_PATHS = (
    "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics",
    "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
)  # fmt: skip


class Documents:
    """Answers for paths that name no resource; None for unknown ones."""

    def __init__(self, served: Served, tokens: Tokens, extensions: Aggregator) -> None:
        self._served = served
        self._tokens = tokens
        self._made: dict[str, Response] = {}
        self._address = ""
        self._making = asyncio.Lock()
        self._extensions = extensions
        served.listen(self._forget)
        extensions.listen(self._forget)

    def serve_at(self, address: str) -> None:
        """The host and port that clients are told."""
        self._address = address
        self._made.clear()

    @property
    def _kinds(self) -> tuple[Kind, ...]:
        return self._served.all()

    def _forget(self) -> None:
        self._made = {}  # what is being made for the old one goes with it

    async def answer(self, request: Request) -> Response | None:
        path = request.path.rstrip("/") or "/"
        accept = request.headers.get("accept", "").replace(" ", "")
        aggregated = path in ("/api", "/apis") and _wants_aggregated(accept)
        protobuf = path == "/openapi/v2" and accept.startswith((openapi_protobuf.MEDIA, openapi_protobuf.OLD_MEDIA))
        key = f"{path} {aggregated} {protobuf}"
        make = self._protobuf if protobuf else partial(self._make, path, aggregated=aggregated)
        made = self._made.get(key) or await self._new(key, make)
        if made is None:
            return None
        if path == "/openapi/v2" and not protobuf and accept and "json" not in accept and "*/*" not in accept:
            raise status.not_acceptable(("application/json", openapi_protobuf.MEDIA))
        etag = made.headers.get("ETag")
        if etag and request.headers.get("if-none-match") == etag:
            return Response(304, b"", {"ETag": etag}, made.content_type)
        return Response(made.status, made.body, dict(made.headers), made.content_type)

    async def _new(self, key: str, make: Callable[[], Response | None]) -> Response | None:
        """A document that nobody has asked for yet, made once however many ask for it now."""
        if not key.startswith(_LONG):
            return make()
        async with self._making:
            kept = self._made
            if key not in kept:
                made = await aside.run(make, size=aside.LARGE_BYTES)
                if made is None:
                    return None
                kept[key] = made
            return kept[key]

    def _make(self, path: str, *, aggregated: bool) -> Response | None:
        if aggregated:
            own = discovery.aggregated(self._kinds, core=path == "/api")
            return _tagged(_text(path, self._extensions.extend(path, own, aggregated=True)), AGGREGATED)
        if path == "/openapi/v2":
            return _tagged(self._v2(), "application/json")
        if path == "/openid/v1/jwks":
            return Response(200, json.encode(self._tokens.jwks()), dict(_CACHED), _KEY_SET)
        if path == "/.well-known/openid-configuration":
            return Response(200, json.encode(self._tokens.openid_configuration()), dict(_CACHED), "application/json")
        maker = self._makers().get(path)
        if maker is not None:
            return _tagged(_text(path, self._extensions.extend(path, maker())), "application/json")
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) == 2:
            tree = discovery.resources(self._kinds, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            tree = self._extensions.extend(path, discovery.group(self._kinds, parts[1]))
        elif parts[0] == "apis" and len(parts) == 3:
            tree = discovery.resources(self._kinds, parts[1], parts[2])
        elif parts[:2] == ["openapi", "v3"] and len(parts) > 2:
            tree = openapi.v3(self._kinds, "/".join(parts[2:]))
        else:
            return None
        return None if tree is None else _tagged(_text(path, tree), "application/json")

    def _v2(self) -> bytes:
        own = openapi.v2(self._kinds)
        if not self._extensions.has_openapi:
            return own
        return json.encode(self._extensions.extend("/openapi/v2", json.decode(own)))

    def _protobuf(self) -> Response:
        return _tagged(openapi_protobuf.encode(json.decode(self._v2())), openapi_protobuf.MEDIA)

    def _root(self) -> Tree:
        """Every path that answers by itself."""
        named = {group: versions for group, versions in discovery.group_versions(self._kinds).items() if group}
        groups = [f"/apis/{group}" for group in named]
        versions = [f"/apis/{group}/{version}" for group, found in named.items() for version in found]
        return {"paths": sorted((*ROOT_PATHS, *groups, *versions))}

    def _makers(self) -> dict[str, Callable[[], Tree]]:
        return {
            "/": self._root,
            "/api": lambda: discovery.api_versions(self._kinds, self._address),
            "/apis": lambda: discovery.groups(self._kinds),
            "/openapi/v3": lambda: openapi.v3_index(self._kinds),
        }


def _wants_aggregated(accept: str) -> bool:
    """Whether aggregated discovery v2 is the first form that the client takes."""
    for clause in accept.split(","):
        parameters = dict(p.split("=", 1) for p in clause.split(";")[1:] if "=" in p)
        if parameters.get("as") == "APIGroupDiscoveryList":
            if parameters.get("g") == "apidiscovery.k8s.io" and parameters.get("v") == "v2":
                return True
        elif clause.startswith(("application/json", "*/*")):
            return False
    return False


def _text(path: str, tree: Tree) -> bytes:
    """Discovery ends with a line break, as the API's objects do; the other documents don't."""
    return json.encode(tree) + (codec.LINE_END if path.startswith("/api") else b"")


def _tagged(body: bytes, content_type: str) -> Response:
    etag = '"' + hashlib.sha256(body).hexdigest().upper()[:64] + '"'
    return Response(200, body, {"ETag": etag, "Vary": "Accept"}, content_type)
