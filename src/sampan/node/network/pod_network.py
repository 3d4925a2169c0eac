"""PodNetwork: gives each pod its own network namespace and address, and takes them back.

The shell around leases, links, sysctls and firewall. Everything it makes has a name that follows from
the settings and the pod's uid, so that an agent that was killed finds all of it again, and
`teardown` leaves the host as it was.
"""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from sampan.node.network import firewall, links, namespaces, nft, sysctls
from sampan.node.network.leases import Leases
from sampan.node.network.loopback import connected
from sampan.node.network.settings import NetworkSettings
from sampan.node.network.threads import run_in_fresh_thread

_FORWARDING = "net.ipv4.ip_forward"


@dataclass(frozen=True, slots=True)
class PodAttachment:
    """A pod's place in the network: the path of its namespace file, and its IPv4 address."""

    netns_path: str
    ip: str


class PodNetwork:
    """The pods' network of one node. Call `setup` first; all calls may run side by side."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.settings = settings
        self._leases = Leases(settings.state_dir / "leases.json", settings.network)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def setup(self) -> None:
        """Bridge, gateway address, routes, forwarding and rules are there. Repeating is harmless."""
        settings = self.settings
        settings.namespaces_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        sysctls.claim(settings.run_dir, _FORWARDING, "1", settings.owner)
        await run_in_fresh_thread(lambda: links.ensure_gateway(settings))
        await nft.apply(firewall.table(settings))
        await self._close_foreign_chains()
        chains = firewall.dropping_chains(await nft.query("list", "chains"))
        if chains:
            await nft.apply(firewall.openings(settings, chains))

    async def add(self, pod_uid: str, namespace: str = "") -> PodAttachment:
        """A namespace with address for the pod; the same one again if it has one.

        With the path of a namespace that is the pod's already, that one gets the address.
        Raises NoAddressLeft, or OSError after having cleaned up.
        """
        async with self._lock(pod_uid):
            present = self._attachment(pod_uid)
            if present is not None:
                return present
            address = self._leases.take(pod_uid)
            try:
                await run_in_fresh_thread(lambda: self._plug_in(pod_uid, address, namespace))
            except BaseException:
                await self._detach(pod_uid)
                raise
            return PodAttachment(str(self.settings.namespace_path(pod_uid)), address)

    async def remove(self, pod_uid: str) -> None:
        """Take the pod's cable, namespace and address away. Repeating is harmless."""
        async with self._lock(pod_uid):
            await self._detach(pod_uid)

    async def connect(self, pod_uid: str, port: int) -> socket.socket:
        """A connection to a port of the pod, from within: also to what listens on its loopback only. OSError."""
        path = self.settings.namespace_path(pod_uid)
        return await run_in_fresh_thread(lambda: _connected(path, port))

    async def attachments(self) -> dict[str, PodAttachment]:
        """What is in place now, by pod uid: read from the host, so also true after a restart."""
        found = {uid: self._attachment(uid) for uid in self._leases.items()}
        return {uid: attachment for uid, attachment in found.items() if attachment is not None}

    async def teardown(self) -> None:
        """Take away everything: cables, namespaces, bridge, routes, rules, settings, records."""
        settings = self.settings
        await run_in_fresh_thread(lambda: links.remove_all(settings))
        for uid in self._known_uids():
            namespaces.remove(settings.namespace_path(uid))
            self._leases.give_back(uid)
        with contextlib.suppress(nft.NftError):
            await self._close_foreign_chains()
        await nft.delete_table(settings.table)
        await nft.delete_table(settings.services_table)
        sysctls.release(settings.run_dir, _FORWARDING, settings.owner)
        (settings.state_dir / "leases.json").unlink(missing_ok=True)
        for folder in (settings.namespaces_dir, settings.state_dir):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _attachment(self, pod_uid: str) -> PodAttachment | None:
        """The pod's attachment if it is complete: the file is bound when all the rest is done."""
        address, path = self._leases.get(pod_uid), self.settings.namespace_path(pod_uid)
        if address is None or not namespaces.is_bound(path):
            return None
        return PodAttachment(str(path), address)

    def _plug_in(self, pod_uid: str, address: str, namespace: str) -> None:
        links.unplug(self.settings, pod_uid, address)  # what an agent killed half-way left
        links.plug_in(self.settings, pod_uid, address, namespace)

    async def _detach(self, pod_uid: str) -> None:
        """The address is freed last: nobody gets it while the old cable is still in."""
        address = self._leases.get(pod_uid)
        if address is None:
            namespaces.remove(self.settings.namespace_path(pod_uid))
            return
        await run_in_fresh_thread(lambda: links.unplug(self.settings, pod_uid, address))
        self._leases.give_back(pod_uid)

    def _lock(self, pod_uid: str) -> asyncio.Lock:
        return self._locks.setdefault(pod_uid, asyncio.Lock())

    def _known_uids(self) -> set[str]:
        folder = self.settings.namespaces_dir
        files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return files | set(self._leases.items())

    async def _close_foreign_chains(self) -> None:
        """Take our rules out of other tables, whether this agent or one before it put them there."""
        closings = firewall.closings(self.settings, await nft.query("list", "ruleset"))
        if closings:
            await nft.apply(closings)


def _connected(namespace: Path, port: int) -> socket.socket:
    """In a thread of its own, which moves into the namespace."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.move_to(descriptor)
    finally:
        os.close(descriptor)
    return connected(port)
