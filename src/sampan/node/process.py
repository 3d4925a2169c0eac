"""The node agent's process: `python -m sampan.node.process --config FILE [--teardown]`.

SIGTERM ends the agent and leaves the containers running, as kill -9 does; a new agent adopts them. With
--teardown it removes everything that this node has on the host: containers, networks, mounts, files.
"""

import argparse
import asyncio
import logging
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node import simulated
from sampan.node.agent import Agent
from sampan.node.images.store import ImageStore
from sampan.node.parts import AgentSettings, Parts
from sampan.node.server import NodeServer
from sampan.web.listener import Address

log = logging.getLogger("sampan.node")

USER_AGENT = "kubelet/v1.36.0 sampan"


@dataclass(frozen=True, slots=True)
class Config:
    """The config file, a JSON object with these fields; paths are absolute.

    `registries` are files that say where images come from; the first that is there counts.
    `ca`, `certificate`, `key` are the agent's way to the API; `serving_certificate`, `serving_key` its own
    port's, where `client_ca` signs callers. `network` has NetworkSettings' bridge, pod_cidr,
    cluster_pod_cidr, service_cidr and table. `ready_file` is written once the node is Ready.
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
    runtime: str = "oci"
    internal_ip: str = ""
    listen: str = ""
    port: int = 10250
    dns_ip: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    labels: dict[str, str] = field(default_factory=dict)
    upstreams: list[str] = field(default_factory=list)
    ready_file: str = ""
    log_level: str = "INFO"


def main(arguments: list[str] | None = None) -> int:
    """Runs the agent until it is told to end, or the teardown."""
    parser = argparse.ArgumentParser(prog="sampan-node", description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--teardown", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        config = Config(**orjson.loads(chosen.config.read_bytes()))
    except (OSError, TypeError, orjson.JSONDecodeError) as error:
        print(f"{chosen.config}: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work = tear_down(config) if chosen.teardown else run(config)
    return _run(work)


def _run(work: Any) -> int:
    try:
        import uvloop
    except ImportError:
        return int(asyncio.run(work))
    return int(uvloop.run(work))


async def run(config: Config) -> int:
    """The agent, from start to SIGTERM or a failure."""
    tasks = Tasks("node")
    parts = build(config, tasks)
    agent = Agent(settings(config), parts, tasks)
    server = NodeServer(agent)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    code = 0
    try:
        where = Address(config.listen or agent.settings.internal_ip, config.port, free_bind=True)
        files = (config.serving_certificate, config.serving_key, config.client_ca)
        agent.heartbeat.port = await server.listen(where, *files)
        tasks.spawn(_ready(config, agent), "start")
        stopping = asyncio.ensure_future(ended.wait())
        failing = asyncio.ensure_future(tasks.wait())
        await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing.done() and failing.exception() is not None:
            log.error("the node agent failed: %r", failing.exception())
            code = 1
        stopping.cancel()
        failing.cancel()
    finally:
        await server.close()
        await agent.stop()
        await parts.client.transport.close()
    return code


async def _ready(config: Config, agent: Agent) -> None:
    await agent.start()
    log.info("node %s is Ready", config.node)
    if config.ready_file:
        path = Path(config.ready_file)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(f"{os.getpid()}\n")
        fresh.rename(path)


async def tear_down(config: Config) -> int:
    """Removes everything that this node has on the host; can be repeated."""
    tasks = Tasks("teardown")
    code = 0
    if config.runtime != "simulated":
        runtime, network = _runtime(config, tasks), _network(config)
        from sampan.node.volumes.volumes import Volumes

        volumes = Volumes(Path(config.root) / "volumes", settings(config).local_volumes, SystemClock())
        steps = (
            ("containers", _cleanup_of(runtime)),
            ("volumes", _teardown_of(volumes)),
            ("network", network.teardown),
        )
        for name, step in steps:
            try:
                await step()
            except Exception:  # the rest is to be removed all the same
                log.exception("removing the node's %s", name)
                code = 1
    await tasks.close()
    for name in ("pods", "logs"):
        shutil.rmtree(Path(config.root) / name, ignore_errors=True)
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


def settings(config: Config) -> AgentSettings:
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
        is_simulated=config.runtime == "simulated",
    )


def build(config: Config, tasks: Tasks) -> Parts:
    """All parts, real or simulated."""
    access = Access(
        server=config.server,
        ca=Path(config.ca).read_text(),
        certificate=Path(config.certificate).read_text(),
        key=Path(config.key).read_text(),
    )
    client = Client(HttpTransport(access), USER_AGENT)
    clock, ids = SystemClock(), SystemIds()
    if config.runtime == "simulated":
        return simulated.parts(client, config.network["pod_cidr"], simulated.World(clock, ids, tasks))
    from sampan.node.cgroup_meter import CgroupMeter
    from sampan.node.network.dns import DnsServer
    from sampan.node.network.service_proxy import ServiceProxy
    from sampan.node.registry_puller import RegistryPuller, registries
    from sampan.node.volumes.volumes import Volumes

    network = _network_settings(config)
    upstreams = config.upstreams or _host_resolvers()
    runtime = _runtime(config, tasks)
    meter = CgroupMeter(clock, runtime.cgroups)
    tasks.spawn(meter.run(), "usage")
    images = ImageStore(config.images)
    return Parts(
        client=client,
        runtime=runtime,
        images=images,
        network=_network(config),
        proxy=ServiceProxy(network),
        dns=DnsServer(network.gateway, config.cluster_domain, upstreams),
        volumes=Volumes(Path(config.root) / "volumes", settings(config).local_volumes, SystemClock()),
        clock=clock,
        ids=ids,
        puller=RegistryPuller(images, partial(registries, config.registries), clock, tasks),
        meter=meter,
    )


def _runtime(config: Config, tasks: Tasks) -> Any:
    from sampan.node.runtime.oci import OciRuntime, Settings

    return OciRuntime(Settings(str(Path(config.root) / "containers")), SystemClock(), tasks, SystemIds())


def _network_settings(config: Config) -> Any:
    from sampan.node.network.settings import NetworkSettings

    state = Path(config.root) / "network"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return NetworkSettings(cluster=config.cluster, node=config.node, state_dir=state, **config.network)


def _network(config: Config) -> Any:
    from sampan.node.network.pod_network import PodNetwork

    return PodNetwork(_network_settings(config))


def _host_resolvers() -> list[str]:
    """The host's name servers."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    return [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]


if __name__ == "__main__":
    sys.exit(main())
