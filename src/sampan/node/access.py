"""Who may use the agent's port: authenticated by certificate or TokenReview, authorized by SubjectAccessReview.

Each path needs its own subresource of this node, as upstream's kubelet asks for; opening a process or a stream
in a container always needs `create`, whatever the request's method.

https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from sampan.client.api import Client
from sampan.kinds.authentication.token_review import TOKENREVIEW
from sampan.kinds.authorization.subject_access_review import SUBJECTACCESSREVIEW
from sampan.kit.clock import Clock
from sampan.web.message import Peer, Request

Object = dict[str, Any]

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
TOKEN_SECONDS = 120.0
ALLOWED_SECONDS = 300.0
REFUSED_SECONDS = 30.0
KEPT = 1000

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUBRESOURCES = {
    "stats": ("stats",),
    "metrics": ("metrics",),
    "logs": ("log",),
    "checkpoint": ("checkpoint",),
    "healthz": ("healthz", "proxy"),
    "pods": ("pods", "proxy"),
    "runningpods": ("pods", "proxy"),
    "configz": ("configz", "proxy"),
}
_OPENING = ("exec", "attach", "run", "portForward")


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""


def wanted(request: Request) -> tuple[str, tuple[str, ...]]:
    """The verb, and the subresources of the node any of which allows it."""
    first = request.path.strip("/").partition("/")[0]
    verb = "create" if first in _OPENING else _VERBS.get(request.method, "")
    return verb, _SUBRESOURCES.get(first, ("proxy",))


class Access:
    """Asks the API, and remembers its answers for a short while."""

    def __init__(self, client: Client, node: str, clock: Clock) -> None:
        self._client, self._node, self._clock = client, node, clock
        self._kept: OrderedDict[tuple[Any, ...], tuple[float, Any]] = OrderedDict()

    async def authenticate(self, request: Request) -> User | None:
        """The caller; None for an anonymous one, who may do nothing."""
        peer: Peer = request.peer
        if peer.common_name:
            return User(peer.common_name, (*peer.organizations, AUTHENTICATED))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        key = ("token", token.strip())
        known = self._recall(key)
        if known is None:
            known = await self._review(token.strip())
            self._keep(key, known, TOKEN_SECONDS)
        return known or None

    async def is_allowed(self, user: User, request: Request) -> bool:
        """Whether the caller may do this with this node."""
        if MASTERS in user.groups:
            return True
        verb, subresources = wanted(request)
        for subresource in subresources:
            if verb and await self._asks(user, verb, subresource):
                return True
        return False

    async def _review(self, token: str) -> User | bool:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}}
        answer = await self._client.create(TOKENREVIEW, {**review, "spec": {"token": token}})
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            return False
        user = status.get("user") or {}
        return User(user.get("username", ""), tuple(user.get("groups") or ()), user.get("uid", ""))

    async def _asks(self, user: User, verb: str, subresource: str) -> bool:
        key = ("may", user, verb, subresource)
        known = self._recall(key)
        if known is None:
            where = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource}
            spec: Object = {"user": user.name, "groups": list(user.groups)}
            spec["resourceAttributes"] = {**where, "name": self._node}
            if user.uid:
                spec["uid"] = user.uid
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}}
            answer = await self._client.create(SUBJECTACCESSREVIEW, {**review, "spec": spec})
            status = answer.get("status") or {}
            known = bool(status.get("allowed")) and not status.get("denied")
            self._keep(key, known, ALLOWED_SECONDS if known else REFUSED_SECONDS)
        return bool(known)

    def _recall(self, key: tuple[Any, ...]) -> Any:
        until, value = self._kept.get(key, (0.0, None))
        return value if until > self._clock.monotonic() else None

    def _keep(self, key: tuple[Any, ...], value: Any, seconds: float) -> None:
        self._kept[key] = (self._clock.monotonic() + seconds, value)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
