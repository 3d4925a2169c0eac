"""Asking a registry: one endpoint, one repository, one login; the OCI distribution protocol over HTTP.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import orjson

from sampan.node.images import content
from sampan.node.images.model import ImageError
from sampan.node.registry import challenge
from sampan.node.registry.config import Endpoint, Login, Tls

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
CONNECT_SECONDS = 30.0
IDLE_SECONDS = 60.0
MAX_TOKEN_BYTES = 1 << 20
CLIENT_ID = "sampan"

Body = Callable[[], Any]


class RegistryError(ImageError):
    """A registry that did not do as asked. `status` is HTTP's, 0 where nothing was answered."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether asking again soon may help."""
        return self.status in (0, 408, 429) or self.status >= 500


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as the registry has it."""

    digest: str
    media_type: str
    body: bytes

    @property
    def tree(self) -> dict[str, Any]:
        """Its content. Raises ImageError."""
        return content.document(self.body)


def connection(connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
    """Connections for any number of registries; the caller closes it. They are made by the connector, if there is one."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=True
    )


class Registry:
    """One endpoint as one login sees it. Tokens are kept as long as this is."""

    def __init__(self, http: aiohttp.ClientSession, endpoint: Endpoint, login: Login | None = None) -> None:
        self._http = http
        self.endpoint = endpoint
        self._login = login or endpoint.login
        self._tls = _context(endpoint)
        self._authorization = (
            f"Bearer {self._login.registry_token}" if self._login and self._login.registry_token else ""
        )

    async def manifest(self, wanted: str) -> Manifest:
        """The manifest of a tag or digest, its bytes checked against a digest that was asked for."""
        answer = await self._ask("GET", f"manifests/{wanted}", {"Accept": ACCEPTED})
        async with answer:
            body = await _bounded(answer, content.MAX_DOCUMENT_BYTES)
        digest = content.digest_of(body)
        if wanted.startswith("sha256:") and digest != wanted:
            raise RegistryError(f"the manifest's digest is {digest}, not {wanted}", answer.status)
        return Manifest(digest, answer.content_type, body)

    async def blob(self, digest: str, start: int = 0) -> aiohttp.ClientResponse:
        """A blob's bytes, from `start` on where the registry can (status 206); the caller closes the answer."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        return await self._ask("GET", f"blobs/{digest}", headers)

    async def has(self, what: str) -> bool:
        """Whether `blobs/<digest>` or `manifests/<reference>` is there."""
        try:
            (await self._ask("HEAD", what, {"Accept": ACCEPTED}, actions="pull,push")).release()
        except RegistryError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def put_blob(self, digest: str, size: int, body: Body) -> None:
        """Sends a blob in one piece. `body` opens it anew for each attempt."""
        async with await self._ask("POST", "blobs/uploads/", {"Content-Length": "0"}, actions="pull,push") as begun:
            where = begun.headers.get("Location", "")
        url = urljoin(str(begun.url), where)
        url += ("&" if urlsplit(url).query else "?") + f"digest={digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        (await self._ask("PUT", url, headers, body=body, actions="pull,push")).release()

    async def put_manifest(self, name: str, manifest: Manifest) -> None:
        """Names a manifest whose blobs are there."""
        headers = {"Content-Type": manifest.media_type}
        (
            await self._ask("PUT", f"manifests/{name}", headers, body=lambda: manifest.body, actions="pull,push")
        ).release()

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], *, body: Body | None = None, actions: str = "pull"
    ) -> aiohttp.ClientResponse:
        """The answer, if it is a good one; a challenge is met once."""
        url = path if "://" in path else f"{self.endpoint.url}/{self.endpoint.path}/{path}"
        answer = await self._send(method, url, headers, body)
        if answer.status == 401:
            asked = challenge.parse(answer.headers.get("WWW-Authenticate", ""))
            if await self._meet(asked, actions):
                answer.release()
                answer = await self._send(method, url, headers, body)
        if answer.status >= 300:
            async with answer:
                raise await _refusal(method, url, answer)
        return answer

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        sent = {"Accept-Encoding": "identity", **headers}
        if self._authorization and urlsplit(url).netloc == urlsplit(self.endpoint.url).netloc:
            sent["Authorization"] = self._authorization
        try:
            data = body() if body is not None else None
            return await self._http.request(method, url, headers=sent, data=data, ssl=self._tls)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryError(f'failed to do request: {method.capitalize()} "{url}": {why(error)}') from error

    async def _meet(self, asked: challenge.Challenge, actions: str) -> bool:
        """Gets what the challenge asks for; whether there is something new to try."""
        if asked.scheme == "basic" and self._login is not None and self._login.username:
            new = _basic(self._login)
        elif asked.scheme == "bearer" and asked.realm:
            new = f"Bearer {await self._token(asked, actions)}"
        else:
            return False
        is_new, self._authorization = new != self._authorization, new
        return is_new

    async def _token(self, asked: challenge.Challenge, actions: str) -> str:
        scope = asked.scope or f"repository:{self.endpoint.path}:{actions}"
        login, service = self._login, asked.service
        is_secret = login is not None and bool(login.username or login.identity_token)
        if is_secret and self.endpoint.url.startswith("https:") and not asked.realm.startswith("https:"):
            raise RegistryError(f"the registry wants the login sent to {asked.realm}, which is not encrypted", 401)
        try:
            if login is not None and login.identity_token:
                form = {"grant_type": "refresh_token", "service": service, "scope": scope, "client_id": CLIENT_ID}
                form["refresh_token"] = login.identity_token
                sending = self._http.post(asked.realm, data=form, ssl=self._tls)
            else:
                query, headers = {"service": service, "scope": scope}, {}
                if login is not None and login.username:
                    headers["Authorization"] = _basic(login)
                    query["account"] = login.username
                sending = self._http.get(asked.realm, params=query, headers=headers, ssl=self._tls)
            async with sending as answer:
                body = await _bounded(answer, MAX_TOKEN_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RegistryError(f"failed to fetch a token from {asked.realm}: {why(error)}") from error
        if answer.status != 200:
            text = f"unexpected status from {answer.method} request to {asked.realm}: {answer.status} {answer.reason}"
            raise RegistryError(f"failed to authorize: failed to fetch a token: {text}", answer.status)
        tree = content.document(body)
        token = tree.get("token") or tree.get("access_token")
        if not isinstance(token, str) or not token.isprintable():
            raise RegistryError(f"failed to authorize: {asked.realm} answered without a token", 401)
        return token


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def why(error: BaseException) -> str:
    """What went wrong on the way, in a few words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {error.host}:{error.port}: connect: {_said(error.os_error)}"
    if isinstance(error, asyncio.TimeoutError):
        return "i/o timeout"
    return _said(error) if isinstance(error, OSError) else str(error) or type(error).__name__


def _said(error: OSError) -> str:
    known = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return (known or str(error) or type(error).__name__).lower()


async def _refusal(method: str, url: str, answer: aiohttp.ClientResponse) -> RegistryError:
    status = answer.status
    if status in (401, 403):
        said = await _first_error(answer)
        text = "pull access denied, repository does not exist or may require authorization"
        return RegistryError(f"{text}: {said}" if said else text, status)
    if status == 404:
        return RegistryError("not found", status)
    said = await _first_error(answer)
    text = f"unexpected status from {method} request to {url}: {status} {answer.reason}"
    return RegistryError(f"{text}: {said}" if said else text, status)


async def _first_error(answer: aiohttp.ClientResponse) -> str:
    """What the registry says itself, bounded."""
    try:
        tree = orjson.loads(await _bounded(answer, 1 << 16))
        first = tree["errors"][0]
        return f"{str(first.get('code', '')).lower()}: {first.get('message', '')}"[:512].strip(": ")
    except (RegistryError, aiohttp.ClientError, TimeoutError, ValueError, TypeError, LookupError, AttributeError):
        return ""


async def _bounded(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    pieces, total = [], 0
    try:
        async for piece in answer.content.iter_chunked(1 << 16):
            total += len(piece)
            if total > limit:
                raise RegistryError(f"{answer.url} answers with more than {limit} bytes", answer.status)
            pieces.append(piece)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RegistryError(f"the answer of {answer.url} broke off: {why(error)}") from error
    return b"".join(pieces)


@functools.cache
def _usual() -> ssl.SSLContext:
    """One that trusts whom the world trusts."""
    return ssl.create_default_context()


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    tls = endpoint.tls
    if not endpoint.url.startswith("https:") or tls == Tls():
        return _usual()
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(f"the TLS files for {endpoint.url}: {error}") from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
