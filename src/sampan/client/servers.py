"""Servers: which API servers a cluster has, and in which order somebody tries them.

They are the endpoints of the Service kubernetes, each with a certificate for the name `kubernetes` (pure).

https://kubernetes.io/docs/concepts/architecture/control-plane-node-communication/
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from sampan.kinds.discovery.endpoint_slice import SERVICE_NAME_LABEL

NAMESPACE, SERVICE = "default", "kubernetes"
LOOPBACK = ("127.0.0.1", "::1")
CERTIFIED = "kubernetes"
"""What the certificate of each is for, however it is called."""
MOST = 16
"""Nobody asks more of them."""

Object = dict[str, Any]


def is_listed_by(slice: Object) -> bool:
    """Whether the EndpointSlice is one of the Service kubernetes as API servers write them, by their names too.

    That is `kubernetes`, or `kubernetes-PORT` for further ports. Others' slices with its label are not believed.
    """
    metadata = slice["metadata"]
    labels = metadata.get("labels") or {}
    names = {SERVICE, *(f"{SERVICE}-{port.get('port')}" for port in slice.get("ports") or ())}
    is_ours = metadata["name"] in names and slice.get("addressType") != "FQDN"
    return is_ours and metadata.get("namespace") == NAMESPACE and labels.get(SERVICE_NAME_LABEL) == SERVICE


def listed(slices: Iterable[Object]) -> tuple[tuple[str, int], ...]:
    """Addresses and ports of those that are ready, in order; of too many, those of the first slices."""
    found = {
        (str(address), int(port["port"])): None
        for slice in sorted(filter(is_listed_by, slices), key=lambda slice: str(slice["metadata"]["name"]))
        for endpoint in slice.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
        for port in slice.get("ports") or ()
        if port.get("port")
    }
    return tuple(sorted(list(found)[:MOST]))


def url(server: str, own_address: str, address: str, port: int) -> str:
    """How one of them is reached by somebody whose way to the one at `own_address` is `server`.

    What has the same address is on the same machine, and listens on loopback too.
    """
    way = urlsplit(server).hostname or ""
    host = way if own_address and address == own_address and way in LOOPBACK else address
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def is_url(text: object) -> bool:
    """Whether it is one that `url` may have made."""
    try:
        found = urlsplit(text if isinstance(text, str) else "")
        return found.scheme == "https" and bool(found.hostname) and bool(found.port)
    except ValueError:
        return False


def order(known: Iterable[str], home: str, who: str) -> tuple[str, ...]:
    """Home first, if there is one; the others as each draws them for itself, so that all are used alike."""

    def place(server: str) -> tuple[bool, bytes]:
        return server != home, hashlib.sha256(f"{who} {server}".encode()).digest()

    return tuple(sorted(set(known), key=place))


def home(server: str, own_address: str, known: Sequence[str]) -> str:
    """The one to come back to: that of one's own machine, or a way to all of them that the user gave; "" for any."""
    return server if own_address or server not in known else ""
