"""Distributed claims: a token that does not hold the groups, but says where to ask for them, as for users of many.

The place that it names answers with another token, signed as well, that holds them.

https://openid.net/specs/openid-connect-core-1_0.html#AggregatedDistributedClaims
"""

import dataclasses
from typing import Any

from sampan.kit.clock import Clock
from sampan.meta import status
from sampan.server.oidc import keys, signatures
from sampan.server.oidc.keys import Keys
from sampan.server.oidc.settings import Issuer
from sampan.server.outbound import Outbound
from sampan.server.tokens import TokenError, issuer_of

NAMES, SOURCES = "_claim_names", "_claim_sources"
MAX_ISSUERS = 16

Tree = dict[str, Any]


class Distributed:
    """For the groups of one issuer's tokens; `own` are that issuer's keys."""

    def __init__(self, issuer: Issuer, outbound: Outbound | None, clock: Clock, own: Keys) -> None:
        self._issuer = issuer
        self._outbound = outbound
        self._clock = clock
        self._keys = {issuer.url: own}

    async def expand(self, claims: Tree) -> Tree:
        """The claims, with the groups from where they are. Raises TokenError."""
        claim = self._issuer.groups.claim
        if not claim or claim in claims or NAMES not in claims:
            return claims
        try:
            source = _source(claims, claim)
            if source is None or not source.get("endpoint"):
                return claims
            return {**claims, claim: await self._value(source, claim)}
        except TokenError as error:
            raise TokenError(f"oidc: could not expand distributed claims: {error}") from error

    async def _value(self, source: Tree, claim: str) -> Any:
        where, credential = str(source["endpoint"]), source.get("access_token")
        headers = {"authorization": f"Bearer {credential}"} if credential else {}
        try:
            answer = await keys.fetch(self._issuer, self._outbound, where, headers)
        except TokenError as error:
            raise TokenError(f"while getting distributed claim {status.show(claim)}: {error}") from error
        token = answer.decode("utf-8", "replace").strip()
        signer = issuer_of(token)
        if not signer:
            raise TokenError(f"getting untrusted issuer from endpoint {where} failed for claim {status.show(claim)}")
        try:
            found = await signatures.claims(token, self._keys_of(signer), signer)
            signatures.check(found, self._issuer.audiences, self._clock.now())
        except TokenError as error:
            raise TokenError(f"verify distributed claim token: {error}") from error
        if claim not in found:
            raise TokenError(f"jwt returned by distributed claim endpoint {where} did not contain claim: {claim}")
        return found[claim]

    def _keys_of(self, issuer: str) -> Keys:
        """Who signs for the place that was asked need not be who signed the token."""
        found = self._keys.get(issuer)
        if found is None:
            if len(self._keys) > MAX_ISSUERS:
                raise TokenError(f"no verifier for issuer: {status.show(issuer)}")
            other = dataclasses.replace(self._issuer, url=issuer, discovery_url="")
            found = self._keys[issuer] = Keys(other, self._outbound, self._clock)
        return found


def _source(claims: Tree, claim: str) -> Tree | None:
    """Where the claim is to be had, None when the token does not say. Raises TokenError."""
    names, sources = claims[NAMES], claims.get(SOURCES)
    if not isinstance(names, dict):
        raise TokenError("oidc: error parsing distributed claim names")
    if sources is None:
        raise TokenError("oidc: no claim sources")
    if not isinstance(sources, dict) or not all(isinstance(each, dict) for each in sources.values()):
        raise TokenError("oidc: could not parse claim sources")
    name = names.get(claim)
    if name is None:
        return None
    if name not in sources:
        raise TokenError(f"id token _claim_names contained a source {name} missing in _claims_sources")
    found: Tree = sources[name]
    return found
