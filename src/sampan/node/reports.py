"""What the agent's port tells about the node: health, pods, configuration, figures, the host's logs.

https://kubernetes.io/docs/reference/node/kubelet-files/
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects
from sampan.node import cadvisor, exposition, host_logs, kubelet_config, kubelet_metrics, log_requests, stats, summary
from sampan.node.agent import Agent
from sampan.node.housekeeping import Housekeeping
from sampan.node.log_requests import Refusal
from sampan.node.runtime.protocol import RUNNING
from sampan.web.message import Request, Response

Object = dict[str, Any]
TEXT = "text/plain; charset=utf-8"
_PROBED = ("prober_probe_total", exposition.COUNTER, "Cumulative number of a liveness, readiness or startup probe.")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked, and what."""

    agent: Agent
    housekeeping: Housekeeping | None
    request: Request


Report = Callable[[Asked], Awaitable[Response]]


def find(first: str, rest: list[str]) -> Report | None:
    """What answers a path, given by its parts; None if it is no report."""
    if first == "logs":
        return _logs
    if first == "debug":
        return _disabled("flags" if rest[:1] == ["flags"] else "profiling")
    return _REPORTS.get("/".join((first, *rest)))


async def _healthy(asked: Asked) -> Response:
    return Response(200, b"ok", content_type=TEXT)


async def _pods(asked: Asked) -> Response:
    return _list([record.pod for record in asked.agent.records.values()])


async def _running_pods(asked: Asked) -> Response:
    """As the runtime knows them: what runs, by name and image."""
    found = []
    for record in asked.agent.records.values():
        running = sorted((s for s in record.states.values() if s.state == RUNNING), key=lambda s: s.name)
        if running:
            pod = record.pod
            named = {"name": objects.name(pod), "namespace": objects.namespace(pod), "uid": record.uid}
            containers = [{"name": s.name, "image": s.image_ref, "resources": {}} for s in running]
            found.append({"metadata": named, "spec": {"containers": containers}, "status": {}})
    return _list(found)


def _list(items: list[Object]) -> Response:
    return Response(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})


async def _configuration(asked: Asked) -> Response:
    return Response(200, {"kubeletconfig": kubelet_config.tree(asked.agent.settings.kubelet)})


async def _summary(asked: Asked) -> Response:
    if asked.housekeeping is None or log_requests.is_set(asked.request, "only_cpu_and_memory"):
        return Response(200, stats.summary(asked.agent))
    return Response(200, await summary.whole(asked.agent, asked.housekeeping))


async def _own_metrics(asked: Asked) -> Response:
    agent, keeping = asked.agent, asked.housekeeping
    volumes = await summary.claimed(agent, keeping.machine) if keeping is not None else ()
    return _exposed(kubelet_metrics.metrics(agent, keeping, volumes))


async def _resource_metrics(asked: Asked) -> Response:
    return _exposed(stats.prometheus(asked.agent))


async def _container_metrics(asked: Asked) -> Response:
    if asked.housekeeping is None:
        raise Refusal(404, "404 page not found")
    agent, machine = asked.agent, asked.housekeeping.machine
    spaces = await asked.housekeeping.uses.spaces(agent.records.values())
    pods = cadvisor.chosen(agent, machine, spaces)
    now = agent.parts.clock.now()
    return _exposed(await asyncio.to_thread(cadvisor.metrics, pods, machine, agent.heartbeat.facts, now))


async def _probe_metrics(asked: Asked) -> Response:
    found = exposition.Exposition()
    for state, kind, result, count in asked.agent.prober.counts():
        labels = {
            "container": state.name,
            "namespace": state.pod_namespace,
            "pod": state.pod_name,
            "pod_uid": state.pod_uid,
            "probe_type": kind.capitalize(),
            "result": result,
        }
        found.add(_PROBED, count, labels)
    return _exposed(found.text())


def _exposed(text: bytes) -> Response:
    return Response(200, text, content_type=exposition.CONTENT_TYPE)


async def _logs(asked: Asked) -> Response:
    if not asked.agent.settings.kubelet.enable_system_log_handler or asked.housekeeping is None:
        raise Refusal(405, "logs endpoint is disabled.")
    try:
        return host_logs.serve(asked.request.path.strip("/").removeprefix("logs").strip("/"))
    except host_logs.NoSuchFile as error:
        raise Refusal(404, "404 page not found") from error


def _disabled(what: str) -> Report:
    async def refuse(asked: Asked) -> Response:
        raise Refusal(405, f"{what} endpoint is disabled.")

    return refuse


_REPORTS: Mapping[str, Report] = {
    "healthz": _healthy,
    "healthz/ping": _healthy,
    "healthz/log": _healthy,
    "healthz/syncloop": _healthy,
    "pods": _pods,
    "runningpods": _running_pods,
    "configz": _configuration,
    "stats/summary": _summary,
    "metrics": _own_metrics,
    "metrics/resource": _resource_metrics,
    "metrics/cadvisor": _container_metrics,
    "metrics/probes": _probe_metrics,
}
