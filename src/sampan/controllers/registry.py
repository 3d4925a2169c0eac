"""Registry: every built-in controller."""

from sampan.control.controller import Controller
from sampan.control.everywhere import Everywhere
from sampan.controllers import (
    cluster_role_aggregation,
    deployment,
    endpoint_slice,
    garbage_collector,
    job,
    namespace,
    node_lifecycle,
    pod_gc,
    replica_set,
    root_ca,
    service_account,
    taint_eviction,
)

CONTROLLERS: tuple[Controller | Everywhere, ...] = (
    cluster_role_aggregation.CONTROLLER,
    deployment.CONTROLLER,
    endpoint_slice.CONTROLLER,
    garbage_collector.CONTROLLER,
    job.CONTROLLER,
    namespace.CONTROLLER,
    node_lifecycle.CONTROLLER,
    pod_gc.CONTROLLER,
    replica_set.CONTROLLER,
    service_account.CONTROLLER,
    taint_eviction.CONTROLLER,
)


def controllers(ca: str) -> tuple[Controller | Everywhere, ...]:
    """All of them, with the publisher of this authority (PEM)."""
    return (*CONTROLLERS, root_ca.controller(ca))
