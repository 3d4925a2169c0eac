"""The admission plugins in the reference server's order: first those that may change an object, then the judges.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#which-plugins-are-enabled-by-default
"""

from collections.abc import Callable
from dataclasses import dataclass

from sampan.server.admission import (
    namespace_lifecycle,
    node_restriction,
    pod_priority,
    pod_tolerations,
    service_account,
)
from sampan.server.admission.chain import Plugin
from sampan.server.admission.rbac_escalation import RbacEscalation
from sampan.server.admission.service_addresses import ServiceAddresses
from sampan.server.authz.authorizer import Authorizer
from sampan.server.served import Served
from sampan.server.versions import Versions


@dataclass(frozen=True, slots=True)
class Tools:
    """What plugins may need to be made."""

    authorizer: Authorizer
    served: Served
    versions: Versions
    now: Callable[[], float]
    service_cidr: str


def plugins(tools: Tools) -> tuple[Plugin, ...]:
    """In the order in which they run, within each phase."""
    return (
        namespace_lifecycle,
        service_account,
        node_restriction,
        pod_tolerations,
        pod_priority,
        RbacEscalation(tools.authorizer),
        ServiceAddresses(tools.service_cidr),
    )
