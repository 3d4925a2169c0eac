"""Envoy parts: what many of Envoy's resources are made of."""

from typing import Any

Tree = dict[str, Any]

TYPE = "type.googleapis.com/"

BUFFER_BYTES = 256 << 10
"""So much of a request or an answer may lie in Envoy on each of its two sides; the rest stays with who sends it."""
HTTP2 = {
    "initial_stream_window_size": BUFFER_BYTES,
    "initial_connection_window_size": 4 * BUFFER_BYTES,
    "max_concurrent_streams": 1000,
}
"""How HTTP/2 is taken from clients: by itself Envoy lets each stream send 16 MiB that nobody reads."""


def typed(kind: str, /, **fields: Any) -> Tree:
    """A message with the name of its type."""
    return {"@type": f"{TYPE}{kind}", **fields}


def at(host: str, port: int) -> Tree:
    """An address of the network."""
    return {"socket_address": {"address": host, "port_value": port}}


def pipe(path: str) -> Tree:
    """A unix socket, in Envoy's folder."""
    return {"pipe": {"path": path, "mode": 0o600}}


def assignment(name: str, *groups: list[Tree]) -> Tree:
    """A cluster's endpoints: a later group is for when no earlier one has any, or one that refused a connection."""
    listed = [
        {"priority": priority, "lb_endpoints": [{"endpoint": {"address": address}} for address in group]}
        for priority, group in enumerate(groups)
        if group or len(groups) > 1
    ]
    return typed("envoy.config.endpoint.v3.ClusterLoadAssignment", cluster_name=name, endpoints=listed)
