"""Health: what a load balancer is told that asks a node whether to send a service's packets there (pure).

https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from sampan.node.network.services import endpoints
from sampan.node.network.services.endpoints import Object
from sampan.node.network.services.here import Here


class Check(NamedTuple):
    """A service that is asked about at a port of its own, and how many endpoints of it are here."""

    port: int
    namespace: str
    name: str
    endpoints: int


def check(service: Object, slices: Iterable[Object], here: Here) -> Check | None:
    """The service's check; none if it makes no difference which node gets its packets."""
    spec, metadata = service["spec"], service["metadata"]
    port = spec.get("healthCheckNodePort")
    if not port or spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
        return None
    return Check(port, metadata["namespace"], metadata["name"], endpoints.ready_here(slices, here))


def answer(check: Check, *, is_healthy: bool) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    body = {
        "service": {"namespace": check.namespace, "name": check.name},
        "localEndpoints": check.endpoints,
        "serviceProxyHealthy": is_healthy,
    }
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(check.endpoints),
    }
    return 200 if check.endpoints and is_healthy else 503, headers, json.dumps(body, indent="\t").encode()
