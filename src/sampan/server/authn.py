"""Authentication: who a request comes from: a front proxy's word, a client certificate, a bearer token, or nobody.

The first of them that the request carries and that holds decides. A token that does not hold is refused
(401), and never becomes nobody.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sampan.meta import status
from sampan.server import bootstrap_tokens
from sampan.server.account_tokens import AccountTokens
from sampan.server.admission.chain import Lookup
from sampan.server.front_proxy import FrontProxy
from sampan.server.identity import AUTHENTICATED_GROUP, NOBODY, User, Verified
from sampan.server.tokens import TokenError, Tokens
from sampan.web.message import Peer, Request

MAX_PEERS = 1024
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_WEBSOCKET = "base64url.bearer.authorization.k8s.io."


class Issuer(Protocol):
    """Somebody else whose tokens are taken (server/oidc)."""

    def is_mine(self, token: str) -> bool:
        """Whether the token claims to be of this issuer."""
        ...

    async def user(self, token: str) -> User:
        """Raises TokenError."""
        ...


class Anonymous(Protocol):
    """Where requests without any credentials are let through to authorization."""

    def allows(self, path: str) -> bool: ...


class Authenticator:
    """`issuers` and `front_proxy` as configured; `anonymous` None lets nobody's requests through everywhere."""

    def __init__(self, tokens: Tokens, lookup: Lookup, now: Callable[[], float]) -> None:
        self._issuer = tokens.issuer
        self.accounts = AccountTokens(tokens, lookup, now)
        self._lookup = lookup
        self._now = now
        self._peers: dict[Peer, Verified] = {}
        self.issuers: Sequence[Issuer] = ()
        self.front_proxy: FrontProxy | None = None
        self.anonymous: Anonymous | None = None

    async def identify(self, request: Request) -> Verified:
        """Who asks. Raises ApiError 401 for credentials that do not hold."""
        peer = request.peer
        if peer.common_name:
            verified = self._peers.get(peer) or self._by_certificate(request)
            if verified is not None:
                return verified
        header = request.headers.get("authorization", "")
        token = _bearer(header) if header else _websocket_token(request)
        if token:
            try:
                return await self.token(token, ())
            except TokenError as error:
                raise status.unauthorized() from error
        if self.anonymous is not None and not self.anonymous.allows(request.path):
            raise status.unauthorized()
        return _NOBODY

    async def token(self, token: str, audiences: tuple[str, ...]) -> Verified:
        """The user of a token that holds, for any of the audiences (none = the API). Raises TokenError."""
        for issuer in self.issuers:
            if issuer.is_mine(token):
                return Verified(await issuer.user(token), self._common(audiences))
        if bootstrap_tokens.looks_like(token):
            user = bootstrap_tokens.verify(token, self._lookup, self._now())
            return Verified(user, self._common(audiences))
        return await self.accounts.verify(token, audiences)

    def _common(self, audiences: tuple[str, ...]) -> tuple[str, ...]:
        """Tokens that name no audience of ours are for the API itself."""
        if audiences and self._issuer not in audiences:
            raise TokenError("the token is for the API, and for no other audience")
        return (self._issuer,)

    def _by_certificate(self, request: Request) -> Verified | None:
        peer = request.peer
        if self.front_proxy is not None and self.front_proxy.issued(peer):
            named = self.front_proxy.user(request)
            return None if named is None else Verified(named, ())
        if len(self._peers) >= MAX_PEERS:
            self._peers.clear()
        extra = {}
        if peer.certificate:
            extra[CREDENTIAL_ID] = (f"X509SHA256={hashlib.sha256(peer.certificate).hexdigest()}",)
        user = User(peer.common_name, peer.uid, (*peer.organizations, AUTHENTICATED_GROUP), extra)
        verified = self._peers[peer] = Verified(user, ())
        return verified


_NOBODY = Verified(NOBODY, ())


def user_info(user: User) -> dict[str, Any]:
    """A user as reviews show it."""
    shown: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


def _bearer(header: str) -> str:
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _websocket_token(request: Request) -> str:
    """Browsers can only send a token as a sub-protocol, in base64url. Raises ApiError 401."""
    protocols = request.headers.get("sec-websocket-protocol", "")
    if _WEBSOCKET not in protocols or "websocket" not in request.headers.get("upgrade", "").lower():
        return ""
    import base64
    import binascii

    offered = [protocol.strip() for protocol in protocols.split(",")]
    found = [p.removeprefix(_WEBSOCKET) for p in offered if p.startswith(_WEBSOCKET)]
    # Several tokens, or a token and no sub-protocol to agree on, are refused, as the browser could not go on.
    if len(found) != 1 or len(offered) < 2:
        raise status.unauthorized()
    text = found[0]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise status.unauthorized() from error
