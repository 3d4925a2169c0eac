"""Node ports on the host, where nodes have network namespaces of their own: the first node has them led to itself.

https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.meta import objects
from sampan.node.network import lan, namespaces
from sampan.node.network.lan import Lan
from sampan.node.network.threads import run_in_fresh_thread

Object = Mapping[str, Any]
Ports = frozenset[tuple[str, int]]

_TYPES = ("NodePort", "LoadBalancer")


class LanPorts:
    """A follower of Services; `host` is a descriptor of the host's namespace."""

    kinds = (SERVICE,)

    def __init__(self, place: Lan, host: int) -> None:
        self._place, self._host = place, host
        self._by_service: dict[tuple[str, str], Ports] = {}
        self._told: Ports | None = None
        self._lock = asyncio.Lock()

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Remembers what ports the Service has now."""
        known = new or old or {}
        found = ports(new) if new is not None else frozenset()
        if found:
            self._by_service[objects.key(known)] = found
        else:
            self._by_service.pop(objects.key(known), None)

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """Tells the host's kernel of them. OSError."""
        async with self._lock:
            wanted: Ports = frozenset().union(*self._by_service.values())
            if wanted == self._told:
                return
            text = lan.ports(self._place, wanted)
            await run_in_fresh_thread(lambda: self._tell(text))
            self._told = wanted

    async def restore(self) -> None:
        """The host's table is there again, if somebody else has removed it. OSError."""
        async with self._lock:
            text = lan.ports(self._place, self._told or frozenset())
            await run_in_fresh_thread(lambda: self._restore(text))

    def _tell(self, text: str) -> None:
        namespaces.move_to(self._host)
        lan.run(text)

    def _restore(self, text: str) -> None:
        namespaces.move_to(self._host)
        lan.restore(self._place, text)


def ports(service: Object) -> Ports:
    """The Service's node ports, as ("tcp", 30000)."""
    spec = service.get("spec") or {}
    if spec.get("type") not in _TYPES:
        return frozenset()
    return frozenset(
        (p.get("protocol", "TCP").lower(), p["nodePort"]) for p in spec.get("ports") or () if p.get("nodePort")
    )
