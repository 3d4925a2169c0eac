"""Impersonation: whom a request asks to be, and what its caller must be allowed to for that.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from dataclasses import dataclass
from urllib.parse import unquote

from sampan.meta import status
from sampan.server.account_tokens import SERVICE_ACCOUNT_PREFIX
from sampan.server.authz.decision import Attributes
from sampan.server.identity import AUTHENTICATED_GROUP, NOBODY, SERVICE_ACCOUNTS_GROUP, UNAUTHENTICATED_GROUP, User
from sampan.web.message import Request

_GROUP = "authentication.k8s.io"
_EXTRA = "impersonate-extra-"


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Whom a request asks to be; `groups` are those it names itself, the others come with the user's name."""

    user: User
    groups: tuple[str, ...]


def wanted(request: Request) -> Impersonation | None:
    """Whom the request's Impersonate-* headers ask to be. Raises ApiError 400 when they have no user."""
    headers = request.headers
    name = headers.get("impersonate-user", "")
    extra = {
        unquote(k.removeprefix(_EXTRA)): tuple(part.strip() for part in v.split(","))
        for k, v in headers.items()
        if k.startswith(_EXTRA)
    }
    if not name and not extra and "impersonate-group" not in headers and "impersonate-uid" not in headers:
        return None
    asked = tuple(g.strip() for g in headers.get("impersonate-group", "").split(",") if g.strip())
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


def questions(impersonation: Impersonation) -> list[Attributes]:
    """What a caller must be allowed to do in order to act as this user, in each group asked for by name."""
    user = impersonation.user
    account = user.name.split(":")
    if user.name.startswith(SERVICE_ACCOUNT_PREFIX) and len(account) == 4:
        asked = [Attributes(verb="impersonate", resource="serviceaccounts", namespace=account[2], name=account[3])]
    else:
        asked = [Attributes(verb="impersonate", resource="users", name=user.name)]
    asked += [Attributes(verb="impersonate", resource="groups", name=group) for group in impersonation.groups]
    if user.uid:
        asked.append(Attributes(verb="impersonate", group=_GROUP, resource="uids", name=user.uid))
    for key, values in user.extra.items():
        asked += [
            Attributes(verb="impersonate", group=_GROUP, resource="userextras", subresource=key, name=value)
            for value in values
        ]
    return asked
