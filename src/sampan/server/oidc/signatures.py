"""Signatures: what a token says, when one of an issuer's keys signed it.

https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
"""

from typing import Any

import jwt

from sampan.server.oidc.keys import Keys
from sampan.server.tokens import TokenError

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
_UNCHECKED: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}

Tree = dict[str, Any]


async def claims(token: str, keys: Keys, issuer: str) -> Tree:
    """The claims of a token of the issuer's; audience and times are for `check`. Raises TokenError."""
    try:
        header = jwt.get_unverified_header(token)
        algorithm = str(header.get("alg"))
        if algorithm not in ALGORITHMS:
            raise TokenError("oidc: malformed jwt: unexpected signature algorithm")
        for key in await keys.find(header.get("kid"), algorithm):
            try:
                found: Tree = jwt.decode(token, key.key, algorithms=[algorithm], issuer=issuer, options=_UNCHECKED)
            except jwt.InvalidSignatureError:
                continue
            return found
    except jwt.InvalidTokenError as error:
        raise TokenError(f"oidc: verify token: {error}") from error
    raise TokenError("oidc: verify token: failed to verify signature")


def check(found: Tree, audiences: tuple[str, ...], now: float) -> None:
    """Raises TokenError unless the claims are for one of the audiences, and hold now."""
    ends, starts = found.get("exp"), found.get("nbf", 0)
    if not isinstance(ends, int | float) or not isinstance(starts, int | float):
        raise TokenError("oidc: verify token: the token has no end")
    if now >= ends:
        raise TokenError("oidc: verify token: oidc: token is expired")
    if now < starts:
        raise TokenError("oidc: verify token: oidc: token is not valid yet")
    given = found.get("aud")
    named = [given] if isinstance(given, str) else given or []
    if not any(audience in audiences for audience in named):
        raise TokenError(f"oidc: verify token: oidc: expected audience in {list(audiences)}")
