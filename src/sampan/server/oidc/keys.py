"""Keys: the public keys of an issuer, found by discovery, kept, and fetched again when a new one is named.

https://openid.net/specs/openid-connect-discovery-1_0.html
"""

import asyncio
from typing import Any
from urllib.parse import SplitResult, urlsplit

import jwt
import orjson

from sampan.kit.clock import Clock
from sampan.server.oidc.settings import Issuer
from sampan.server.outbound import Outbound, OutboundError, Target
from sampan.server.tokens import TokenError
from sampan.web.message import Request

SECONDS_BETWEEN = 10.0
TIMEOUT_SECONDS = 10.0
WELL_KNOWN = "/.well-known/openid-configuration"
MAX_KEYS = 256

Tree = dict[str, Any]


class Keys:
    """Of one issuer. A flood of tokens with made-up key names costs one fetch in ten seconds."""

    def __init__(self, issuer: Issuer, outbound: Outbound | None, clock: Clock) -> None:
        self._issuer = issuer
        self._outbound = outbound
        self._clock = clock
        self._keys: list[jwt.PyJWK] = []
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        """The keys that may have signed a token with this header; at worst none. Raises TokenError."""
        found = self._matching(key_id, algorithm)
        if found:
            return found
        async with self._lock:
            found = self._matching(key_id, algorithm)
            if not found and self._clock.monotonic() - self._fetched >= SECONDS_BETWEEN:
                self._fetched = self._clock.monotonic()
                self._keys = await self._fetch()
                found = self._matching(key_id, algorithm)
        return found

    def _matching(self, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        return [
            key
            for key in self._keys
            if key_id in (None, key.key_id) and key.public_key_use in (None, "sig") and _fits(key, algorithm)
        ]

    async def _fetch(self) -> list[jwt.PyJWK]:
        where = self._issuer.discovery_url or self._issuer.url.rstrip("/") + WELL_KNOWN
        document = await self._read(where)
        if document.get("issuer") != self._issuer.url:
            raise TokenError(f"oidc: issuer did not match the issuer returned by provider at {where}")
        listed = (await self._read(str(document.get("jwks_uri") or ""))).get("keys")
        keys = []
        for each in (listed if isinstance(listed, list) else [])[:MAX_KEYS]:
            try:
                keys.append(jwt.PyJWK(each))
            except (jwt.PyJWTError, ValueError, TypeError):
                continue  # a key of a sort that we don't know is not ours to use
        return keys

    async def _read(self, url: str) -> Tree:
        """A JSON document of the issuer's. Raises TokenError."""
        body = await fetch(self._issuer, self._outbound, url, {"accept": "application/json"})
        try:
            tree = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise TokenError(f"oidc: {url} cannot be read: {error}") from error
        if not isinstance(tree, dict):
            raise TokenError(f"oidc: {url} is no JSON object")
        return tree


async def fetch(issuer: Issuer, outbound: Outbound | None, url: str, headers: dict[str, str]) -> bytes:
    """What the issuer, or somebody whom it names, publishes there. Raises TokenError."""
    if outbound is None:
        raise TokenError("oidc: this cluster is simulated and asks no issuer")
    parts, port = _parts(url)
    target = Target(parts.hostname or "", port, ca=issuer.authority, local=True)
    try:
        answer = await outbound.send(target, _request(parts, headers), TIMEOUT_SECONDS)
    except OutboundError as error:
        raise TokenError(f"oidc: {url} cannot be read: {error}") from error
    if answer.status != 200 or not isinstance(answer.body, bytes):
        raise TokenError(f"oidc: {url} answered {answer.status}")
    return answer.body


def _parts(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise TokenError(f"oidc: {url} is no URL") from error
    if parts.scheme != "https" or not parts.hostname:
        raise TokenError(f"oidc: {url} is not an https URL")
    return parts, port


def _request(parts: SplitResult, more: dict[str, str]) -> Request:
    headers = {"user-agent": "sampan", **more}
    return Request("GET", parts.path or "/", headers=headers, raw_path=parts.path or "/", raw_query=parts.query)


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    """Whether the key can be of the algorithm, so that no key is used as what it is not."""
    named = key._jwk_data.get("alg")
    if named is not None:
        return bool(named == algorithm)
    family = {"RS": "RSA", "PS": "RSA", "ES": "EC"}.get(algorithm[:2])
    return bool(key.key_type == family)
