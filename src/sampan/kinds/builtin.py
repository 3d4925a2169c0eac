"""Every built-in kind, its hooks bound: what the server serves before any CustomResourceDefinition.

A kind's module declares one Kind and defines the hooks it needs as functions of their names.
"""

import dataclasses
from functools import cache
from types import ModuleType

from sampan.kinds.apps import controller_revision, deployment, replica_set
from sampan.kinds.authentication import self_subject_review, token_request, token_review
from sampan.kinds.authorization import (
    local_subject_access_review,
    self_subject_access_review,
    self_subject_rules_review,
    subject_access_review,
)
from sampan.kinds.autoscaling import scale
from sampan.kinds.batch import job
from sampan.kinds.coordination import lease
from sampan.kinds.core import (
    binding,
    config_map,
    event,
    namespace,
    node,
    pod,
    secret,
    service,
    service_account,
)
from sampan.kinds.discovery import endpoint_slice
from sampan.kinds.kind import Hooks, Kind
from sampan.kinds.policy import eviction
from sampan.kinds.rbac import cluster_role, cluster_role_binding, role, role_binding

_MODULES = (
    config_map,
    event,
    namespace,
    node,
    pod,
    secret,
    service_account,
    service,
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
)
_BODY_MODULES = (binding, eviction, scale, token_request)
_HOOK_NAMES = tuple(f.name for f in dataclasses.fields(Hooks))


def bind(module: ModuleType) -> Kind:
    """The one Kind a module declares, with the hooks that the module defines."""
    (kind,) = {id(v): v for v in vars(module).values() if isinstance(v, Kind)}.values()
    hooks = {name: getattr(module, name) for name in _HOOK_NAMES if hasattr(module, name)}
    return dataclasses.replace(kind, hooks=Hooks(**hooks))


KINDS: tuple[Kind, ...] = tuple(bind(module) for module in _MODULES)
BODIES: tuple[Kind, ...] = tuple(bind(module) for module in _BODY_MODULES)


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
