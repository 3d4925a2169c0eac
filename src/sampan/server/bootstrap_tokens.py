"""Bootstrap tokens: ID.SECRET, kept in a Secret of kube-system, for machines that join the cluster.

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping

from sampan.kinds.core.secret import SECRET
from sampan.meta import objects, timestamps
from sampan.server.admission.chain import Lookup
from sampan.server.identity import AUTHENTICATED_GROUP, User
from sampan.server.tokens import TokenError

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
NAME_PREFIX = "bootstrap-token-"
USER_PREFIX = "system:bootstrap:"
GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


def looks_like(token: str) -> bool:
    """Whether the text has a bootstrap token's form."""
    return _TOKEN.fullmatch(token) is not None


def verify(token: str, lookup: Lookup, now: float) -> User:
    """The user of a token whose Secret is there, in force, and allows it. Raises TokenError."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise TokenError("the text is no bootstrap token")
    id, secret = match.groups()
    item = lookup.get(SECRET, NAMESPACE, f"{NAME_PREFIX}{id}")
    if item is None or objects.is_deleting(item.tree) or item.tree.get("type") != TYPE:
        raise TokenError("there is no such bootstrap token")
    data = _data(item.tree.get("data") or {})
    if data.get("token-id") != id or not hmac.compare_digest(data.get("token-secret", ""), secret):
        raise TokenError("there is no such bootstrap token")
    if has_expired(data.get("expiration", ""), now):
        raise TokenError("the bootstrap token has expired")
    if data.get("usage-bootstrap-authentication") != "true":
        raise TokenError("the bootstrap token is not for authentication")
    return User(f"{USER_PREFIX}{id}", groups=(*_groups(data), AUTHENTICATED_GROUP))


def has_expired(text: str, now: float) -> bool:
    """Whether the time (RFC 3339) is past; one that cannot be read counts as past, none at all as never."""
    if not text:
        return False
    return not timestamps.is_valid(text) or timestamps.parse(text) <= now


def _groups(data: Mapping[str, str]) -> list[str]:
    groups = {GROUP}
    for group in filter(None, data.get("auth-extra-groups", "").split(",")):
        if _GROUP.fullmatch(group) is None:
            raise TokenError(f"the bootstrap token's group {group!r} does not begin with {GROUP}:")
        groups.add(group)
    return sorted(groups)


def _data(encoded: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, value in encoded.items():
        try:
            found[key] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found
