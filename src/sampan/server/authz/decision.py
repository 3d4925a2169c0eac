"""Decision: what a request asks for, and the answer, in the words that clients show.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from dataclasses import dataclass

from sampan.server.identity import User


@dataclass(slots=True)  # not frozen, which would make it three times as slow to make
class Attributes:
    """What is asked: a verb on a resource, or on a path when `is_resource` is false. Never changed once it is made.

    `fields` is the field selector of a list or watch, as given.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    is_resource: bool = True
    fields: str = ""

    @property
    def full_resource(self) -> str:
        """The resource as rules name it: pods, pods/log."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` says which rule allowed it, or why nobody did."""

    allowed: bool
    reason: str = ""


DENIED = Decision(allowed=False)


def message(user: User, attributes: Attributes, decision: Decision) -> str:
    """The whole text of a 403, as upstream words it."""
    head = ""
    if attributes.is_resource:
        kind = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
        head = f'{kind} "{attributes.name}" is ' if attributes.name else f"{kind} is "
    text = f"{head}forbidden: {why(user, attributes)}"
    return f"{text}: {decision.reason}" if decision.reason else text


def why(user: User, attributes: Attributes) -> str:
    """What follows "is forbidden: "."""
    if not attributes.is_resource:
        return f'User "{user.name}" cannot {attributes.verb} path "{attributes.path}"'
    asked = f'User "{user.name}" cannot {attributes.verb} resource "{attributes.full_resource}"'
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    return f'{asked} in API group "{attributes.group}" {where}'
