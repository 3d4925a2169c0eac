"""PodNetwork: gives each pod its own network namespace, addresses and ports of the node, and takes them back.

The shell around leases, links, sysctls, host ports and firewall. Everything it makes has a name that follows from
the settings and the pod's uid, so that an agent that was killed finds all of it again, and
`teardown` leaves the host as it was.
"""

import asyncio
import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sampan.node.network import (
    conntrack,
    firewall,
    forwarding,
    host_ports,
    links,
    loopback,
    namespaces,
    nft,
    overlay_links,
    pod_namespaces,
    shaping,
)
from sampan.node.network.host_ports import HostPorts
from sampan.node.network.leases import Leases
from sampan.node.network.netlink import index_of
from sampan.node.network.pod_request import NOTHING, PodRequest
from sampan.node.network.services.flows import Stale
from sampan.node.network.settings import NetworkSettings
from sampan.node.network.threads import run_in_fresh_thread

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PodAttachment:
    """A pod's place in the network: the path of its namespace file, its address, and that of the other family if any."""

    netns_path: str
    ip: str
    ip6: str = ""

    @property
    def ips(self) -> tuple[str, ...]:
        """All its addresses."""
        return (self.ip, self.ip6) if self.ip6 else (self.ip,)


class PodNetwork:
    """The pods' network of one node. Call `setup` first; all calls may run side by side."""

    makes_pods = True
    """Whether pods are where the gateway is."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.settings = self._wanted = settings
        self._leases = Leases(settings.state_dir / "leases.json", settings.network)
        self._host_ports = HostPorts(settings.state_dir / "host-ports.json")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._rules = asyncio.Lock()
        self._opened = pod_namespaces.NOWHERE

    async def setup(self) -> None:
        """Bridge, gateway address, routes, forwarding and rules are there. Repeating is harmless."""
        former = self._opened
        self.settings, self._opened = await run_in_fresh_thread(lambda: pod_namespaces.prepare(self._wanted))
        _close(former)
        settings = self.settings
        forwarding.claim(settings)
        await run_in_fresh_thread(lambda: links.ensure_gateway(settings, has_pods=self.makes_pods))
        async with self._rules:
            await self._write_rules()

    async def restore(self) -> None:
        """The rules are there again, if somebody else has removed them. NftError."""
        async with self._rules:
            if not nft.has_table(self.settings.table):
                log.warning("nft table %s was removed by somebody else; it is made again", self.settings.table)
                await self._write_rules()

    async def add(self, pod_uid: str, request: PodRequest = NOTHING) -> PodAttachment:
        """A namespace with address for the pod, and what it requests; the same one again if it has one.

        Raises NoAddressLeft, or OSError or NftError after having cleaned up.
        """
        async with self._lock(pod_uid):
            present = self._attachment(pod_uid)
            if present is not None:
                return present
            address = self._leases.take(pod_uid)
            try:
                await self._open(pod_uid, address, request)
                await run_in_fresh_thread(lambda: self._plug_in(pod_uid, address, request))
                if request.egress_bits:
                    await nft.apply(shaping.diversion(self.settings, address))
            except BaseException:
                await self._detach(pod_uid)
                raise
            return self._made(pod_uid, address)

    async def remove(self, pod_uid: str) -> None:
        """Take the pod's cable, namespace and address away. Repeating is harmless."""
        async with self._lock(pod_uid):
            await self._detach(pod_uid)

    async def connect(self, pod_uid: str, port: int) -> socket.socket:
        """A connection to a port of the pod, from within: also to what listens on its loopback only. OSError."""
        path = self.settings.namespace_path(pod_uid)
        return await loopback.connected(await run_in_fresh_thread(lambda: _sockets(path)), port)

    async def attachments(self) -> dict[str, PodAttachment]:
        """What is in place now, by pod uid: read from the host, so also true after a restart."""
        found = {uid: self._attachment(uid) for uid in self._leases.items()}
        return {uid: attachment for uid, attachment in found.items() if attachment is not None}

    async def teardown(self) -> None:
        """Take away everything: cables, namespaces, bridge, routes, rules, settings, records."""
        settings = self.settings
        await run_in_fresh_thread(lambda: overlay_links.remove_all(settings))
        await run_in_fresh_thread(lambda: links.remove_all(settings))
        await run_in_fresh_thread(lambda: pod_namespaces.clear(settings))
        self._opened = _close(self._opened)
        for uid in list(self._leases.items()):
            self._leases.give_back(uid)
        with contextlib.suppress(nft.NftError):
            await self._close_foreign_chains(await self._foreign_chains())
        for name in (settings.table, settings.services_table, settings.policies_table):
            await nft.delete_table(name)
        forwarding.release(settings)
        self._host_ports.clear()
        (settings.state_dir / "leases.json").unlink(missing_ok=True)
        settings.policies_mark.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            settings.state_dir.rmdir()

    def _attachment(self, pod_uid: str) -> PodAttachment | None:
        """The pod's attachment if it is complete: the file is bound when all the rest is done."""
        address = self._leases.get(pod_uid)
        if address is None or not namespaces.is_bound(self.settings.namespace_path(pod_uid)):
            return None
        return self._made(pod_uid, address)

    def _made(self, pod_uid: str, address: str) -> PodAttachment:
        path = self.settings.namespace_path(pod_uid)
        return PodAttachment(str(path), address, self.settings.address6(address))

    def _plug_in(self, pod_uid: str, address: str, request: PodRequest) -> None:
        links.unplug(self.settings, pod_uid, address)  # what an agent killed half-way left
        links.plug_in(self.settings, pod_uid, address, request)

    async def _open(self, pod_uid: str, address: str, request: PodRequest) -> None:
        """The node's ports that the pod asks for lead to it from now on."""
        if self._host_ports.get(pod_uid) is not None:
            await self._close(pod_uid)
        if request.host_ports:
            wanted = host_ports.elements(self.settings, address, request.host_ports)
            async with self._rules:
                try:
                    await self._change_table(host_ports.addition(self.settings, wanted))
                except (asyncio.CancelledError, nft.NftNoAnswer):  # who knows whether it was done?
                    self._host_ports.keep(pod_uid, address, request.host_ports)
                    raise
                self._host_ports.keep(pod_uid, address, request.host_ports)
            await self._forget(host_ports.stale(self.settings, address, request.host_ports, are_open=True))

    async def _close(self, pod_uid: str) -> None:
        held = self._host_ports.get(pod_uid)
        if held is None:
            return
        gone = host_ports.elements(self.settings, *held)
        async with self._rules:
            await self._change_table(host_ports.addition(self.settings, gone) + host_ports.removal(self.settings, gone))
            self._host_ports.drop(pod_uid)
        await self._forget(host_ports.stale(self.settings, *held, are_open=False))

    async def _forget(self, stale: Stale | None) -> None:
        """Clients that go on sending from one port come to whoever has the node's port now."""
        if stale is not None:
            await run_in_fresh_thread(lambda: conntrack.forget(stale))

    async def _write_rules(self) -> None:
        foreign = await self._foreign_chains()  # first: without an answer there is no table, so `restore` tries again
        await nft.apply(firewall.table(self.settings, self._open_ports() + self._diversions()))
        await self._close_foreign_chains(foreign)
        await self._open_foreign_chains(firewall.dropping_chains(foreign))

    async def _change_table(self, commands: str) -> None:
        """Carries them out, on a table made again if somebody else has removed it."""
        try:
            await nft.apply(commands)
        except nft.NftError:
            if nft.has_table(self.settings.table):
                raise
            await self._write_rules()
            await nft.apply(commands)

    def _open_ports(self) -> str:
        """Commands for what pods of an earlier agent have."""
        found = (host_ports.elements(self.settings, *held) for held in self._host_ports.items().values())
        return "".join(host_ports.addition(self.settings, elements) for elements in found)

    async def _detach(self, pod_uid: str) -> None:
        """The address is freed last: nobody gets it while the old cable is still in."""
        address = self._leases.get(pod_uid)
        if address is None:
            await run_in_fresh_thread(lambda: pod_namespaces.drop(self.settings, pod_uid))
            return
        await self._close(pod_uid)
        if index_of(self.settings.shaper_name(address)) is not None:
            await nft.apply(shaping.end_of_diversion(self.settings, address))
        await run_in_fresh_thread(lambda: links.unplug(self.settings, pod_uid, address))
        self._leases.give_back(pod_uid)

    def _lock(self, pod_uid: str) -> asyncio.Lock:
        return self._locks.setdefault(pod_uid, asyncio.Lock())

    def _diversions(self) -> str:
        """Commands for those whose pace is held, also where an agent was killed before it had come to that."""
        held = (a for a in self._leases.items().values() if index_of(self.settings.shaper_name(a)) is not None)
        return "".join(shaping.diversion(self.settings, address) for address in held)

    async def _foreign_chains(self) -> list[dict[str, Any]]:
        """What nft lists of the chains of others where pods' packets may be stopped."""
        own = (self.settings.table, self.settings.services_table, self.settings.policies_table)
        found = []
        for chain in firewall.base_chains(await nft.query("list", "chains"), own):
            found += await nft.query("list", "chain", *chain)
        return found

    async def _close_foreign_chains(self, listing: list[dict[str, Any]]) -> None:
        """Take our rules out of other tables, whether this agent or one before it put them there."""
        if closings := firewall.closings(self.settings, listing):
            await nft.apply(closings)

    async def _open_foreign_chains(self, chains: list[firewall.Chain]) -> None:
        """Let pods through, as far as those to whom the tables belong allow it."""
        for chain in chains:
            try:
                await nft.apply(firewall.openings(self.settings, [chain]))
            except nft.NftError as error:
                log.warning("%s", firewall.refusal(chain, firewall.pod_ranges(self.settings), str(error)))


def _close(descriptor: int) -> int:
    """What stands for it from now on."""
    if descriptor != pod_namespaces.NOWHERE:
        os.close(descriptor)
    return pod_namespaces.NOWHERE


def _sockets(namespace: Path) -> loopback.Ends:
    """In a thread of its own, which moves into the namespace, where they stay; they are connected without it."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.move_to(descriptor)
    finally:
        os.close(descriptor)
    return loopback.sockets()
