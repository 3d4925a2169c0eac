"""Nobody grants what they do not have: roles and bindings are checked against their writer's own rights.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup
from sampan.server.authz import escalation
from sampan.server.authz.authorizer import Authorizer

GROUP = "rbac.authorization.k8s.io"


class RbacEscalation:
    """Asks the authorizer for the writer's own rights."""

    CONCERNS = Concern(operations=(CREATE, UPDATE), groups=(GROUP,))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 403 with the rights that are missing."""
        if attributes.obj is not None:
            escalation.check(self._authorizer, attributes.call.user, attributes.kind, attributes.obj, attributes.old)
