"""Service account tokens as identities: whom one stands for, as long as its account and what it is bound to live.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

import base64
import hmac
from collections.abc import Callable

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Kind
from sampan.meta import objects, timestamps
from sampan.server.admission.chain import Lookup
from sampan.server.identity import AUTHENTICATED_GROUP, SERVICE_ACCOUNTS_GROUP, User, Verified
from sampan.server.tokens import Claims, TokenError, Tokens

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
MAX_VERIFIED = 4096
DELETION_LEEWAY_SECONDS = 60
_NAMES = "authentication.kubernetes.io/"


class AccountTokens:
    """Checks the signature once, and at each use whether account, pod, node and Secret are still the same."""

    def __init__(self, tokens: Tokens, lookup: Lookup, now: Callable[[], float]) -> None:
        self._tokens = tokens
        self._lookup = lookup
        self._now = now
        self._verified: dict[tuple[str, tuple[str, ...]], tuple[Claims, User]] = {}

    def verify(self, token: str, audiences: tuple[str, ...]) -> Verified:
        """Raises TokenError."""
        claims, user = self._claims(token, audiences)
        self._alive(claims, token)
        stale = claims.warn_after and self._now() > claims.warn_after
        note = {"authentication.k8s.io/stale-token": f"subject: {user.name}"} if stale else {}
        return Verified(user, claims.audiences, note)

    def _claims(self, token: str, audiences: tuple[str, ...]) -> tuple[Claims, User]:
        """A token's content. A signature that held once is not computed again while the token lasts."""
        now = self._now()
        known = self._verified.get((token, audiences))
        if known is not None and now < known[0].expires:
            return known
        claims = self._tokens.verify(token, audiences, now)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.pop(next(iter(self._verified)))
        known = self._verified[token, audiences] = (claims, service_account_user(claims))
        return known

    def _alive(self, claims: Claims, token: str) -> None:
        if not self._is_there(SERVICEACCOUNT, claims.namespace, claims.service_account, claims.service_account_uid):
            raise TokenError("the service account of the token is gone")
        if claims.is_legacy:
            self._check_legacy(claims, token)
        elif claims.secret_name:
            if not self._is_there(SECRET, claims.namespace, claims.secret_name, claims.secret_uid):
                raise TokenError("the secret of the token is gone")
        elif claims.pod_name:
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

    def _check_legacy(self, claims: Claims, token: str) -> None:
        item = self._lookup.get(SECRET, claims.namespace, claims.secret_name)
        if item is None or objects.is_deleting(item.tree):
            raise TokenError("the secret of the token is gone")
        held = base64.b64decode((item.tree.get("data") or {}).get("token", ""))
        if not hmac.compare_digest(held, token.encode()):
            raise TokenError("the secret holds another token")
        if objects.labels(item.tree).get(INVALID_SINCE):
            raise TokenError("the token has been auto-marked as invalid")


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
