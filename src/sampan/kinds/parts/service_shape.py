"""What a Service's type asks for: an address, node ports, a health check port, a policy for outside traffic."""

from collections.abc import Mapping
from typing import Any

Spec = Mapping[str, Any]

HEADLESS = "None"
EXTERNAL_NAME = "ExternalName"
LOAD_BALANCER = "LoadBalancer"


def needs_cluster_ip(spec: Spec) -> bool:
    """All but external names have one, if only "None"."""
    return spec.get("type") != EXTERNAL_NAME


def needs_node_ports(spec: Spec) -> bool:
    """NodePort and LoadBalancer services have them."""
    return spec.get("type") in {"NodePort", LOAD_BALANCER}


def allocates_node_ports(spec: Spec) -> bool:
    """Whether ports without a node port get one."""
    if spec.get("type") == LOAD_BALANCER:
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def needs_health_check(spec: Spec) -> bool:
    """Load balancers that only use nodes with endpoints ask each node for them."""
    return spec.get("type") == LOAD_BALANCER and spec.get("externalTrafficPolicy") == "Local"


def is_externally_accessible(spec: Spec) -> bool:
    """Whether traffic from outside comes in at nodes."""
    return needs_node_ports(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def is_headless(spec: Spec) -> bool:
    """Whether it has no address of its own."""
    return list(spec.get("clusterIPs") or ()) == [HEADLESS]


def cluster_ips(spec: Spec) -> list[str]:
    """Its real addresses: none for headless services and external names."""
    if not needs_cluster_ip(spec):
        return []
    listed = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [address for address in listed if address not in ("", HEADLESS)]


def node_ports(spec: Spec) -> list[int]:
    """Every node port that it has, the one for health checks too."""
    ports = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    return [*ports, spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else ports
