"""CniNetwork: pods' networks as plugins make them, in place of the built-in one.

The pod's namespace is ours, with its loopback; what else is in it is the plugins'. The node's own address, its name
server and services are as ever. Pods that the built-in network has made, before there was configuration, stay as
they are; and those that plugins have made are theirs to take away, also when there is no configuration any more.

https://www.cni.dev/docs/spec/
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
from dataclasses import dataclass, replace
from typing import Any

from sampan.node.network import namespaces
from sampan.node.network.cni import configuration, plugin
from sampan.node.network.cni.configuration import CniError, NetworkList
from sampan.node.network.cni.plugin import INTERFACE, Errand
from sampan.node.network.cni.records import Record, Records
from sampan.node.network.netlink import Netlink
from sampan.node.network.pod_network import PodAttachment, PodNetwork
from sampan.node.network.pod_request import NOTHING, PodRequest
from sampan.node.network.settings import NetworkSettings
from sampan.node.network.threads import run_in_fresh_thread

log = logging.getLogger(__name__)

_LOOPBACK = 1
_BURST_BITS = 2**32 - 1
TAKEN_AWAY_AT_ONCE = 8
TEARDOWN_SECONDS = 30.0
"""So long plugins have to take away what they made for all pods, when the node goes."""

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """Where configuration may be, and where programs; of either the first that has it counts."""

    configurations: tuple[str, ...]
    programs: tuple[str, ...]


class CniNetwork(PodNetwork):
    """As PodNetwork. Raises CniError where a plugin or its configuration is at fault."""

    makes_pods = False

    def __init__(self, settings: NetworkSettings, places: Places) -> None:
        super().__init__(settings)
        self._places = places
        self._records = Records(settings.state_dir / configuration.RECORDS)
        self._looking: asyncio.Future[None] | None = None
        self._checks: dict[str, asyncio.Future[None]] = {}

    async def setup(self) -> None:
        """As ever; and what plugins made before is looked at, which nobody waits for."""
        await super().setup()
        if uids := self._records.uids():
            self._looking = asyncio.ensure_future(self._look(uids))

    async def add(self, pod_uid: str, request: PodRequest = NOTHING) -> PodAttachment:
        """A namespace with what the plugins put there; the same one again if it has one."""
        path = configuration.find(self._places.configurations)
        if self._leases.get(pod_uid) is not None or (path is None and self._records.get(pod_uid) is None):
            return await super().add(pod_uid, request)
        async with self._lock(pod_uid):
            present = self._attachment(pod_uid)
            if present is not None:
                return present
            if path is None:
                raise CniError("there is no configuration any more")
            await self._detach(pod_uid)  # what an agent killed half-way left
            try:
                return await self._make(pod_uid, configuration.load(path), request)
            except Exception as error:  # who is broken off leaves that to `remove`, since it may hang as well
                with contextlib.suppress(CniError):
                    await self._detach(pod_uid)
                if isinstance(error, CniError):
                    raise CniError(f'failed to setup network for sandbox "{pod_uid}": {error}') from error
                raise

    async def attachments(self) -> dict[str, PodAttachment]:
        """What is in place now, by pod uid."""
        made = {uid: self._attachment(uid) for uid in self._records.uids()}
        return await super().attachments() | {uid: each for uid, each in made.items() if each is not None}

    async def teardown(self) -> None:
        """What plugins can't take away any more, or not in time, goes with the namespaces."""
        turns = asyncio.Semaphore(TAKEN_AWAY_AT_ONCE)
        leaving = {asyncio.ensure_future(self._take_away(uid, turns)) for uid in self._records.uids()}
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=TEARDOWN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for uid in self._records.uids():
            log.warning("network of pod %s: its plugins have not taken it away", uid)
            self._records.drop(uid)
        await super().teardown()

    async def _take_away(self, uid: str, turns: asyncio.Semaphore) -> None:
        async with turns:
            try:
                await self._detach(uid)
            except CniError as error:
                log.warning("%s", error)

    async def _make(self, uid: str, network: NetworkList, request: PodRequest) -> PodAttachment:
        path = self.settings.namespace_path(uid)
        errand = Errand(uid, str(path), _arguments(uid, request))
        record = Record(network, errand, capabilities(self.settings, request))
        self._records.keep(uid, record)
        await run_in_fresh_thread(lambda: self._make_namespace(uid, request))
        result: Tree | None = None
        for each in network.plugins:
            told = network.told(each, record.capabilities, result)
            result = await plugin.run("ADD", told, errand, self._places.programs)
        made = replace(record, result=result or {})
        if not _addresses(made):
            raise CniError(f'failed to find network info for sandbox "{uid}"')
        self._records.keep(uid, made)
        return _attached(made)

    def _make_namespace(self, uid: str, request: PodRequest) -> None:
        """In a thread of its own, which ends there."""
        pod = namespaces.enter(request.netns) if request.netns else namespaces.enter_new()
        try:
            with Netlink() as netlink:
                netlink.set_up(_LOOPBACK)
            namespaces.bind(pod, self.settings.namespace_path(uid))
        finally:
            os.close(pod)

    async def _look(self, uids: list[str]) -> None:
        """One pod after the other. None that is just leaving: plugins are asked one thing at a time of a pod."""
        for uid in uids:
            async with self._lock(uid):
                check = self._checks[uid] = asyncio.ensure_future(self._check(uid))
            await asyncio.wait({check})
            del self._checks[uid]
            if not check.cancelled() and (error := check.exception()) is not None:
                log.warning("network of pod %s: %r", uid, error)

    async def _check(self, uid: str) -> None:
        """Says so in the log when a plugin no longer finds what it made."""
        record = self._records.get(uid)
        if record is None or record.result is None or not record.network.has_check:
            return
        for each in record.network.plugins:
            told = record.network.told(each, record.capabilities, record.result)
            try:
                await plugin.run("CHECK", told, record.errand, self._places.programs)
            except CniError as error:
                log.warning("network of pod %s: %s", "/".join(_pod_of(record)), error)

    def _attachment(self, pod_uid: str) -> PodAttachment | None:
        record = self._records.get(pod_uid)
        if record is None:
            return super()._attachment(pod_uid)
        if record.result is None or not namespaces.is_bound(self.settings.namespace_path(pod_uid)):
            return None
        return _attached(record)

    async def _detach(self, pod_uid: str) -> None:
        """The last plugin first; the record goes when all are done."""
        check = self._checks.get(pod_uid)
        if check is not None:
            check.cancel()
            await asyncio.wait({check})
        record = self._records.get(pod_uid)
        if record is None:
            await super()._detach(pod_uid)
            return
        network, errand = record.network, record.errand
        if not namespaces.is_bound(self.settings.namespace_path(pod_uid)):
            errand = replace(
                errand, netns=""
            )  # it is gone, as after a reboot: the rest is to be taken away all the same
        for each in reversed(network.plugins):
            told = network.told(each, record.capabilities, record.result if network.is_told_result else None)
            await plugin.run("DEL", told, errand, self._places.programs)
        namespaces.remove(self.settings.namespace_path(pod_uid))
        self._records.drop(pod_uid)


def capabilities(settings: NetworkSettings, request: PodRequest) -> Tree:
    """What plugins that say so are given: ports of the node, rates, ranges, and addresses that were asked for.

    https://www.cni.dev/docs/conventions/#dynamic-plugin-specific-fields-capabilities--runtime-configuration
    """
    found: Tree = {"ipRanges": [[{"subnet": cidr}] for cidr in (settings.pod_cidr, settings.pod_cidr6) if cidr]}
    if request.host_ports:
        found["portMappings"] = [
            {"hostPort": p.number, "containerPort": p.pod_port, "protocol": p.protocol, "hostIP": p.address}
            for p in request.host_ports
        ]
    rates: Tree = {}
    for name, bits in (("ingress", request.ingress_bits), ("egress", request.egress_bits)):
        rates |= {f"{name}Rate": bits, f"{name}Burst": _BURST_BITS} if bits else {}
    if rates:
        found["bandwidth"] = rates
    if request.ips:
        found["ips"] = list(request.ips)
    return found


def addresses(result: Tree) -> tuple[str, ...]:
    """The pod's, one of each family, IPv4 first: those of its own link, or of none in particular."""
    names = [each.get("name") for each in result.get("interfaces") or ()]
    found: dict[int, str] = {}
    for each in result.get("ips") or ():
        number = each.get("interface")
        if number is None or (0 <= number < len(names) and names[number] == INTERFACE):
            address = ipaddress.ip_interface(each["address"]).ip
            found.setdefault(address.version, str(address))
    return tuple(address for _, address in sorted(found.items()))


def _addresses(made: Record) -> tuple[str, ...]:
    """Raises CniError for a result that is not as the protocol has it."""
    try:
        return addresses(made.result or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CniError(f"the result of network {made.network.name!r} can't be read: {error!r}") from error


def _attached(record: Record) -> PodAttachment:
    return PodAttachment(record.errand.netns, *addresses(record.result or {}))


def _arguments(uid: str, request: PodRequest) -> dict[str, str]:
    return {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": request.namespace,
        "K8S_POD_NAME": request.name,
        "K8S_POD_INFRA_CONTAINER_ID": uid,
        "K8S_POD_UID": uid,
    }


def _pod_of(record: Record) -> tuple[str, str]:
    arguments = record.errand.arguments
    return arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", "")
