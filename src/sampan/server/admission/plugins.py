"""The admission plugins in the reference server's order: first those that may change an object, then the judges.

All that it enables by default, but for those that its own alpha features keep still: PodGroupProtection and
PodGroupWorkloadExists (GenericWorkload), JobValidation (WorkloadWithJob), and ClusterTrustBundleAttest, whose kind
is not served.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#which-plugins-are-enabled-by-default
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.kit.ids import Ids
from sampan.server.admission import (
    claim_resize,
    declared_features,
    default_ingress_class,
    default_storage_class,
    device_admin_access,
    limit_ranger,
    moments,
    namespace_lifecycle,
    node_restriction,
    node_taint,
    pod_resize,
    pod_security,
    pod_tolerations,
    pod_topology,
    priority,
    quota_limits,
    runtime_class,
    service_account,
    storage_in_use,
    terminating_definition,
)
from sampan.server.admission.admission_metrics import AdmissionMetrics
from sampan.server.admission.certificate_requests import CertificateRequests
from sampan.server.admission.chain import Plugin
from sampan.server.admission.claim_status import ClaimStatus
from sampan.server.admission.mutating_policies import MutatingPolicies
from sampan.server.admission.mutating_webhooks import MutatingWebhooks
from sampan.server.admission.pod_security import PodSecurity
from sampan.server.admission.policy_permissions import PolicyPermissions
from sampan.server.admission.rbac_escalation import RbacEscalation
from sampan.server.admission.resource_quota import ResourceQuotas
from sampan.server.admission.service_addresses import ServiceAddresses
from sampan.server.admission.validating_policies import ValidatingPolicies
from sampan.server.admission.validating_webhooks import ValidatingWebhooks
from sampan.server.admission.webhooks import Hooks
from sampan.server.authz.authorizer import Authorizer
from sampan.server.config import Admission
from sampan.server.outbound import Outbound
from sampan.server.review_call import ReviewCall
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
    ids: Ids
    metrics: AdmissionMetrics
    outbound: Outbound | None = None
    config: Admission = field(default_factory=Admission)


def plugins(tools: Tools) -> tuple[Plugin, ...]:
    """In the order in which they run, within each phase."""
    hooks = Hooks(tools.served, tools.versions, tools.authorizer, ReviewCall(tools.outbound), tools.ids, tools.metrics)
    return (
        namespace_lifecycle,
        limit_ranger,
        service_account,
        node_restriction,
        node_taint,
        priority,
        pod_tolerations,
        default_storage_class,
        storage_in_use,
        claim_resize,
        runtime_class,
        device_admin_access,
        ClaimStatus(tools.authorizer),
        moments,
        RbacEscalation(tools.authorizer),
        default_ingress_class,
        pod_topology,
        declared_features,
        pod_resize,
        MutatingPolicies(tools.served, tools.versions, tools.authorizer),
        MutatingWebhooks(hooks),
        CertificateRequests(tools.authorizer),  # after the webhooks, which must not say who asks
        ServiceAddresses(tools.service_cidr, tools.ids, tools.now),  # for what the Service is in the end
        PodSecurity(pod_security.settings(tools.config.of("PodSecurity"))),
        PolicyPermissions(tools.served, tools.authorizer),
        ValidatingPolicies(tools.served, tools.versions, tools.authorizer, tools.metrics),
        ValidatingWebhooks(hooks),
        terminating_definition,
        ResourceQuotas(tools.now, quota_limits.limits(tools.config.of("ResourceQuota"))),
    )
