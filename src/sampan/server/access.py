"""Access: whether a user may do what a request asks, and the refusal when not.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

import dataclasses

from sampan.meta import status
from sampan.server.authz.authorizer import Authorizer
from sampan.server.authz.decision import Attributes, Decision, message
from sampan.server.identity import MASTERS_GROUP, User
from sampan.server.request_info import RequestInfo

_STREAMS = (("", "pods", "exec"), ("", "pods", "attach"), ("", "pods", "portforward"))
_ALLOWED = Decision(allowed=True)


class Access:
    """Asks the authorizer."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Raises ApiError 403."""
        if MASTERS_GROUP in user.groups:
            return _ALLOWED
        decision = self.check(user, attributes_of(info))
        if info.verb == "get" and (info.group, info.resource, info.subresource) in _STREAMS:
            # A GET that becomes a WebSocket does the same as a POST, and reading is not enough for it.
            self.check(user, dataclasses.replace(attributes_of(info), verb="create"))
        return decision

    def authorize_birth(self, user: User, info: RequestInfo) -> None:
        """A change that makes an object which is not there also takes the right to create it. Raises ApiError 403."""
        if MASTERS_GROUP not in user.groups:
            self.check(user, dataclasses.replace(attributes_of(info), verb="create"))

    def check(self, user: User, attributes: Attributes) -> Decision:
        """Raises ApiError 403."""
        decision = self._authorizer.authorize(user, attributes)
        if decision.allowed:
            return decision
        named = (("name", attributes.name), ("group", attributes.group), ("kind", attributes.resource))
        details = {key: value for key, value in named if value and attributes.is_resource}
        raise Refused(status.failure(403, "Forbidden", message(user, attributes, decision), details), decision.reason)


class Refused(status.ApiError):
    """A 403 by authorization; `why` is what the authorizer said."""

    def __init__(self, error: status.ApiError, why: str) -> None:
        super().__init__(error.status)
        self.why = why


def attributes_of(info: RequestInfo) -> Attributes:
    """What a request asks, as the authorizer takes it."""
    if not info.is_resource:
        return Attributes(verb=info.verb, path=info.path, is_resource=False)
    return Attributes(
        verb=info.verb,
        group=info.group,
        resource=info.resource,
        subresource=info.subresource,
        namespace=info.namespace,
        name=info.name,
        fields=info.fields,
    )
