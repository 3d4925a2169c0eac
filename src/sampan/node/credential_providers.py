"""Asking programs for registries' credentials, as the kubelet does, and keeping the answers as long as they say.

A program reads a CredentialProviderRequest and writes a CredentialProviderResponse. One that fails is said in the log;
the pull goes on without it.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kit.clock import Clock
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.node import outsiders
from sampan.node.registry.config import Login
from sampan.node.registry.credential_plugins import Plugins, Provider, TokenAttributes

Object = dict[str, Any]
Logins = Mapping[str, Login]
log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
TOKEN_SECONDS = 3600


class ProviderError(Exception):
    """A program gave no credentials; the text says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """The service account that credentials were given for."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Given:
    """One program's logins, by the images that they are for; `account` when they are for this account's pods only."""

    logins: Logins
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whom a program is asked for besides the image."""

    account: Account | None = None
    token: str = ""
    annotations: tuple[tuple[str, str], ...] = ()
    key: tuple[Any, ...] = ()


class Providers:
    """One node's programs."""

    def __init__(self, plugins: Plugins, client: Client, clock: Clock) -> None:
        self._plugins, self._client, self._clock = plugins, client, clock
        self._kept: dict[tuple[Any, ...], tuple[float, Logins]] = {}
        self._asking: dict[tuple[Any, ...], asyncio.Future[Logins]] = {}

    async def given(self, pod: Object, repository: str) -> list[Given]:
        """What the programs that are for the repository give for the pod, in the file's order."""
        found = []
        for provider in self._plugins.providers:
            if not provider.is_for(repository):
                continue
            try:
                asked = await self._asked(provider.token_attributes, pod)
                if asked is not None:
                    found.append(Given(await self._logins(provider, repository, asked), asked.account))
            except (ProviderError, ApiError, TransportError, OSError) as error:
                log.warning("credential provider plugin %s for image %s: %s", provider.name, repository, error)
        return found

    async def _asked(self, wanted: TokenAttributes | None, pod: Object) -> _Asked | None:
        """None when the program isn't asked for such a pod."""
        if wanted is None:
            return _Asked()
        name, namespace = pod["spec"].get("serviceAccountName") or "", objects.namespace(pod)
        if not name:
            return None if wanted.is_account_required else _Asked()
        account = await self._client.get(SERVICEACCOUNT, name, namespace)
        marks = objects.annotations(account)
        if any(key not in marks for key in wanted.required_annotations):
            return None
        keys = sorted({*wanted.required_annotations, *wanted.optional_annotations} & marks.keys())
        annotations = tuple((key, marks[key]) for key in keys)
        token = await self._token(wanted.audience, pod, name)
        holder = Account(namespace, name, objects.uid(account))
        key = (holder, annotations, token if wanted.cache_type == "Token" else "")
        return _Asked(holder, token, annotations, key)

    async def _token(self, audience: str, pod: Object, account: str) -> str:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": objects.name(pod), "uid": objects.uid(pod)}
        spec = {"audiences": [audience], "expirationSeconds": TOKEN_SECONDS, "boundObjectRef": bound}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        key = (objects.namespace(pod), account)
        answer = await self._client.create_subresource(SERVICEACCOUNT, key, "token", request)
        return str(answer["status"]["token"])

    async def _logins(self, provider: Provider, image: str, asked: _Asked) -> Logins:
        """From the cache, or from the program, which runs once for all who ask the same now."""
        now = self._clock.monotonic()
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
        for part in (image, image.partition("/")[0], "global"):
            if kept := self._kept.get((provider.name, part, *asked.key)):
                return kept[1]
        key = (provider.name, image, asked.token, asked.annotations)
        running = self._asking.get(key)
        if running is None:
            running = self._asking[key] = asyncio.ensure_future(self._ask(provider, image, asked))
            running.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(running)

    async def _ask(self, provider: Provider, image: str, asked: _Asked) -> Logins:
        request: Object = {"apiVersion": provider.api_version, "kind": "CredentialProviderRequest", "image": image}
        if asked.token:
            request |= {"serviceAccountToken": asked.token, "serviceAccountAnnotations": dict(asked.annotations)}
        answer = _read(await self._run(provider, orjson.dumps(request)), provider)
        parts = {"Image": image, "Registry": image.partition("/")[0], "Global": "global"}
        kind = answer.get("cacheKeyType")
        if not isinstance(kind, str) or kind not in parts:
            raise ProviderError(f"credential provider plugin did not return a valid cacheKeyType: {kind!r}")
        found = _auth(answer)
        seconds = _seconds(answer.get("cacheDuration"), provider.default_cache_duration or 0.0)
        if seconds > 0:
            key = (provider.name, parts[kind], *asked.key)
            self._kept[key] = self._clock.monotonic() + seconds, found
        return found

    async def _run(self, provider: Provider, request: bytes) -> bytes:
        environment = os.environ | {variable.name: variable.value for variable in provider.env}
        command = (str(self._plugins.folder / provider.name), *provider.args)
        try:
            answer = await outsiders.ask(command, TIMEOUT_SECONDS, request, environment)
        except outsiders.NoAnswer as error:
            raise ProviderError(str(error)) from None
        if answer.code:
            raise ProviderError(f"exit status {answer.code}: {answer.errors.decode(errors='replace')[:2000].strip()}")
        return answer.output


def fingerprint(login: Login) -> str:
    """What is kept of a login to know it again."""
    text = orjson.dumps([login.username, login.password, login.identity_token, login.registry_token])
    return hashlib.sha256(text).hexdigest()


def _read(output: bytes, provider: Provider) -> Object:
    """The answer; what is wrong with one is told without its text, which may hold a password."""
    try:
        answer = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        raise ProviderError("error decoding credential provider plugin response from stdout") from error
    if not isinstance(answer, dict) or answer.get("kind") != "CredentialProviderResponse":
        raise ProviderError("error decoding credential provider plugin response from stdout")
    if answer.get("apiVersion") != provider.api_version:
        raise ProviderError(
            "apiVersion from credential plugin response did not match "
            f"expected apiVersion:{provider.api_version}, actual apiVersion:{answer.get('apiVersion')}"
        )
    return answer


def _auth(answer: Object) -> Logins:
    found, told = {}, answer.get("auth") or {}
    if not isinstance(told, dict):
        raise ProviderError("error decoding credential provider plugin response from stdout")
    for key, entry in told.items():
        if not isinstance(entry, dict):
            raise ProviderError("error decoding credential provider plugin response from stdout")
        found[str(key)] = Login(str(entry.get("username") or ""), str(entry.get("password") or ""))
    return found


def _seconds(written: Any, otherwise: float) -> float:
    if written is None:
        return otherwise
    from sampan.cel import times

    try:
        return times.parse_duration(str(written)).nanos / times.SECOND
    except ValueError as error:
        raise ProviderError("error decoding credential provider plugin response from stdout") from error
