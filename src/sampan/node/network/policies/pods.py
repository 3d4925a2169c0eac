"""What policies see of a pod: its labels, the addresses that are its own, and what it calls its ports."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects

Object = Mapping[str, Any]
Key = tuple[str, str]

_ENDED = frozenset(("Succeeded", "Failed"))


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod with a network of its own. `ports` are (protocol, name, number); the later `rank` keeps an address that two claim.

    What `is_of_node` stands for something that answers at the node's address: only its ports are its own.
    """

    key: Key
    rank: tuple[str, str]
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...] = ()
    is_here: bool = False
    is_of_node: bool = False

    def of_family(self, family: int) -> list[str]:
        """Its addresses of one family (4 or 6)."""
        return [address for address in self.addresses if (":" in address) == (family == 6)]


def seen(pod: Object, node: str, addresses: Sequence[str] | None = None) -> Seen | None:
    """None if it is in the node's own network, has ended, or has no address.

    `addresses` are those that it is known to have, whatever its status says.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in _ENDED:
        return None
    own = _of_status(status) if addresses is None else _plain(addresses)
    if not own:
        return None
    rank = (objects.metadata(pod).get("creationTimestamp") or "", objects.uid(pod))
    return Seen(
        objects.key(pod), rank, objects.labels(pod), own, tuple(_ports(spec)), is_here=spec.get("nodeName") == node
    )


def _of_status(status: Object) -> tuple[str, ...]:
    listed = [item.get("ip") or "" for item in status.get("podIPs") or ()]
    return _plain(listed or [status.get("podIP") or ""])


def _plain(addresses: Iterable[str]) -> tuple[str, ...]:
    """Each in its one form; what is no address is left out."""
    found = []
    for address in addresses:
        try:
            found.append(str(ipaddress.ip_address(address)))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _ports(spec: Object) -> list[tuple[str, str, int]]:
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    found = dict.fromkeys(
        (port.get("protocol") or "TCP", port["name"], port["containerPort"])
        for container in [*(spec.get("containers") or ()), *sidecars]
        for port in container.get("ports") or ()
        if port.get("name")
    )
    return list(found)
