"""ServiceProxy: keeps the kernel's service rules equal to what Services and EndpointSlices say.

The shell around services/. A change costs what the services cost that it is about. What the kernel refuses leaves the
old rules as they are; the next attempt replaces the whole table. So does the first: who knows what an earlier agent left.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kit.clock import Clock
from sampan.node.exposition import Exposition
from sampan.node.network import conntrack, forwarding, nft
from sampan.node.network.health_ports import HealthPorts
from sampan.node.network.service_figures import ServiceFigures
from sampan.node.network.services import flows, health, memory
from sampan.node.network.services.elements import Element
from sampan.node.network.services.endpoints import SERVICE_NAME
from sampan.node.network.services.frontends import claims
from sampan.node.network.services.here import Here
from sampan.node.network.services.ledger import Change, Ledger, Owner
from sampan.node.network.settings import NetworkSettings
from sampan.node.network.threads import run_in_fresh_thread

log = logging.getLogger(__name__)

Object = dict[str, Any]

_AT_ONCE = 100
"""So many services are translated before others get a turn."""


class ServiceProxy:
    """One node's. `reserved`: TCP ports at the node's own addresses that no service may claim."""

    kinds = (SERVICE, ENDPOINTSLICE)

    def __init__(self, settings: NetworkSettings, clock: Clock, reserved: Iterable[int] = ()) -> None:
        self._clock = clock
        self._figures = ServiceFigures()
        self._here = Here(settings, reserved=frozenset(reserved))
        self._ledger = Ledger(settings)
        self._health = HealthPorts(self._here)
        self._services: dict[Owner, Object] = {}
        self._slices: dict[Owner, dict[str, Object]] = {}
        self._dirty: dict[Owner, None] = {}
        self._is_known = False
        self._lock = asyncio.Lock()

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Remembers which services this is about."""
        if plural == SERVICE.plural:
            self._service_changed(old, new)
            return
        for item, is_there in ((old, False), (new, True)):
            owner = _service_of(item) if item is not None else None
            if item is None or owner is None:
                continue
            if is_there:
                self._slices.setdefault(owner, {})[item["metadata"]["name"]] = item
            else:
                self._slices.get(owner, {}).pop(item["metadata"]["name"], None)
            self._dirty[owner] = None

    def node_changed(self, node: Object) -> bool:
        """In another zone, others are near."""
        zone = self._here.zone_of(node)
        if zone == self._here.zone:
            return False
        self._here = replace(self._here, zone=zone)
        self._dirty |= dict.fromkeys(self._services)
        return True

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """Brings the kernel up to date. NftError when it refuses."""
        async with self._lock:
            dirty, self._dirty = self._dirty, {}
            for count, owner in enumerate(dirty):
                self._translate(owner)
                if count % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
            await self._program()
            await self._health.settle()

    async def restore(self) -> None:
        """The rules are there again, if somebody else has removed them. NftError."""
        async with self._lock:
            if self._is_known and not nft.has_table(self._here.settings.services_table):
                self._is_known = False
                await self._program()

    def figures(self, found: Exposition) -> None:
        """Adds how writing rules went."""
        self._figures.tell(found)

    async def close(self) -> None:
        """Answers health checks no longer; the rules stay."""
        await self._health.close()

    def _translate(self, owner: Owner) -> None:
        service, slices = self._services.get(owner), self._slices_of(owner)
        try:
            claimed = claims(service, slices, self._here) if service is not None else {}
            check = health.check(service, slices, self._here) if service is not None else None
        except Exception:  # one that makes no sense is not served, and keeps no other from being so
            log.exception("service %s/%s makes no sense", *owner)
            claimed, check = {}, None
        self._ledger.put(owner, claimed)
        self._health.put(owner, check)

    async def _program(self) -> None:
        began, is_whole = self._clock.monotonic(), not self._is_known
        try:
            change = await self._whole() if is_whole else self._ledger.change()
            if change.text:
                self._is_known = False
                await nft.apply(change.text)
        except nft.NftError:
            self._health.is_healthy = False
            self._figures.failed()
            raise
        if change.text:
            self._is_known = self._health.is_healthy = True
            if is_whole:
                forwarding.claim_loopback(self._here.settings)
            self._figures.wrote(self._clock.monotonic() - began, self._clock.now(), is_whole=is_whole)
        self._ledger.took(change)
        stale = flows.stale(change.targets, self._ledger.target, self._here.own)
        if stale is not None:
            try:
                await run_in_fresh_thread(lambda: conntrack.forget(stale))
            except OSError as error:
                log.warning("connections to former endpoints could not be ended: %s", error)

    async def _whole(self) -> Change:
        clients: list[Element] = []
        table = self._here.settings.services_table
        for holder in memory.HOLDERS if nft.has_table(table) else ():
            listing = await nft.query("list", "map", "inet", table, holder)
            if not listing:
                break
            clients += memory.kept(listing)
        return await asyncio.to_thread(self._ledger.whole, clients)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        owner = _key(new or old or {})
        if new is None:
            self._services.pop(owner, None)
        else:
            self._services[owner] = new
        self._dirty[owner] = None

    def _slices_of(self, owner: Owner) -> list[Object]:
        slices = self._slices.get(owner)
        if slices is None:
            return []
        if not slices:
            del self._slices[owner]
        return [slices[name] for name in sorted(slices)]


def _service_of(item: Object) -> Owner | None:
    metadata = item["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return (metadata["namespace"], name) if name else None


def _key(obj: Object) -> Owner:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
