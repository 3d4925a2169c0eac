"""Registry: every built-in controller."""

from dataclasses import dataclass, field

from sampan.control.controller import Controller
from sampan.control.everywhere import Everywhere
from sampan.control.load_balancing import Terms
from sampan.controllers import (
    attributes_class_protection,
    bootstrap_signer,
    claim_expansion,
    claim_protection,
    cluster_role_aggregation,
    cron_job,
    csr_approving,
    csr_cleaner,
    csr_signing,
    daemon_set,
    deployment,
    device_taint_eviction,
    disruption,
    endpoint_slice,
    endpoint_slice_mirroring,
    endpoints,
    ephemeral_volume,
    flow_schema,
    garbage_collector,
    horizontal_pod_autoscaler,
    ip_address,
    job,
    legacy_token,
    legacy_token_cleaner,
    local_provisioner,
    local_reclaimer,
    namespace,
    node_eviction,
    node_ipam,
    node_lifecycle,
    node_serving_approving,
    persistent_volume,
    persistent_volume_claim,
    pod_gc,
    replica_set,
    replication_controller,
    resource_claim,
    resource_claim_release,
    resource_quota,
    root_ca,
    service_account,
    service_cidr,
    service_load_balancer,
    service_node_balancer,
    stale_disruption,
    stateful_set,
    taint_eviction,
    token_cleaner,
    validating_admission_policy_status,
    volume_attachment,
    volume_protection,
)
from sampan.kinds import feature_gates
from sampan.kinds.feature_gates import Gates

CONTROLLERS: tuple[Controller | Everywhere, ...] = (
    attributes_class_protection.CONTROLLER,
    bootstrap_signer.CONTROLLER,
    claim_expansion.CONTROLLER,
    claim_protection.CONTROLLER,
    cluster_role_aggregation.CONTROLLER,
    cron_job.CONTROLLER,
    csr_approving.CONTROLLER,
    csr_cleaner.CONTROLLER,
    csr_signing.CONTROLLER,
    daemon_set.CONTROLLER,
    deployment.CONTROLLER,
    device_taint_eviction.CONTROLLER,
    disruption.CONTROLLER,
    endpoint_slice.CONTROLLER,
    endpoint_slice_mirroring.CONTROLLER,
    endpoints.CONTROLLER,
    ephemeral_volume.CONTROLLER,
    flow_schema.CONTROLLER,
    garbage_collector.CONTROLLER,
    horizontal_pod_autoscaler.CONTROLLER,
    ip_address.CONTROLLER,
    job.CONTROLLER,
    legacy_token_cleaner.CONTROLLER,
    local_provisioner.CONTROLLER,
    local_reclaimer.CONTROLLER,
    namespace.CONTROLLER,
    node_eviction.CONTROLLER,
    node_lifecycle.CONTROLLER,
    node_serving_approving.CONTROLLER,
    persistent_volume.CONTROLLER,
    persistent_volume_claim.CONTROLLER,
    pod_gc.CONTROLLER,
    replica_set.CONTROLLER,
    replication_controller.CONTROLLER,
    resource_claim.CONTROLLER,
    resource_claim_release.CONTROLLER,
    resource_quota.CONTROLLER,
    service_account.CONTROLLER,
    service_cidr.CONTROLLER,
    stale_disruption.CONTROLLER,
    stateful_set.CONTROLLER,
    taint_eviction.CONTROLLER,
    token_cleaner.CONTROLLER,
    validating_admission_policy_status.CONTROLLER,
    volume_attachment.CONTROLLER,
    volume_protection.CONTROLLER,
)


GATED = {
    feature_gates.HPA_SCALE_TO_ZERO: horizontal_pod_autoscaler.TO_ZERO,
    feature_gates.MAX_UNAVAILABLE_STATEFUL_SET: stateful_set.BY_BUDGET,
}
"""Those in place of others of their name where a feature gate is open."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen: whence load balancers get addresses and nodes their pods' networks, how long a node may be silent.

    `serving` says what nodes don't get certificates for.
    """

    balancing: Terms = field(default_factory=Terms)
    pod_pools: tuple[node_ipam.Pool, ...] = ()
    node_grace_seconds: float = node_lifecycle.GRACE_SECONDS
    serving: node_serving_approving.Terms = field(default_factory=node_serving_approving.Terms)


USUAL = Options()


def controllers(
    ca: str, sign: legacy_token.Sign | None = None, gates: Gates = frozenset(), options: Options = USUAL
) -> tuple[Controller | Everywhere, ...]:
    """All of them, with the publisher of this authority (PEM), and the maker of legacy tokens where they can be signed."""
    others = {made.name: made for gate, made in GATED.items() if gate in gates}
    others[node_lifecycle.CONTROLLER.name] = node_lifecycle.controller(options.node_grace_seconds)
    others[node_serving_approving.CONTROLLER.name] = node_serving_approving.controller(options.serving)
    usual = (others.get(usual.name, usual) for usual in CONTROLLERS)
    legacy = () if sign is None else (legacy_token.controller(ca, sign),)
    networks = (node_ipam.controller(options.pod_pools),) if options.pod_pools else ()
    return (*usual, root_ca.controller(ca), _balancer(options.balancing), *networks, *legacy)


def _balancer(terms: Terms) -> Controller:
    if terms.nodes:
        return service_node_balancer.controller(terms.ports)
    return service_load_balancer.controller(terms.pools)
