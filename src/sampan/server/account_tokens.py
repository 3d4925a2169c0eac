"""Service account tokens as identities: whom one stands for, as long as its account and what it is bound to live.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

from collections.abc import Callable

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Kind
from sampan.meta import objects, status, timestamps
from sampan.server.admission.chain import Lookup
from sampan.server.cache import Item
from sampan.server.identity import AUTHENTICATED_GROUP, SERVICE_ACCOUNTS_GROUP, User, Verified
from sampan.server.legacy_tokens import LegacyTokens
from sampan.server.metrics import Metrics
from sampan.server.tokens import Claims, TokenError, Tokens

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
STALE = "authentication.k8s.io/stale-token"
MAX_VERIFIED = 1024
DELETION_LEEWAY_SECONDS = 60
_NAMES = "authentication.kubernetes.io/"
_INVALIDATED = "service account token has been invalidated"


class AccountTokens:
    """Checks the signature once, and at each use whether account, pod, node and Secret are still the same."""

    def __init__(self, tokens: Tokens, lookup: Lookup, now: Callable[[], float]) -> None:
        self._tokens = tokens
        self._lookup = lookup
        self._now = now
        self._verified: dict[tuple[str, tuple[str, ...]], tuple[Claims, Verified]] = {}
        self.legacy = LegacyTokens(lookup, now)
        self.valid = self.stale = 0

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified:
        """Raises TokenError."""
        claims, verified = self._claims(token, audiences)
        if claims.is_legacy:
            return await self.legacy.verify(claims, verified.user, token)
        self._check_alive(claims)
        if not claims.warn_after:
            return verified
        late = self._now() - claims.warn_after
        if late <= 0:
            self.valid += 1
            return verified
        self.stale += 1
        note = f"subject: {verified.user.name}, seconds after warning threshold: {int(late)}"
        return Verified(verified.user, claims.audiences, {STALE: note})

    def expose(self, metrics: Metrics) -> None:
        """Shows in /metrics how tokens are used."""
        self.legacy.expose(metrics)
        help = "Cumulative valid projected service account tokens used"
        metrics.read("serviceaccount_valid_tokens_total", help, lambda: [((), self.valid)])
        help = "Cumulative stale projected service account tokens used"
        metrics.read("serviceaccount_stale_tokens_total", help, lambda: [((), self.stale)])

    def _claims(self, token: str, audiences: tuple[str, ...]) -> tuple[Claims, Verified]:
        """A token's content, and whom it stands for. A signature that held once is not computed again while the token lasts."""
        now = self._now()
        known = self._verified.get((token, audiences))
        if known is not None and now < known[0].expires:
            return known
        claims = self._tokens.verify(token, audiences, now)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.pop(next(iter(self._verified)))
        verified = Verified(service_account_user(claims), claims.audiences)
        known = self._verified[token, audiences] = (claims, verified)
        return known

    def _check_alive(self, claims: Claims) -> None:
        """Raises TokenError unless the account and what the token is bound to are there."""
        namespace, name = claims.namespace, claims.service_account
        item = self._lookup.get(SERVICEACCOUNT, namespace, name)
        if item is None:
            raise TokenError(f"serviceaccounts {status.show(name)} not found")
        uid, claimed = objects.uid(item.tree), claims.service_account_uid
        if uid != claimed:
            raise TokenError(f"service account UID ({uid}) does not match claim ({claimed})")
        if self._has_ended(item):
            raise TokenError(f"service account {namespace}/{name} has been deleted")
        if claims.secret_name:
            self._check_bound(SECRET, namespace, claims.secret_name, claims.secret_uid)
        elif claims.pod_name:
            self._check_bound(POD, namespace, claims.pod_name, claims.pod_uid)
        elif claims.node_name:
            self._check_bound(NODE, "", claims.node_name, claims.node_uid)

    def _check_bound(self, kind: Kind, namespace: str, name: str, claimed: str) -> None:
        item = self._lookup.get(kind, namespace, name)
        if item is None:
            raise TokenError(_INVALIDATED)
        uid = objects.uid(item.tree)
        if uid != claimed:
            what = kind.name.lower()
            raise TokenError(f"{what} UID ({uid}) does not match service account {what} ref claim ({claimed})")
        if self._has_ended(item):
            raise TokenError(_INVALIDATED)

    def _has_ended(self, item: Item) -> bool:
        """Whether the object's deletion is due; one that is being deleted lives for a minute more."""
        ends = item.tree["metadata"].get("deletionTimestamp")
        return bool(ends) and self._now() >= timestamps.parse(ends) + DELETION_LEEWAY_SECONDS


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
