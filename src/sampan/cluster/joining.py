"""Joining: this machine becomes a node of another machine's cluster, and stays one until it leaves.

In order: the authority is found and checked; a client certificate is asked for with the token, everything else as the
node itself. What is there already of an attempt that was broken off is used again. Afterwards the machine has a
directory like a cluster's, with `joined_to` in its settings, so that status, logs, down and image are as usual.

A node whose certificate has ended joins again. From its new certificate on, until all is done, a file notes that: the
settings and keys beside it are in part those of the former node.
"""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.cluster import addresses, discovery, expiry, host, key_files, reaching, settings
from sampan.cluster.discovery import AGAIN, Invitation, JoinError
from sampan.cluster.settings import Settings
from sampan.cluster.tokens import FACTS, FACTS_NAMESPACE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.node import NODE
from sampan.kit import files
from sampan.kit.clock import Clock
from sampan.meta import names
from sampan.meta.status import ApiError
from sampan.node import certificates, facts, kubelet_config, node_object
from sampan.node.certificates import Files, NotIssued
from sampan.node.parts import AgentSettings
from sampan.web.certificates import holds, is_of_key, of_key_hash, serves

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.05
USER_AGENT = "sampan-node-join"
UNFINISHED = "joining-again"
"""The file that notes it."""

_NETWORK = re.compile(r"10\.(\d+)\.(\d+)\.0/24")
_RESERVED = ("localhost", "kubernetes")

Object = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the machine is to be: the node's name, its address ("" = the one on the way to the server), its directory."""

    name: str
    address: str
    directory: Path
    runtime: str = "oci"
    vulnerable_runtime: bool = False


def own_name() -> str:
    """What this machine is called, as a node may be called."""
    return socket.gethostname().lower()


def check_name(name: str) -> None:
    """Raises JoinError."""
    if names.dns1123_subdomain(name) or name.partition(".")[0] in _RESERVED:
        raise JoinError(f"{name!r} can't be a node's name; choose one of lower-case letters, digits and dashes: --name")


def is_unfinished(known: Settings) -> bool:
    """Whether the node was about to join again, and that broke off."""
    return known.path(UNFINISHED).exists()


def is_again(known: Settings, name: str, ca_hash: str, now: float) -> bool:
    """Whether it is the node of that name, of the cluster with that authority, and can't go on unless it joins again."""
    if not known.joined_to or known.joined_as != name:
        return False
    try:
        is_same = bool(of_key_hash(known.path("pki", f"{key_files.AUTHORITY}.crt").read_bytes(), ca_hash))
    except (OSError, ValueError):
        return False
    return is_same and (is_unfinished(known) or bool(expiry.nodes(known, now)))


async def join(asked: Invitation, wish: Wish, clock: Clock, tell: Tell, let_in: Callable[[], None]) -> Settings:
    """The settings of the machine as a node, ready to be started. JoinError.

    `let_in` is called once the cluster has given it a certificate, before the node is made.
    """
    check_name(wish.name)
    found = await discovery.authority(asked, clock.now())
    tell(f"authority of {asked.server} checked")
    joining = _Joining(asked, wish, clock, found)
    try:
        told = await joining.introduce()
        tell(f"client certificate of node {wish.name}")
        files.write_whole(wish.directory / "pki" / f"{key_files.AUTHORITY}.crt", found.encode(), 0o644)
        let_in()
        cluster = await joining.register(told)
        tell(f"network of its pods {cluster.node_pod_cidr(0)}")
        await joining.ask_serving(cluster)
        tell("serving certificate")
    except ApiError as error:
        raise _refused(asked, error) from error
    except TransportError as error:
        raise discovery.unreachable(asked.server, error) from error
    except NotIssued as error:
        raise JoinError(f"{error}; once that is mended, run this command again") from error
    reaching.write_kubeconfig(cluster)
    if is_unfinished(cluster):
        cluster.save()
        files.remove(cluster.path(UNFINISHED))
    return cluster


class _Joining:
    """One attempt."""

    def __init__(self, asked: Invitation, wish: Wish, clock: Clock, authority: str) -> None:
        self._asked, self._wish, self._clock, self._authority = asked, wish, clock, authority
        keys, name = wish.directory / "pki", wish.name
        self._client = Files(keys / f"{key_files.node(name)}.crt", keys / f"{key_files.node(name)}.key")
        serving = key_files.node_serving(name)
        self._serving = Files(keys / f"{serving}.crt", keys / f"{serving}.key")

    async def introduce(self) -> dict[str, str]:
        """The node has its client certificate; returns what is told of the cluster."""
        transport = HttpTransport(Access(self._asked.url, ca=self._authority, token=self._asked.token))
        api = Client(transport, USER_AGENT)
        try:
            told: dict[str, str] = (await api.get(CONFIGMAP, FACTS, FACTS_NAMESPACE)).get("data") or {}
            check_room(self._wish.directory, told)
            if not self._has_certificate():
                await self._check_taken(api)
                asked = certificates.client(self._wish.name)
                pair = await certificates.ask(api, self._clock, asked, PATIENCE_SECONDS)
                self._client.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._begin()
                self._client.save(pair)
        finally:
            await transport.close()
        return told

    async def register(self, told: dict[str, str]) -> Settings:
        """The node is known to the cluster, which has given it a network for its pods."""
        async with self._as_node() as api:
            wanted = node_object.node(self._agent_settings(), facts.read(self._wish.directory))
            try:
                await api.create(NODE, wanted)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
            own = (("InternalIP", self._address()), ("Hostname", self._wish.name))
            patch = {"status": {"addresses": [{"type": type, "address": address} for type, address in own]}}
            await api.patch(NODE, ("", self._wish.name), patch, type="merge", subresource="status")
            return self._settings(told, await self._wait_network(api))

    async def ask_serving(self, cluster: Settings) -> None:
        """The agent's port has its certificate."""
        hosts = (self._wish.name, self._address())
        if self._has(self._serving, hosts):
            return
        asked = certificates.serving(self._wish.name, hosts)
        async with self._as_node() as api:
            self._serving.save(await certificates.ask(api, self._clock, asked, PATIENCE_SECONDS))

    @contextlib.asynccontextmanager
    async def _as_node(self) -> Any:
        pair = self._client.load()
        access = Access(self._asked.url, self._authority, pair.certificate.decode(), pair.key.decode())
        transport = HttpTransport(access)
        try:
            yield Client(transport, USER_AGENT)
        finally:
            await transport.close()

    def _has_certificate(self) -> bool:
        """Of an attempt before this one, by the same authority."""
        if self._client.key.exists():
            self._client.settle()
        authority = self._wish.directory / "pki" / f"{key_files.AUTHORITY}.crt"
        return authority.exists() and authority.read_text() == self._authority and self._has(self._client)

    def _has(self, wanted: Files, hosts: tuple[str, ...] = ()) -> bool:
        """A whole one that holds, and is for these hosts."""
        try:
            pair = wanted.load()
            is_good = is_of_key(pair.certificate, pair.key) and holds(pair.certificate, self._clock.now())
        except (OSError, ValueError):
            return False
        return is_good and (not hosts or serves(pair, hosts))

    def _begin(self) -> None:
        """Before there is another client certificate. The serving one of before is of the former node."""
        if (self._wish.directory / settings.CLUSTER_FILE).exists():
            files.write_whole(self._wish.directory / UNFINISHED, b"")
        files.remove(self._serving.certificate)

    async def _check_taken(self, api: Client) -> None:
        name = self._wish.name
        try:
            await api.get(NODE, name)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        raise JoinError(
            f"a node {name} is in the cluster already; choose another name with --name, or, if that was this machine, "
            f"remove it there first: sampan node remove {name}"
        )

    async def _wait_network(self, api: Client) -> str:
        deadline = self._clock.monotonic() + PATIENCE_SECONDS
        while self._clock.monotonic() < deadline:
            node = await api.get(NODE, self._wish.name)
            if network := (node.get("spec") or {}).get("podCIDR"):
                return str(network)
            await self._clock.sleep(LOOK_SECONDS)
        raise JoinError(
            f"the cluster has not given {self._wish.name} a network for its pods; "
            f"see on that machine: kubectl describe node {self._wish.name}"
        )

    def _settings(self, told: dict[str, str], network: str) -> Settings:
        match = _NETWORK.fullmatch(network)
        if match is None:
            raise JoinError(f"the network {network} is none of a cluster of this version")
        return Settings(
            name=self._wish.directory.name,
            directory=self._wish.directory,
            index=int(told["index"]),
            runtime=self._wish.runtime,
            vulnerable_runtime=self._wish.vulnerable_runtime,
            load_balancer=told.get("loadBalancer", "pool"),
            ip_families=told.get("ipFamilies", settings.IPV4),
            node_ip=self._address(),
            overlay=told["overlay"],
            joined_to=self._asked.url,
            joined_as=self._wish.name,
            joined_number=int(match.group(2)),
        )

    def _agent_settings(self) -> AgentSettings:
        """Those of the agent, as far as they are known before there is a network."""
        files = [str(self._wish.directory / "kubelet.yaml"), "/etc/sampan/kubelet.yaml"]
        return AgentSettings(
            cluster=self._wish.directory.name,
            node=self._wish.name,
            root=self._wish.directory / f"node-{self._wish.name}",
            internal_ip=self._address(),
            kubelet=kubelet_config.load(files),
        )

    def _address(self) -> str:
        server, _, port = self._asked.server.rpartition(":")
        found = self._wish.address or addresses.towards(server, int(port))
        if found == server:
            raise JoinError(
                f"{found} is where the API of the cluster is; say which address is this node's own: --node-ip"
            )
        if not found or ipaddress.ip_address(found).is_loopback:
            raise JoinError(f"this machine has no address on the way to {server}; say which one is its own: --node-ip")
        return found


def check_room(directory: Path, told: dict[str, str]) -> None:
    """Raises JoinError when the cluster's addresses are those of another one on this machine."""
    index = told.get("index", "")
    if not index.isdigit():
        raise JoinError(f"the cluster does not tell its nodes what they must know; {AGAIN}")
    for other in settings.known_clusters():
        if other.index == int(index) and other.directory != directory:
            raise JoinError(
                f"{other.name} on this machine has the same addresses (number {index}), also while it is down; "
                f"to free them, delete it with all its data: sampan down --name {other.name} --purge"
            )
    known = settings.load(directory)
    if known is not None and known.index == int(index) and host.is_left(known):
        return  # those links are its own
    ours = re.compile(f"sampan{int(index)}(n|lan|vx)")
    if found := sorted(name for _, name in socket.if_nameindex() if ours.match(name)):
        raise JoinError(
            f"a cluster on this machine, another user's or a deleted one, has the same addresses (number {index}, its "
            f"link is {found[0]}); whoever runs it must stop it first: sampan down; of one that is gone: "
            f"ip link delete {found[0]}"
        )


async def say_gone(api: Client, name: str) -> None:
    """The node's last words, once its agent has ended."""
    condition = {"type": "Ready", "status": "False", "reason": "NodeLeft", "message": "the node has left the cluster"}
    await api.patch(NODE, ("", name), {"status": {"conditions": [condition]}}, type="strategic", subresource="status")


def joined_here() -> list[Settings]:
    """The nodes of other machines' clusters that this machine is."""
    return [cluster for cluster in settings.known_clusters() if cluster.joined_to]


def _refused(asked: Invitation, error: ApiError) -> JoinError:
    if error.code == 401:
        return JoinError(
            f"{asked.server} does not accept token {asked.token_id}: it has expired or was deleted; {AGAIN}"
        )
    if error.code in (403, 404):
        return JoinError(f"{asked.server} does not let this machine join: {error}; {AGAIN}")
    return JoinError(f"{asked.server} refuses: {error}")
