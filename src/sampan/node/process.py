"""The node agent's process: `python -m sampan.node.process --config FILE [--teardown]`.

SIGTERM ends the agent and leaves the containers running, as kill -9 does; a new agent adopts them. With
--teardown it removes everything that this node has on the host: containers, networks, mounts, files.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import importlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from sampan.client.api import Client
from sampan.client.http import PATIENCE_SECONDS, HttpTransport
from sampan.client.kubeconfig import Access
from sampan.kit import descriptors, heap, threads
from sampan.kit.clock import SystemClock, wait_jump
from sampan.kit.dice import Dice
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node import facts, first_contact, kubelet_config
from sampan.node.agent import Agent
from sampan.node.api_servers import ApiServers, Start
from sampan.node.housekeeping import Housekeeping
from sampan.node.images.store import ImageStore
from sampan.node.kubelet_config import KubeletConfig
from sampan.node.kubelet_fields import KubeletConfigError
from sampan.node.parts import AgentSettings, Parts
from sampan.node.runtime.protocol import RuntimeFailure, RuntimeGone, RuntimeUnusable
from sampan.node.server import NodeServer
from sampan.web.listener import Address

log = logging.getLogger("sampan.node")

RENEWAL_SECONDS = 10.0
USER_AGENT = "kubelet/v1.36.0 sampan"


@dataclass(frozen=True, slots=True)
class Config:
    """The config file, a JSON object with these fields; paths are absolute.

    `registries` are files that say where images come from, `kubelet` such as have a KubeletConfiguration, `runtimes` such as
    name further runtimes for RuntimeClasses, `credential_providers` such as name programs that give credentials for
    images; of each the first that is there counts. So it does of the folders `cni` with configuration of plugins that make
    pods' networks, whose programs are in folders `cni_programs`.
    `ca`, `certificate`, `key` are the agent's way to the API; `serving_certificate`, `serving_key` its own
    port's, where `client_ca` signs callers. `network` has NetworkSettings' bridge, pod_cidr,
    cluster_pod_cidr, service_cidr and table. `ready_file` is written once the node is Ready. `cgroup` is where pods'
    cgroups are; `lease_seconds` the longest that the node's lease may be, 0 for any. `lan` is the node's place among several on this host, whose network namespace is then `host_namespace`.
    `server` is where the agent finds the API; if that is on this machine, others find it at `api_address`. `on_servers`
    is none of the file's: it hears which API servers there are.
    """

    cluster: str
    node: str
    server: str
    ca: str
    certificate: str
    key: str
    serving_certificate: str
    serving_key: str
    client_ca: str
    root: str
    network: dict[str, Any]
    images: str = "/var/lib/sampan/images"
    registries: list[str] = field(default_factory=list)
    kubelet: list[str] = field(default_factory=list)
    runtimes: list[str] = field(default_factory=list)
    cni: list[str] = field(default_factory=list)
    cni_programs: list[str] = field(default_factory=list)
    credential_providers: list[str] = field(default_factory=list)
    runtime: str = "oci"
    internal_ip: str = ""
    internal_ip6: str = ""
    listen: str = ""
    port: int = 10250
    dns_ip: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    labels: dict[str, str] = field(default_factory=dict)
    sandbox_ports: str = ""
    upstreams: list[str] = field(default_factory=list)
    ready_file: str = ""
    log_level: str = "INFO"
    cgroup: str = ""
    lease_seconds: int = 0
    lan: dict[str, Any] = field(default_factory=dict)
    host_namespace: int = -1
    api_address: str = ""
    on_servers: Callable[[Sequence[str]], None] | None = None

    @property
    def has_cri(self) -> bool:
        """Whether somebody else's runtime runs the containers."""
        return self.runtime.startswith("unix://")


_LATER = (
    *("uvloop", "sampan.node.cgroup_meter", "sampan.node.machine", "sampan.node.registry_puller"),
    *("sampan.node.runtime.oci", "sampan.node.runtime.logs", "sampan.node.volumes.volumes"),
    *("sampan.node.network.pod_network", "sampan.node.network.lan", "sampan.node.network.overlay_links"),
    *("sampan.node.network.service_proxy", "sampan.node.network.dns.server", "sampan.node.plugins.plugins"),
    *("sampan.node.network.network_policies", "sampan.node.network.mtu", "sampan.node.network.cni.configuration"),
    *("sampan.node.csi.volumes", "sampan.node.csi.drivers", "sampan.node.csi.records", "sampan.node.csi.telling"),
)


def load() -> None:
    """Loads what real containers need: for processes that come of this one and are to share it."""
    for name in _LATER:
        with contextlib.suppress(ImportError):  # uvloop may be missing
            importlib.import_module(name)


def main(arguments: list[str] | None = None, on_servers: Callable[[Sequence[str]], None] | None = None) -> int:
    """Runs the agent until it is told to end, or the teardown. `on_servers` hears which API servers there are."""
    parser = argparse.ArgumentParser(prog="sampan-node", description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--teardown", action="store_true")
    parser.add_argument("--host-namespace", type=int, default=-1, metavar="FD", help="where this node is a guest")
    chosen = parser.parse_args(arguments)
    try:
        given = orjson.loads(chosen.config.read_bytes())
        config = Config(**given, host_namespace=chosen.host_namespace, on_servers=on_servers)
        kubelet = kubelet_config.DEFAULTS if chosen.teardown else _kubelet(config)
    except (OSError, TypeError, orjson.JSONDecodeError) as error:
        print(f"{chosen.config}: {error}", file=sys.stderr)
        return 2
    except KubeletConfigError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not chosen.teardown:
        descriptors.take_all()
    work = tear_down(config) if chosen.teardown else run(config, kubelet)
    try:
        return _run(work)
    except KubeletConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _kubelet(config: Config) -> KubeletConfig:
    """A node that is soon given up shows sooner that it lives."""
    told = kubelet_config.load(config.kubelet)
    lease = min(told.node_lease_duration_seconds, config.lease_seconds or told.node_lease_duration_seconds)
    return dataclasses.replace(told, node_lease_duration_seconds=lease)


def _run(work: Any) -> int:
    try:
        import uvloop
    except ImportError:
        return int(asyncio.run(work))
    return int(uvloop.run(work))


async def run(config: Config, kubelet: KubeletConfig = kubelet_config.DEFAULTS) -> int:
    """The agent, from start to SIGTERM or a failure."""
    await threads.prepare()
    tasks = Tasks("node")
    _settle_pairs(config)
    parts = build(config, tasks, kubelet)
    dice = Dice(int(parts.ids.uid().replace("-", ""), 16)).of("first contact")
    parts = dataclasses.replace(parts, contact=partial(first_contact.made, parts.client.transport, parts.clock, dice))
    agent = Agent(settings(config, kubelet), parts, tasks)
    housekeeping = _housekeeping(config, agent)
    server = NodeServer(agent, housekeeping)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    code = 0
    try:
        where = Address(config.listen or agent.settings.internal_ip, config.port, free_bind=True)
        files = (config.serving_certificate, config.serving_key, config.client_ca)
        agent.heartbeat.port = await server.listen(where, *files)
        tasks.spawn(_ready(config, agent, partial(housekeeping.start, tasks) if housekeeping else None), "start")
        tasks.spawn(_renew(config, agent, server, tasks), "renewal of certificates")
        tasks.spawn(_follow_clock(agent), "jumps of the clock")
        tasks.spawn(heap.run(agent.parts.clock), "heap", critical=False)
        stopping = asyncio.ensure_future(ended.wait())
        failing = asyncio.ensure_future(tasks.wait())
        await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing.done() and failing.exception() is not None:
            error = failing.exception()
            log.error("the node agent failed: %s", error if isinstance(error, RuntimeUnusable) else repr(error))
            code = 1
        stopping.cancel()
        failing.cancel()
    finally:
        await server.close()
        await agent.stop()
        await parts.client.transport.close()
    return code


def _settle_pairs(config: Config) -> None:
    """Ends changes of certificates that an agent before this one began."""
    for pair in ((config.certificate, config.key), (config.serving_certificate, config.serving_key)):
        if os.path.exists(f"{pair[0]}.fresh"):
            from sampan.node.certificates import Files

            Files(*map(Path, pair)).settle()


async def _renew(config: Config, agent: Agent, server: NodeServer, tasks: Tasks) -> None:
    """Keeps the certificates fresh; loaded when all else is up, since there is time."""
    await agent.parts.clock.sleep(RENEWAL_SECONDS)
    await asyncio.to_thread(importlib.import_module, "sampan.node.renewal")
    from sampan.node import renewal
    from sampan.node.certificates import Files

    client = Files(Path(config.certificate), Path(config.key))
    serving = Files(Path(config.serving_certificate), Path(config.serving_key))
    hosts = tuple(filter(None, (config.node, agent.settings.internal_ip, config.internal_ip6)))
    renewal.start(renewal.Pairs(client, serving, hosts, Path(config.ca)), agent, server, tasks)


async def _follow_clock(agent: Agent) -> None:
    """Pods' tokens are renewed, and their deadlines kept, as soon as the machine has slept."""
    while await wait_jump(agent.parts.clock):
        agent.hands.refresher.look_again()
        for uid in tuple(agent.records):
            agent.wake(uid)


def _housekeeping(config: Config, agent: Agent) -> Housekeeping | None:
    """Nobody looks after a machine that is none."""
    machine = agent.parts.machine
    if machine is None:
        return None
    images, credentials = ImageStore(config.images), agent.parts.credentials

    async def forget_builds() -> int:
        return await asyncio.to_thread(images.forget_builds)

    if config.has_cri:
        of_runtime: Any = agent.parts.images

        async def take_away(image_id: str) -> bool:
            from sampan.node.rpc.service import RpcError

            try:
                return bool(await of_runtime.remove(image_id))
            except RpcError as error:
                raise RuntimeFailure("RuntimeError", str(error)) from error

        return Housekeeping(agent, machine, take_away, forget_builds)

    async def remove(image_id: str) -> bool:
        is_gone = await asyncio.to_thread(images.remove, image_id)
        if is_gone and credentials is not None:
            credentials.forget(image_id)
        return is_gone

    return Housekeeping(agent, machine, remove, forget_builds)


async def _ready(config: Config, agent: Agent, begin: Callable[[], None] | None) -> None:
    await agent.start()
    if begin is not None:
        begin()
    log.info("node %s is Ready", config.node)
    if config.ready_file:
        path = Path(config.ready_file)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(f"{os.getpid()}\n")
        fresh.rename(path)


RUNTIME_GONE = 3


async def tear_down(config: Config) -> int:
    """Removes everything that this node has on the host; can be repeated. RUNTIME_GONE: but for what a runtime has."""
    tasks = Tasks("teardown")
    code = 0
    if config.runtime != "simulated":
        own = _machinery(config, tasks, kubelet_config.DEFAULTS)
        from sampan.node.volumes.volumes import Volumes

        volumes = Volumes(Path(config.root) / "volumes", settings(config).local_volumes, SystemClock())
        steps = (
            ("containers", _cleanup_of(own.runtime)),
            ("volumes", _teardown_of(volumes)),
            ("network", own.network.teardown),  # before what keeps its namespaces is unmounted with the rest
            ("storage", _unmounting_of(Path(config.root))),
        )
        for name, step in steps:
            try:
                await step()
            except RuntimeGone as error:
                log.error("removing the node's %s: %s", name, error)  # noqa: TRY400 (it says all there is to say)
                code = RUNTIME_GONE
            except Exception:  # the rest is to be removed all the same
                log.exception("removing the node's %s", name)
                code = 1
    await tasks.close()
    shutil.rmtree(Path(config.root) / "logs", ignore_errors=True)
    return code


def _cleanup_of(runtime: Any) -> Any:
    async def step() -> None:
        await runtime.open()  # only an opened runtime knows its containers and their cgroups
        await runtime.cleanup_all()

    return step


def _teardown_of(volumes: Any) -> Any:
    async def step() -> None:
        for uid in sorted(volumes.pods()):
            await volumes.teardown(uid)

    return step


def _unmounting_of(root: Path) -> Any:
    async def step() -> None:
        from sampan.node.volumes import mounts

        mounts.unmount_below(root)  # what drivers have mounted there is not to be deleted with the folder
        if mounts.mounted_below(root):
            raise OSError(f"still mounted below {root}")
        for folder in (root / "pods", root / "plugins" / "kubernetes.io"):
            shutil.rmtree(folder, ignore_errors=True)

    return step


def settings(config: Config, kubelet: KubeletConfig = kubelet_config.DEFAULTS) -> AgentSettings:
    """The agent's part of the config."""
    network = config.network
    gateway = ""
    if network:
        import ipaddress

        gateway = str(ipaddress.IPv4Network(network["pod_cidr"])[1])
    return AgentSettings(
        cluster=config.cluster,
        node=config.node,
        root=Path(config.root),
        internal_ip=config.internal_ip or gateway or "127.0.0.1",
        pod_cidr=network.get("pod_cidr", ""),
        port=config.port,
        dns_ip=config.dns_ip,
        cluster_domain=config.cluster_domain,
        labels=config.labels,
        kubelet=kubelet,
        is_simulated=config.runtime == "simulated",
        internal_ip6=config.internal_ip6,
        pod_cidr6=network.get("pod_cidr6", ""),
        cgroup=config.cgroup or f"sampan-{config.cluster}",
    )


def build(config: Config, tasks: Tasks, kubelet: KubeletConfig = kubelet_config.DEFAULTS) -> Parts:
    """All parts, real or simulated."""
    clock, ids = SystemClock(), SystemIds()
    client, servers = _way(config, clock, kubelet)
    tasks.spawn(servers.run(), "API servers")
    if config.runtime == "simulated":
        from sampan.node import simulated

        made = simulated.parts(client, config.network["pod_cidr"], simulated.World(clock, ids, tasks))
        return dataclasses.replace(made, followers=(servers, *made.followers))
    from sampan.node.cgroup_meter import CgroupMeter
    from sampan.node.machine import LinuxMachine
    from sampan.node.network.network_policies import NetworkPolicies
    from sampan.node.network.service_proxy import ServiceProxy
    from sampan.node.network.table_watch import TableWatch
    from sampan.node.volumes.volumes import Volumes

    network = _network_settings(config)
    dns = _names(config, network, client, tasks, kubelet)
    own = _machinery(config, tasks, kubelet)
    own.puller.credentials = _credentials(config, kubelet, own.images, client)
    policies = NetworkPolicies(network, own.network.attachments)
    services = ServiceProxy(network, clock, _own_ports(config))
    tables = (network.policies_table, network.table, network.services_table)
    meter = CgroupMeter(clock, own.runtime.cgroups)
    tasks.spawn(meter.run(), "usage")
    csi = _storage(config, client, tasks)
    return Parts(
        client=client,
        runtime=own.runtime,
        images=own.images,
        network=own.network,
        dns=dns,
        volumes=Volumes(Path(config.root) / "volumes", settings(config).local_volumes, clock, csi),
        clock=clock,
        ids=ids,
        puller=own.puller,
        credentials=own.puller.credentials,
        meter=meter,
        csi=csi,
        plugins=_plugins(config, client, tasks, csi),
        machine=LinuxMachine(Path(config.root), Path(config.images), own.runtime.layer, own.runtime.cgroups),
        followers=(
            servers,
            dns,
            services,
            policies,
            TableWatch(tables, (policies.restore, own.network.restore, services.restore)),
            *_overlay(network),
            *_lan_ports(config),
            *_sandbox_ports(config),
        ),
        guard=policies,
    )


def _way(config: Config, clock: SystemClock, kubelet: KubeletConfig) -> tuple[Client, ApiServers]:
    """The client of all parts, and who sees to it that it has a server that answers."""
    access = Access(
        server=config.server,
        ca=Path(config.ca).read_text(),
        certificate=Path(config.certificate).read_text(),
        key=Path(config.key).read_text(),
    )
    lease_seconds = kubelet.node_lease_duration_seconds
    transport = HttpTransport(access, min(lease_seconds / 2, PATIENCE_SECONDS))  # time is left to try again
    start = Start(config.node, config.server, config.api_address, Path(config.root), config.on_servers)
    return Client(transport, USER_AGENT), ApiServers(start, transport, clock, lease_seconds)


def _own_ports(config: Config) -> tuple[int, ...]:
    """What at this node's addresses is the cluster's own, and no service's."""
    from urllib.parse import urlsplit

    return config.port, urlsplit(config.server).port or 443


def _overlay(network: Any) -> tuple[Any, ...]:
    """Who keeps the ways to other nodes' pods, where there are any."""
    if not network.overlay:
        return ()
    from sampan.node.network.overlay_links import Overlay

    return (Overlay(network),)


def _lan_ports(config: Config) -> tuple[Any, ...]:
    """Who has the host lead node ports here, where this is the first of several nodes."""
    if config.lan.get("number") != 0 or config.host_namespace < 0:
        return ()
    from sampan.node.network import lan
    from sampan.node.network.lan_ports import LanPorts
    from sampan.node.network.table_watch import TableWatch

    place = lan.read(config.lan)
    ports = LanPorts(place, config.host_namespace)
    return ports, TableWatch((place.table,), (ports.restore,), config.host_namespace)


def _sandbox_ports(config: Config) -> tuple[Any, ...]:
    """Who has node ports of the host lead into the sandbox."""
    if not config.sandbox_ports:
        return ()
    from sampan.node.network.sandbox_ports import SandboxPorts

    return (SandboxPorts(config.sandbox_ports),)


def _plugins(config: Config, client: Client, tasks: Tasks, csi: Any) -> Any:
    from sampan.node.plugins.plugins import Plugins

    plugins = Plugins(Path(config.root), (client, config.node), SystemClock(), tasks)
    plugins.registry.handle("CSIPlugin", csi.drivers)
    return plugins


def _storage(config: Config, client: Client, tasks: Tasks) -> Any:
    from sampan.node.csi.drivers import Drivers
    from sampan.node.csi.records import Records
    from sampan.node.csi.telling import Telling
    from sampan.node.csi.volumes import CsiVolumes
    from sampan.node.plugins.places import Places
    from sampan.node.volumes import sharing

    told, root = Telling(client, config.node), Path(config.root)
    sharing.share(root)
    drivers = Drivers(told, Places(root).in_pod)
    return CsiVolumes(drivers, Records(root, root / "pods"), told, facts.boot_id(), tasks)


@dataclass(frozen=True, slots=True)
class _Machinery:
    """What runs containers, with its images and the network that it puts them in."""

    runtime: Any
    images: Any
    puller: Any
    network: Any


def _machinery(config: Config, tasks: Tasks, kubelet: KubeletConfig) -> _Machinery:
    from sampan.node.runtime import logs

    root, clock, network = str(Path(config.root) / "containers"), SystemClock(), _network_settings(config)
    kept = logs.Kept(kubelet.container_log_max_size, kubelet.container_log_max_files)
    if config.has_cri:
        from sampan.node.runtime.cri import parts as cri

        made = cri.make(cri.Place(config.runtime, root, config.images, kept), network, clock, tasks)
        return _Machinery(made.runtime, made.images, made.images, made.network)
    from sampan.node.registry_puller import RegistryPuller, registries
    from sampan.node.runtime.oci import OciRuntime, Settings

    images = ImageStore(config.images)
    puller = RegistryPuller(images, partial(registries, config.registries), clock, tasks)
    if config.host_namespace >= 0:
        puller.pull_elsewhere(config.host_namespace)
    runtime = OciRuntime(Settings(root, kept_logs=kept, variants=tuple(config.runtimes)), clock, tasks, SystemIds())
    return _Machinery(runtime, images, puller, _pod_network(config, network))


def _pod_network(config: Config, network: Any) -> Any:
    if not network.has_plugins:
        from sampan.node.network.pod_network import PodNetwork

        return PodNetwork(network)
    from sampan.node.network.cni.network import CniNetwork, Places

    return CniNetwork(network, Places(tuple(config.cni), tuple(config.cni_programs)))


def _credentials(config: Config, kubelet: KubeletConfig, images: Any, client: Client) -> Any:
    """Raises KubeletConfigError."""
    from sampan.node.pull_credentials import Policy, PullCredentials
    from sampan.node.pull_records import PullRecords

    providers = None
    if any(os.path.exists(name) for name in config.credential_providers):
        from sampan.node.credential_providers import Providers
        from sampan.node.registry import credential_plugins

        plugins = credential_plugins.load(config.credential_providers)
        providers = Providers(plugins, client, SystemClock()) if plugins is not None else None
    records = PullRecords(Path(config.images) / "pulls", SystemClock())
    if not config.has_cri:  # such a runtime isn't asked before it is open
        records.settle(images.resolve, images.list)
    policy = Policy(kubelet.image_pull_credentials_verification_policy, kubelet.preloaded_images_verification_allowlist)
    return PullCredentials(records, providers, policy, images.is_loaded)


def _network_settings(config: Config) -> Any:
    from sampan.node.network import mtu
    from sampan.node.network.cni import configuration
    from sampan.node.network.settings import NetworkSettings

    state = Path(config.root) / "network"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in config.network.items()}
    if "run_dir" in given:
        given["run_dir"] = Path(given["run_dir"])
    way = (given.get(name, "") for name in ("uplink", "overlay", "node_ip"))
    given.setdefault("mtu", mtu.of_pods(*way))
    given["dns_ip"] = config.dns_ip
    if configuration.is_used(tuple(config.cni), state) and not config.has_cri:
        given |= {"has_plugins": True, "outside": mtu.default_link()}
    return NetworkSettings(cluster=config.cluster, node=config.node, state_dir=state, **given)


def _names(config: Config, network: Any, client: Client, tasks: Tasks, kubelet: KubeletConfig) -> Any:
    """The node's name server, at the gateway's addresses."""
    from sampan.node.network import hostfiles
    from sampan.node.network.dns import server, upstreams

    clock = SystemClock()
    known = (network.cluster_pod_cidr, network.service_cidr, network.cluster_pod_cidr6, network.service_cidr6)
    place = server.Place(
        addresses=tuple(filter(None, (network.gateway, network.gateway6))),
        domain=config.cluster_domain,
        networks=tuple(filter(None, known)),
        upstreams=tuple(upstreams.server(text) for text in config.upstreams),
        files=hostfiles.resolv_conf_files(kubelet.resolv_conf),
        also=tuple(config.dns_ip.split(",")),
    )
    return server.DnsServer(place, clock, server.followed(client, clock, tasks))


if __name__ == "__main__":
    sys.exit(main())
