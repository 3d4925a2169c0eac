"""Show what runs in a cluster: its processes with their memory, its nodes, its pods."""

import argparse
import asyncio
from typing import TYPE_CHECKING

from sampan.cli import common
from sampan.cluster import expiry, host, processes, settings
from sampan.kit.clock import SystemClock

if TYPE_CHECKING:
    from sampan.client.api import Client

MAX_WORKLOADS = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    common.cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns 1 when something that should run does not."""
    cluster = common.existing(arguments)
    healthy = True
    print(f"cluster {cluster.name} at {cluster.server_url} ({cluster.directory})")
    for process in host.all_processes(cluster):
        pid = process.pid
        healthy = healthy and pid != 0
        memory = processes.proportional_kib(pid) / 1024 if pid else 0.0  # 0 also for root's, to others
        size = f"{memory:6.1f} MiB" if memory else ""
        print(f"  {process.name:<24} " + (f"running   pid {pid:<8} {size}".rstrip() if pid else "stopped"))
    for text in expiry.nodes(cluster, SystemClock().now()).values():
        healthy = False
        print(f"  {text}")
    if host.is_running(cluster):
        healthy = asyncio.run(_objects(cluster)) and healthy
    return 0 if healthy else 1


async def _objects(cluster: settings.Settings) -> bool:
    """Prints nodes and pods; whether every node is Ready."""
    from sampan.client.api import Client
    from sampan.client.http import HttpTransport
    from sampan.client.transport import TransportError
    from sampan.cluster import reaching
    from sampan.kinds.core.node import NODE
    from sampan.kinds.core.pod import POD
    from sampan.meta import conditions, objects
    from sampan.meta.status import ApiError

    transport = HttpTransport(await asyncio.to_thread(reaching.access, cluster.path("kubeconfig")))
    client = Client(transport, "sampan")
    try:
        nodes, pods = await client.list(NODE), await client.list(POD)
        unhealthy = await _unhealthy(client)
    except (TransportError, ApiError) as error:
        print(f"  the API does not answer: {error}")
        return False
    finally:
        await transport.close()
    ready = [conditions.is_true(node, "Ready") for node in nodes.items]
    for node, is_ready in zip(nodes.items, ready, strict=True):
        print(f"  node {objects.name(node):<19} {'Ready' if is_ready else 'NotReady'}")
    phases: dict[str, int] = {}
    for pod in pods.items:
        phase = str(pod.get("status", {}).get("phase", "Unknown"))
        phases[phase] = phases.get(phase, 0) + 1
    counts = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
    print(f"  pods                     {counts or 'none'}")
    for line in unhealthy:
        print(f"  {line}")
    return all(ready)


async def _unhealthy(client: "Client") -> list[str]:
    """A line for each workload that is not healthy, the worst first."""
    from sampan.cluster import diagnosis
    from sampan.platform.health import judge, text

    served = await diagnosis.kinds(client)
    found, _ = await diagnosis.carry_out(client, lambda look: judge.workloads_of("", look), SystemClock().now(), served)
    lines = [f"{each.namespace}: {text.headline(each)}" for each in found[:MAX_WORKLOADS]]
    more = len(found) - len(lines)
    if more:
        lines.append(f"and {more} more workloads that are not healthy")
    return [*lines, "more: sampan why KIND/NAME -n NAMESPACE"] if lines else []
