"""What a pod asks of the network, by its spec and annotations (pure).

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/#support-traffic-shaping
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects, quantity

INGRESS = "kubernetes.io/ingress-bandwidth"
EGRESS = "kubernetes.io/egress-bandwidth"
ADDRESSES = "cni.sampan.dev/ips"
"""For plugins with the capability `ips`: addresses with the length of their prefix, with commas."""
_LEAST, _MOST = 10**3, 10**15

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to one of the pod. `address` is "" where any of the node's own will do."""

    protocol: str
    number: int
    pod_port: int
    address: str = ""


@dataclass(frozen=True, slots=True)
class PodRequest:
    """Whose request it is, its ports of the node, and the bits a second that it may get and send; 0 is no limit.

    `netns` is the file of a namespace that is the pod's already, if there is one; `ips` are addresses that it wishes
    for, which only plugins can grant.
    """

    namespace: str = ""
    name: str = ""
    netns: str = ""
    host_ports: tuple[HostPort, ...] = ()
    ingress_bits: int = 0
    egress_bits: int = 0
    ips: tuple[str, ...] = ()


NOTHING = PodRequest()


def of(pod: Object, netns: str = "") -> PodRequest:
    """ValueError when an annotation can't be granted."""
    annotations = objects.annotations(pod)
    try:
        ingress, egress = (_rate(annotations.get(name)) for name in (INGRESS, EGRESS))
    except ValueError as error:
        raise ValueError(f"reading pod bandwidth annotations: {error}") from error
    ports = tuple(dict.fromkeys(_host_ports(pod)))
    ips = tuple(text.strip() for text in annotations.get(ADDRESSES, "").split(",") if text.strip())
    return PodRequest(objects.namespace(pod), objects.name(pod), netns, ports, ingress, egress, ips)


def _rate(text: str | None) -> int:
    if text is None:
        return 0
    bits = quantity.parse(text).to_int
    if bits < _LEAST:
        raise ValueError("resource is unreasonably small (< 1kbit)")
    if bits > _MOST:
        raise ValueError("resource is unreasonably large (> 1Pbit)")
    return bits


def _host_ports(pod: Object) -> Iterator[HostPort]:
    spec = pod["spec"]
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*sidecars, *spec["containers"]):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                protocol = (port.get("protocol") or "TCP").lower()
                yield HostPort(protocol, port["hostPort"], port["containerPort"], port.get("hostIP") or "")
