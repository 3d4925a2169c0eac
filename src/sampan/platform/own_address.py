"""Our own address, as nodes and the API server see it."""

import ipaddress
import socket

from sampan.kinds.core.node import NODE
from sampan.platform.layer import Around


async def find(around: Around) -> str:
    """Our side of the way to what we were told, which may be our own; or of the way to a node."""
    if not ipaddress.ip_address(around.address).is_loopback:
        return towards(around.address) or around.address
    for node in (await around.client.list(NODE)).items:
        for entry in (node.get("status") or {}).get("addresses") or ():
            if entry.get("type") == "InternalIP" and (found := towards(entry["address"])):
                return found
    return around.address


def towards(address: str) -> str:
    """Our address on the way there; "" where there is no way. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
