"""Every built-in kind, its hooks bound: what the server serves before any CustomResourceDefinition.

A kind's module declares one Kind and defines the hooks it needs as functions of their names.
"""

import dataclasses
from functools import cache
from types import ModuleType

from sampan.kinds.admissionregistration import (
    mutating_admission_policy,
    mutating_admission_policy_binding,
    mutating_webhook_configuration,
    validating_admission_policy,
    validating_admission_policy_binding,
    validating_webhook_configuration,
)
from sampan.kinds.apiextensions import custom_resource_definition
from sampan.kinds.apiregistration import api_service
from sampan.kinds.apps import controller_revision, daemon_set, deployment, replica_set, stateful_set
from sampan.kinds.authentication import self_subject_review, token_request, token_review
from sampan.kinds.authorization import (
    local_subject_access_review,
    self_subject_access_review,
    self_subject_rules_review,
    subject_access_review,
)
from sampan.kinds.autoscaling import horizontal_pod_autoscaler, horizontal_pod_autoscaler_v1, scale
from sampan.kinds.batch import cron_job, job
from sampan.kinds.certificates import certificate_signing_request
from sampan.kinds.coordination import lease
from sampan.kinds.core import (
    binding,
    component_status,
    config_map,
    endpoints,
    event,
    limit_range,
    namespace,
    node,
    persistent_volume,
    persistent_volume_claim,
    pod,
    pod_template,
    replication_controller,
    resource_quota,
    secret,
    service,
    service_account,
)
from sampan.kinds.discovery import endpoint_slice
from sampan.kinds.events import event as events_event
from sampan.kinds.feature_gates import Gates
from sampan.kinds.flowcontrol import flow_schema, priority_level_configuration
from sampan.kinds.kind import Hooks, Kind
from sampan.kinds.networking import ingress, ingress_class, ip_address, network_policy, service_cidr
from sampan.kinds.node import runtime_class
from sampan.kinds.parts import finalizer_rules
from sampan.kinds.policy import eviction, pod_disruption_budget
from sampan.kinds.rbac import cluster_role, cluster_role_binding, role, role_binding
from sampan.kinds.resource import device_class, resource_claim, resource_claim_template, resource_slice
from sampan.kinds.scheduling import priority_class
from sampan.kinds.storage import (
    csi_driver,
    csi_node,
    csi_storage_capacity,
    storage_class,
    volume_attachment,
    volume_attributes_class,
)

_MODULES = (
    config_map,
    event,
    namespace,
    node,
    pod,
    secret,
    service_account,
    service,
    custom_resource_definition,
    controller_revision,
    deployment,
    replica_set,
    self_subject_review,
    token_review,
    local_subject_access_review,
    self_subject_access_review,
    self_subject_rules_review,
    subject_access_review,
    job,
    lease,
    endpoint_slice,
    cluster_role_binding,
    cluster_role,
    role_binding,
    role,
    mutating_admission_policy,
    mutating_admission_policy_binding,
    mutating_webhook_configuration,
    validating_admission_policy,
    validating_admission_policy_binding,
    validating_webhook_configuration,
    stateful_set,
    daemon_set,
    cron_job,
    replication_controller,
    pod_template,
    limit_range,
    resource_quota,
    endpoints,
    component_status,
    binding,
    events_event,
    horizontal_pod_autoscaler,
    horizontal_pod_autoscaler_v1,
    pod_disruption_budget,
    ingress,
    ingress_class,
    network_policy,
    service_cidr,
    ip_address,
    flow_schema,
    priority_level_configuration,
    certificate_signing_request,
    persistent_volume,
    persistent_volume_claim,
    storage_class,
    csi_driver,
    csi_node,
    csi_storage_capacity,
    volume_attachment,
    volume_attributes_class,
    device_class,
    resource_claim,
    resource_claim_template,
    resource_slice,
    runtime_class,
    priority_class,
    api_service,
)
_BODY_MODULES = (binding, eviction, scale, token_request)
_HOOK_NAMES = tuple(f.name for f in dataclasses.fields(Hooks))


def bind(module: ModuleType, gates: Gates = frozenset()) -> Kind:
    """The one Kind a module declares, with the hooks that the module defines, and those for what gates are open."""
    hooks = {name: getattr(module, name) for name in _HOOK_NAMES if hasattr(module, name)}
    (kind,) = {id(v): v for v in vars(module).values() if isinstance(v, Kind)}.values()
    for gate, others in getattr(module, "GATED", {}).items():
        hooks |= others if gate in gates else {}
    bound = Hooks(**hooks)
    if kind.plural and not kind.not_stored and not kind.bare_finalizers:
        bound = dataclasses.replace(bound, validate=finalizer_rules.judged(bound.validate))
    return dataclasses.replace(kind, hooks=bound)


KINDS: tuple[Kind, ...] = tuple(bind(module) for module in _MODULES)
"""Where no feature gate is open."""
BODIES: tuple[Kind, ...] = tuple(bind(module) for module in _BODY_MODULES)


@cache
def kinds(gates: Gates) -> tuple[Kind, ...]:
    """KINDS where these gates are open."""
    if not gates:
        return KINDS
    pairs = zip(_MODULES, KINDS, strict=True)
    return tuple(bind(module, gates) if hasattr(module, "GATED") else kind for module, kind in pairs)


@cache
def _by_resource() -> dict[tuple[str, str], Kind]:
    return {(kind.group, kind.plural): kind for kind in KINDS if not kind.storage_version}


@cache
def _bodies() -> dict[tuple[str, str], Kind]:
    return {(kind.group, kind.name): kind for kind in BODIES}


def by_resource(group: str, plural: str) -> Kind | None:
    """The kind that serves a resource, such as ("apps", "deployments"); None when there is none."""
    return _by_resource().get((group, plural))


def body(group: str, name: str) -> Kind | None:
    """The type of a subresource's body, such as ("autoscaling", "Scale"); None when it is not one of its own."""
    return _bodies().get((group, name))


@cache
def _types() -> frozenset[tuple[str, str]]:
    return frozenset((kind.api_version, kind.name) for kind in (*KINDS, *BODIES))


def is_type(api_version: str, name: str) -> bool:
    """Whether objects of this apiVersion and kind are known, wherever they are served."""
    return (api_version, name) in _types()
