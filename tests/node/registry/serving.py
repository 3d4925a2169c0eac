"""A small registry that can be told to misbehave, served on loopback."""

import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.node.images.test_store import CONFIG, LAYERS

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}


@dataclass
class Shelf:
    """What a registry has, what it asks for, and what it was asked.

    `breaks`: after how many bytes the next answers with a blob break off; `faults`: statuses of the next answers.
    """

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    bearer: bool = False
    breaks: list[int] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    redirects_to: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    tokens: list[dict[str, str]] = field(default_factory=list)
    address: str = ""

    def add(self, name: str, layers: list[bytes] = LAYERS, config: bytes = CONFIG, pack: Any = gzip.compress) -> str:
        """Puts an image under a tag, behind an index for several platforms; the index's digest."""
        packed = [pack(layer) for layer in layers]
        self.blobs |= {digest(blob): blob for blob in [*packed, config]}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob) for blob in packed],
        }
        body = self.put(json.dumps(manifest).encode(), OCI_MANIFEST)
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                descriptor(OCI_MANIFEST, b"other", platform={"os": "linux", "architecture": "vax"}),
                descriptor(OCI_MANIFEST, body),
            ],
        }
        return digest(self.put(json.dumps(index).encode(), OCI_INDEX, name))

    def put(self, body: bytes, kind: str, *names: str) -> bytes:
        for name in (digest(body), *names):
            self.manifests[name] = (kind, body)
        return body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path, dict(request.headers)))
        if request.path == "/token":
            return self._token(request)
        if self.faults and (status := self.faults.pop(0)):
            return web.Response(status=status)
        if not self._is_let_in(request):
            realm = (
                f'Bearer realm="http://{self.address}/token",service="here"' if self.bearer else 'Basic realm="here"'
            )
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        what, name = request.path.rsplit("/", 2)[1:]
        if what == "manifests" and name in self.manifests:
            kind, body = self.manifests[name]
            return web.Response(body=body, headers={"Content-Type": kind})
        if what == "blobs" and name in self.blobs:
            if self.redirects_to:
                raise web.HTTPTemporaryRedirect(f"http://{self.redirects_to}{request.path}")
            return await self._blob(request, self.blobs[name])
        return web.json_response({"errors": [{"code": "UNKNOWN", "message": "no such thing"}]}, status=404)

    async def _blob(self, request: web.Request, data: bytes) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        answer = web.StreamResponse(status=206 if start else 200)
        answer.content_length = len(data) - start
        await answer.prepare(request)
        end = start + self.breaks.pop(0) if self.breaks else len(data)
        await answer.write(data[start:end])
        if end < len(data):
            assert request.transport is not None
            request.transport.close()
        return answer

    def _is_let_in(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        if not self.users and not self.bearer:
            return True
        if self.bearer:
            return given in {f"Bearer for-{user}" for user in self.users or {"": ""}}
        return given in {f"Basic {_pair(user, word)}" for user, word in self.users.items()}

    def _token(self, request: web.Request) -> web.Response:
        self.tokens.append(dict(request.query))
        given = request.headers.get("Authorization", "")
        user = next((user for user, word in self.users.items() if given == f"Basic {_pair(user, word)}"), "")
        if self.users and not user:
            return web.Response(status=401)
        return web.json_response({"token": f"for-{user}"})


def _pair(user: str, word: str) -> str:
    return base64.b64encode(f"{user}:{word}".encode()).decode()


@asynccontextmanager
async def serving(shelf: Shelf) -> AsyncIterator[str]:
    """The registry's address, `127.0.0.1:port`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", shelf.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    shelf.address = f"{host}:{port}"
    try:
        yield shelf.address
    finally:
        await runner.cleanup()
