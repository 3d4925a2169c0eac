"""Authentication: who a request comes from, by client certificate or bearer token; and impersonation.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Kind
from sampan.meta import objects, status, timestamps
from sampan.server.admission.chain import Lookup
from sampan.server.identity import (
    AUTHENTICATED_GROUP,
    MASTERS_GROUP,
    NOBODY,
    SERVICE_ACCOUNTS_GROUP,
    UNAUTHENTICATED_GROUP,
    User,
)
from sampan.server.tokens import Claims, TokenError, Tokens
from sampan.web.message import Request

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
MAX_VERIFIED = 4096
DELETION_LEEWAY_SECONDS = 60
_NAMES = "authentication.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that holds: its user, and the audiences that it and the asker have in common."""

    user: User
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Whom a request asks to be; `groups` are those it names itself, the others come with the user's name."""

    user: User
    groups: tuple[str, ...]


class Authenticator:
    """Certificates first, then tokens; nobody at all is the anonymous user."""

    def __init__(self, tokens: Tokens, lookup: Lookup, now: Callable[[], float]) -> None:
        self._tokens = tokens
        self._lookup = lookup
        self._now = now
        self._verified: dict[tuple[str, tuple[str, ...]], Claims] = {}

    def user(self, request: Request) -> User:
        """Raises ApiError 401 for credentials that do not hold."""
        header = request.headers.get("authorization", "")
        if request.peer.common_name:
            return User(request.peer.common_name, groups=(*request.peer.organizations, AUTHENTICATED_GROUP))
        token = _bearer(header) if header else _websocket_token(request)
        if not token:
            if header:
                raise status.unauthorized()
            return NOBODY
        try:
            return self.token(token, ()).user
        except TokenError as error:
            raise status.unauthorized() from error

    def token(self, token: str, audiences: tuple[str, ...]) -> Verified:
        """The user of a service account token whose account (and pod, and node) still live. Raises TokenError."""
        claims = self._claims(token, audiences)
        self._alive(claims)
        return Verified(service_account_user(claims), claims.audiences)

    def _claims(self, token: str, audiences: tuple[str, ...]) -> Claims:
        """A token's content. A signature that held once is not computed again while the token lasts."""
        now = self._now()
        known = self._verified.get((token, audiences))
        if known is not None and now < known.expires:
            return known
        claims = self._tokens.verify(token, audiences, now)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token, audiences] = claims
        return claims

    def _alive(self, claims: Claims) -> None:
        if not self._is_there(SERVICEACCOUNT, claims.namespace, claims.service_account, claims.service_account_uid):
            raise TokenError("the service account of the token is gone")
        if claims.pod_name:
            if not self._is_there(POD, claims.namespace, claims.pod_name, claims.pod_uid):
                raise TokenError("the pod of the token is gone")
        elif claims.node_name and not self._is_there(NODE, "", claims.node_name, claims.node_uid):
            raise TokenError("the node of the token is gone")

    def _is_there(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        """Whether the object lives; one that is being deleted does for a minute more."""
        item = self._lookup.get(kind, namespace, name)
        if item is None or objects.uid(item.tree) != uid:
            return False
        ends = item.tree["metadata"].get("deletionTimestamp")
        return not ends or self._now() < timestamps.parse(ends) + DELETION_LEEWAY_SECONDS


def service_account_user(claims: Claims) -> User:
    """The user that a service account token stands for."""
    extra = {f"{_NAMES}credential-id": (f"JTI={claims.jti}",)} if claims.jti else {}
    bound = {
        "pod-name": claims.pod_name,
        "pod-uid": claims.pod_uid,
        "node-name": claims.node_name,
        "node-uid": claims.node_uid,
    }
    extra.update((_NAMES + key, (value,)) for key, value in bound.items() if value)
    groups = (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{claims.namespace}", AUTHENTICATED_GROUP)
    name = f"{SERVICE_ACCOUNT_PREFIX}{claims.namespace}:{claims.service_account}"
    return User(name, claims.service_account_uid, groups, extra)


def impersonated(request: Request) -> Impersonation | None:
    """Whom the request's Impersonate-* headers ask to be. Raises ApiError 400 when they have no user."""
    headers = request.headers
    name = headers.get("impersonate-user", "")
    asked = tuple(g.strip() for g in headers.get("impersonate-group", "").split(",") if g.strip())
    extra = {
        unquote(k.removeprefix("impersonate-extra-")): (v,)
        for k, v in headers.items()
        if k.startswith("impersonate-extra-")
    }
    uid = headers.get("impersonate-uid", "")
    if not name:
        if asked or extra or uid:
            raise status.bad_request("requested impersonation without a user")
        return None
    groups = asked
    if name.startswith(SERVICE_ACCOUNT_PREFIX) and not groups:
        namespace = name.split(":")[2] if name.count(":") == 3 else ""
        groups = (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}")
    implied = UNAUTHENTICATED_GROUP if name == NOBODY.name else AUTHENTICATED_GROUP
    if implied not in groups:
        groups = (*groups, implied)
    return Impersonation(User(name, uid, groups, extra), asked)


def user_info(user: User) -> dict[str, Any]:
    """A user as reviews show it."""
    shown: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


def is_master(user: User) -> bool:
    return MASTERS_GROUP in user.groups


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _websocket_token(request: Request) -> str:
    """Browsers can only send a token as a sub-protocol: base64url.bearer.authorization.k8s.io.TOKEN."""
    protocols = request.headers.get("sec-websocket-protocol", "")
    mark = "base64url.bearer.authorization.k8s.io."
    if mark not in protocols:
        return ""
    import base64
    import binascii

    text = protocols.split(mark, 1)[1].split(",")[0].strip()
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise status.unauthorized() from error
