"""Impersonation: whom a request asks to be, and what its caller must be allowed to for that.

Either to impersonate them for this very request (constrained), or for whatever they may do.

https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from sampan.meta import names, status
from sampan.server.account_tokens import SERVICE_ACCOUNT_PREFIX
from sampan.server.authz.decision import Attributes
from sampan.server.identity import (
    AUTHENTICATED_GROUP,
    MASTERS_GROUP,
    NOBODY,
    SERVICE_ACCOUNTS_GROUP,
    UNAUTHENTICATED_GROUP,
    User,
)
from sampan.web.message import APART, Request

_GROUP = "authentication.k8s.io"
_EXTRA = "impersonate-extra-"
_NODE = "system:node:"
_NODES_GROUP = "system:nodes"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_ASSOCIATED, _ARBITRARY, _ACCOUNT, _INFO = "associated-node", "arbitrary-node", "serviceaccount", "user-info"

Check = Callable[[User, Attributes], object]


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Whom a request asks to be; `groups` are those it names itself, the others come with the user's name."""

    user: User
    groups: tuple[str, ...]

    @property
    def is_only_a_name(self) -> bool:
        """Whether the request asks for nothing but the name."""
        return not (self.groups or self.user.uid or self.user.extra)


def wanted(request: Request) -> Impersonation | None:
    """Whom the request's Impersonate-* headers ask to be. Raises ApiError 400 when they have no user."""
    headers = request.headers
    for header in headers:
        if header[:12] == "impersonate-":
            break
    else:
        return None
    name = headers.get("impersonate-user", "")
    extra = {
        unquote(k.removeprefix(_EXTRA)): tuple(part.strip() for part in v.split(APART))
        for k, v in headers.items()
        if k.startswith(_EXTRA)
    }
    if not name and not extra and "impersonate-group" not in headers and "impersonate-uid" not in headers:
        return None
    asked = tuple(g.strip() for g in headers.get("impersonate-group", "").split(APART) if g.strip())
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
    if implied not in groups and UNAUTHENTICATED_GROUP not in groups:
        groups = (*groups, implied)
    return Impersonation(User(name, uid, groups, extra), asked)


def judge(wanted: Impersonation, caller: User, asked: Attributes, check: Check) -> tuple[User, str]:
    """Whom the request acts as, and the verb that limits it to this request, "" for none.

    `check` raises ApiError 403 for what the caller may not. When nothing allows it, the refusal names the old verb
    `impersonate`, which people know.
    """
    for mode in _modes(wanted, caller):
        try:
            check(caller, replace(asked, verb=f"impersonate-on:{mode}:{asked.verb}"))
            for question in _constrained(wanted, mode):
                check(caller, question)
        except status.ApiError:
            continue
        return _as_node(wanted.user) if mode in (_ASSOCIATED, _ARBITRARY) else wanted.user, f"impersonate:{mode}"
    for question in questions(wanted, "impersonate"):
        check(caller, question)
    return wanted.user, ""


def _modes(wanted: Impersonation, caller: User) -> tuple[str, ...]:
    """The ways to constrain that there are for such a user."""
    name = wanted.user.name
    if _node(name):
        is_theirs = caller.name.startswith(SERVICE_ACCOUNT_PREFIX) and caller.extra.get(_NODE_NAME) == (_node(name),)
        return ((_ASSOCIATED, _ARBITRARY) if is_theirs else (_ARBITRARY,)) if wanted.is_only_a_name else ()
    if _account(name):
        return (_ACCOUNT,) if wanted.is_only_a_name else ()
    is_beyond = MASTERS_GROUP in wanted.groups or any("/" not in key for key in wanted.user.extra)
    return () if is_beyond else (_INFO,)


def _constrained(wanted: Impersonation, mode: str) -> list[Attributes]:
    if mode in (_ASSOCIATED, _ARBITRARY):
        name = "*" if mode == _ASSOCIATED else _node(wanted.user.name)
        return [Attributes(verb=f"impersonate:{mode}", group=_GROUP, resource="nodes", name=name)]
    return [replace(each, group=_GROUP) for each in questions(wanted, f"impersonate:{mode}")]


def _as_node(user: User) -> User:
    return replace(user, groups=(_NODES_GROUP, AUTHENTICATED_GROUP))


def _node(user: str) -> str:
    """The node whose user this is, "" for another user."""
    name = user.removeprefix(_NODE) if user.startswith(_NODE) else ""
    return name if name and not names.dns1123_subdomain(name) else ""


def _account(user: str) -> tuple[str, str] | None:
    """Namespace and name of the service account whose user this is."""
    parts = user.split(":")
    return (parts[2], parts[3]) if user.startswith(SERVICE_ACCOUNT_PREFIX) and len(parts) == 4 else None


def questions(impersonation: Impersonation, verb: str) -> list[Attributes]:
    """What a caller must be allowed to do in order to act as this user, in each group asked for by name."""
    user = impersonation.user
    account = _account(user.name)
    if account is not None:
        asked = [Attributes(verb=verb, resource="serviceaccounts", namespace=account[0], name=account[1])]
    else:
        asked = [Attributes(verb=verb, resource="users", name=user.name)]
    if user.uid:
        asked.append(Attributes(verb=verb, group=_GROUP, resource="uids", name=user.uid))
    asked += [Attributes(verb=verb, resource="groups", name=group) for group in impersonation.groups]
    for key, values in user.extra.items():
        asked += [
            Attributes(verb=verb, group=_GROUP, resource="userextras", subresource=key, name=value) for value in values
        ]
    return asked
