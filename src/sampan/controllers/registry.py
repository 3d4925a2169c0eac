"""Registry: every built-in controller."""

from sampan.control.controller import Controller
from sampan.control.everywhere import Everywhere
from sampan.controllers import (
    attributes_class_protection,
    claim_protection,
    cluster_role_aggregation,
    cron_job,
    csr_approving,
    csr_cleaner,
    csr_signing,
    deployment,
    disruption,
    endpoint_slice,
    flow_schema,
    garbage_collector,
    ip_address,
    job,
    legacy_token,
    legacy_token_cleaner,
    namespace,
    node_lifecycle,
    pod_gc,
    replica_set,
    resource_quota,
    root_ca,
    service_account,
    service_cidr,
    stale_disruption,
    taint_eviction,
    token_cleaner,
    validating_admission_policy_status,
    volume_protection,
)

CONTROLLERS: tuple[Controller | Everywhere, ...] = (
    attributes_class_protection.CONTROLLER,
    claim_protection.CONTROLLER,
    cluster_role_aggregation.CONTROLLER,
    cron_job.CONTROLLER,
    csr_approving.CONTROLLER,
    csr_cleaner.CONTROLLER,
    csr_signing.CONTROLLER,
    deployment.CONTROLLER,
    disruption.CONTROLLER,
    endpoint_slice.CONTROLLER,
    flow_schema.CONTROLLER,
    garbage_collector.CONTROLLER,
    ip_address.CONTROLLER,
    job.CONTROLLER,
    legacy_token_cleaner.CONTROLLER,
    namespace.CONTROLLER,
    node_lifecycle.CONTROLLER,
    pod_gc.CONTROLLER,
    replica_set.CONTROLLER,
    resource_quota.CONTROLLER,
    service_account.CONTROLLER,
    service_cidr.CONTROLLER,
    stale_disruption.CONTROLLER,
    taint_eviction.CONTROLLER,
    token_cleaner.CONTROLLER,
    validating_admission_policy_status.CONTROLLER,
    volume_protection.CONTROLLER,
)


def controllers(ca: str, sign: legacy_token.Sign | None = None) -> tuple[Controller | Everywhere, ...]:
    """All of them, with the publisher of this authority (PEM), and the maker of legacy tokens where they can be signed."""
    legacy = () if sign is None else (legacy_token.controller(ca, sign),)
    return (*CONTROLLERS, root_ca.controller(ca), *legacy)
