"""Our own address, as nodes and the API server see it."""

import ipaddress
import socket

from sampan.kinds.core.node import NODE
from sampan.platform.layer import Around

OUTSIDE = "192.0.2.1"
"""An address that is nobody's."""


async def find(around: Around) -> str:
    """Our side of the way to what we were told, which may be our own; or of the way to a node, or out of this machine.

    A loopback address only where there is no other: it can't be an endpoint.
    """
    if not ipaddress.ip_address(around.address).is_loopback:
        return towards(around.address) or around.address
    for node in (await around.client.list(NODE)).items:
        for entry in (node.get("status") or {}).get("addresses") or ():
            found = towards(entry.get("address") or "") if entry.get("type") == "InternalIP" else ""
            if found and not ipaddress.ip_address(found).is_loopback:
                return found
    return towards(OUTSIDE) or around.address


def towards(address: str) -> str:
    """Our address on the way there; "" where there is no way. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
